"""The words that the contract and Python share: addresses, terms, updates, limits, phases.

Field for field the structs of `contracts/IFederation.sol`. Every value checks itself: one that a Solidity type could
not hold is refused here, with its name, before anything is sent.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import NewType

from fedpact.errors import LedgerError
from fedpact.store.cid import Cid

Address = NewType("Address", str)
"""An account: `0x` and 40 lower-case hexadecimal digits."""

RoundNumber = NewType("RoundNumber", int)
"""A round, from 1; 0 where there has been none."""

Hash = NewType("Hash", bytes)
"""32 bytes (heads, keys, commitments) or 28 (transcripts) of keccak-256."""

NO_HASH = Hash(bytes(32))
"""What the contract holds where nothing was put."""

NO_TRANSCRIPT = Hash(bytes(28))
"""The transcript before the first round."""

FOREVER = 2**32 - 1
"""`Member.until` of one who is a member."""

LAST_ROUND = FOREVER - 2
"""The highest number that a round can have."""

SCORE_UNIT = 1_000_000
"""Scores on the ledger are integers: millionths."""

_INTEGERS = (int, int, int)
_2_63, _2_64 = 1 << 63, 1 << 64
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


class OutOfRange(LedgerError):
    """A value that its type on the ledger cannot hold."""

    def __init__(self, name: str, value: object, least: int, most: int) -> None:
        shown = (
            f"a number of {value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 300 else value
        )
        super().__init__(f"{name}: expected {least} to {most}, found {shown}")


def address(text: str) -> Address:
    """Reads an account's address, in any case.

    Raises:
        LedgerError: the text is none.
    """
    lower = text.lower()
    if not _ADDRESS.fullmatch(lower):
        raise LedgerError(f"{text[:80]!r}: expected an address, 0x and 40 hexadecimal digits")
    return Address(lower)


ZERO_ADDRESS = Address("0x" + "0" * 40)


def typed_address(text: str) -> Address:
    """Reads the address of an account that somebody typed: where it has capitals, they must be its checksum (EIP-55).

    Raises:
        LedgerError: the text is none, or the zero address.
    """
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise LedgerError(f"expected an address, 0x and 40 hexadecimal digits, found {text[:80]!r}")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()):
        from eth_utils.address import is_checksum_address

        if not is_checksum_address(text):
            raise LedgerError(f"expected an address whose capitals are its checksum (EIP-55), found {text}: a slip?")
    if address(text) == ZERO_ADDRESS:
        raise LedgerError("expected the address of an account, found the zero address")
    return address(text)


def in_range(name: str, value: int, bits: int, *, signed: bool = False) -> None:
    """Checks that an integer fits its Solidity type.

    Raises:
        OutOfRange: it does not.
    """
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if type(value) is not int or not least <= value <= most:  # A bool is none, either.
        raise OutOfRange(name, value, least, most)


class Phase(enum.IntEnum):
    """Where a round stands. Within a round it only moves forward."""

    IDLE = 0
    REGISTRATION = 1
    COMMITMENT = 2
    SUBMISSION = 3
    PUBLICATION = 4
    TAKEOVER = 5
    EXPIRED = 6


@dataclass(frozen=True, slots=True)
class Terms:
    """The deadlines of a round (seconds since the epoch, each the last second of its phase) and its quorum.

    `register_by` and `commit_by` are 0 where the round has no such phase; in `Publish`, `submit_by` 0 opens no next
    round.
    """

    register_by: int
    commit_by: int
    submit_by: int
    publish_by: int
    quorum: int

    def __post_init__(self) -> None:
        for name in ("register_by", "commit_by", "submit_by", "publish_by"):
            in_range(name, getattr(self, name), 40)
        in_range("quorum", self.quorum, 16)


NO_TERMS = Terms(0, 0, 0, 0, 0)
"""Opens no next round."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a silo says of its trained weights.

    Attributes:
        cid: their address.
        samples: training samples behind them, a claim.
        score: their score on the silo's held-out data in millionths, a claim.
        size: their bytes.
    """

    cid: Cid
    samples: int
    score: int
    size: int

    def __post_init__(self) -> None:
        # Most of what is read from a ledger are updates, and hardly any of them is wrong.
        kinds = type(self.samples), type(self.score), type(self.size)
        if kinds == _INTEGERS and 0 <= self.samples < _2_64 > self.size >= 0 and -_2_63 <= self.score < _2_63:
            return
        in_range("samples", self.samples, 64)
        in_range("score", self.score, 64, signed=True)
        in_range("size", self.size, 64)


@dataclass(frozen=True, slots=True)
class Limits:
    """What no coordinator may go below or beyond: quorum, seconds of a phase, seconds of a round."""

    min_quorum: int
    min_phase: int
    max_round: int

    def __post_init__(self) -> None:
        in_range("min_quorum", self.min_quorum, 16)
        in_range("min_phase", self.min_phase, 40)
        in_range("max_round", self.max_round, 40)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which federation: the chain and the contract on it."""

    chain_id: int
    contract: Address

    def __post_init__(self) -> None:
        in_range("chain_id", self.chain_id, 256)
