"""The ledger and the store that the settings name, opened for a command."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fedpact.errors import InputError
from fedpact.settings import Settings, key_file

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3

    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.port import Follower
    from fedpact.store.serving.admission import Reader
    from fedpact.store.several import SeveralBlocks


_M_ARENA_MAX = -8
_ARENAS = 2


def connect(settings: Settings) -> Web3:
    """A connection to the nodes.

    Raises:
        InputError: none is named.
    """
    from fedpact.ledger import endpoints

    return endpoints.connect(settings.need("rpc"), chain_id=settings.chain_id)


def open_ledger(
    settings: Settings, accounts: Iterable[LocalAccount] = (), *, journal: Path | None = None
) -> EthereumLedger:
    """The federation's contract; its `close` ends the connection.

    Args:
        accounts: keys that may send.
        journal: the directory that keeps what they sent.

    Raises:
        InputError: no node or no contract is named.
        LedgerError: the node cannot be asked, is of another chain, or the contract is none of ours.
    """
    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.facts import Address
    from fedpact.ledger.fees import Fees

    contract = Address(settings.need("contract"))
    return EthereumLedger(
        connect(settings),
        contract,
        accounts,
        journal=journal,
        fees=Fees() if settings.max_fee is None else Fees(max_fee=settings.max_fee),
        confirmations=settings.confirmations or 0,
        first_block=settings.first_block,
    )


def open_follower(ledger: EthereumLedger) -> Follower:
    """Reads a ledger from its first entry: a command believes nothing that an earlier one kept."""
    from fedpact.ledger.port import Follower

    return Follower(ledger)


def open_blocks(settings: Settings, *, writable: bool = True, account: LocalAccount | None = None) -> SeveralBlocks:
    """The stores as one; its `close` ends it.

    Args:
        account: signs requests to stores of members; else that of the settings does, where there is such a store.

    Raises:
        InputError: one is none that can be opened.
        LedgerError: there is a store of members, and the node does not say of which chain it is.
    """
    from fedpact.store.opening import open_store

    _share_freed_memory()
    return open_store(
        settings.need("store"), writable=writable, write=settings.write, reader=lambda: _reader(settings, account)
    )


@functools.cache
def _share_freed_memory() -> None:
    """Has the many threads that wait for blocks share what the allocator keeps of those that were dropped.

    The GNU C library keeps for each of them up to twice the largest piece that was freed so far; mallopt(3) says how to
    have fewer such places (M_ARENA_MAX), unless whoever runs this has said how. Elsewhere this has no effect.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "GLIBC_TUNABLES" in os.environ:
        return
    import ctypes

    with suppress(OSError, AttributeError):  # Of a system without that library.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


@contextmanager
def stores_of(settings: Settings) -> Iterator[SeveralBlocks | None]:
    """The stores that a command was told of itself; none where it was not, as a directory has one of its own.

    Raises:
        InputError: as `open_blocks`.
    """
    if not settings.origin["store"].startswith("flag"):
        yield None
        return
    with closing(open_blocks(settings, writable=False)) as blocks:
        yield blocks


def _reader(settings: Settings, account: LocalAccount | None) -> Reader:
    """Who signs requests to stores of members: as a part of which federation, and with which key."""
    from fedpact.cli.asking import ask_password
    from fedpact.keys import KEY, read_account
    from fedpact.ledger.answers import asking
    from fedpact.ledger.facts import Address, Identity
    from fedpact.store.serving.admission import Reader

    contract, chain_id = Address(settings.need("contract")), settings.chain_id
    if account is None:
        file = key_file(settings, os.environ)
        if file is None and not os.environ.get(KEY):
            named = f"key_file (FEDPACT_KEY_FILE, fedpact.toml) or the variable {KEY}"
            raise InputError(f"store: requests to stores of members are signed: expected {named}, found neither")
        account = read_account(file, os.environ, ask_password, settings.password_file)
    if chain_id is None:
        web3 = connect(settings)
        with closing(cast(Any, web3.provider)), asking("rpc"):
            chain_id = web3.eth.chain_id
    return Reader(account, Identity(chain_id, contract))
