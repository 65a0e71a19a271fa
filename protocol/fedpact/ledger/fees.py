"""What a unit of gas may cost (EIP-1559): the market as a node sees it, the user's cap, offers and raised offers.

Every amount is in wei per unit of gas. What a node says of the market is never believed beyond the cap: a lie costs at
most what the user agreed to.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from web3 import Web3
from web3.types import RPCEndpoint

from fedpact.errors import InputError, LedgerError
from fedpact.ledger.answers import asking

GWEI = 10**9
_QUOTE_SECONDS = 1.0  # A block takes longer on every public chain, and an offer covers six full blocks.
_LEAST_TIP = 1
# Nodes take a replacement that offers 10 % more in both fields (geth, Nethermind, Besu), a few want 12.5 %.
_RAISE = (9, 8)


@dataclass(frozen=True, slots=True)
class Fees:
    """The most that a user pays for a unit of gas.

    Attributes:
        max_fee: base fee and tip together. At the default a submission (41,500 gas) costs at most 0.0083 ether.
        max_tip: what a block's producer gets of it. Some chains expect as much as 30 gwei.
    """

    max_fee: int = 200 * GWEI
    max_tip: int = 30 * GWEI

    def __post_init__(self) -> None:
        for name in ("max_fee", "max_tip"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1 wei, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Quote:
    """What a node says of the market.

    Attributes:
        base: the base fee of the next block.
        tip: what is usually paid on top.
        block: number of the latest block.
    """

    base: int
    tip: int
    block: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What a transaction offers: `maxFeePerGas` and `maxPriorityFeePerGas`."""

    max_fee: int
    tip: int

    def is_short(self, quote: Quote) -> bool:
        """Whether the market has left it behind: it does not cover base fee and tip, or others tip much more."""
        return self.max_fee < quote.base + self.tip or self.tip * _RAISE[0] <= quote.tip * _RAISE[1]


def offer(quote: Quote, fees: Fees) -> Offer | None:
    """An offer for the next block and, as twice the base fee covers six full blocks in a row, for some after it.

    Returns:
        None where the base fee alone is above the cap.
    """
    if quote.base > fees.max_fee:
        return None
    max_fee = min(2 * quote.base + min(quote.tip, fees.max_tip), fees.max_fee)
    return Offer(max_fee, min(quote.tip, fees.max_tip, max_fee))


def raised(before: Offer, quote: Quote, fees: Fees) -> Offer | None:
    """An offer that replaces another: both fields an eighth higher, or what the market asks for if that is more.

    Returns:
        None where the cap does not allow it.
    """
    wanted = offer(quote, fees)
    if wanted is None:
        return None
    tip = max(wanted.tip, _more(before.tip))
    max_fee = max(wanted.max_fee, _more(before.max_fee), tip)
    return Offer(max_fee, tip) if max_fee <= fees.max_fee and tip <= fees.max_tip else None


def _more(amount: int) -> int:
    numerator, denominator = _RAISE
    return amount * numerator // denominator + 1


def gwei(amount: int) -> str:
    """An amount as people compare fees."""
    return f"{amount / GWEI:,.9g} gwei"


def above_cap(base: int, fees: Fees) -> str:
    """Why nothing is sent, in words."""
    return f"base fee: expected at most the cap of {gwei(fees.max_fee)}, found {gwei(base)}"


class Market:
    """A node's quotes; one serves everybody for a second."""

    def __init__(self, web3: Web3) -> None:
        self._web3 = web3
        self._lock = threading.Lock()
        self._quote: Quote | None = None
        self._until = 0.0

    def quote(self, *, fresh: bool = False) -> Quote:
        """What the node says now, or said within the last second.

        Args:
            fresh: whether only the former will do.

        Raises:
            LedgerError: the node does not say, or what it says is no quote.
        """
        with self._lock:
            if fresh or self._quote is None or time.monotonic() > self._until:
                with asking("fees"):
                    self._quote = self._ask()
                self._until = time.monotonic() + _QUOTE_SECONDS
            return self._quote

    def _ask(self) -> Quote:
        latest = self._web3.eth.get_block("latest")
        if "baseFeePerGas" not in latest:
            expected = f"chain {self._web3.eth.chain_id}: expected the rules of Prague or later"
            raise LedgerError(f"{expected}, found blocks without a base fee")
        base, tips = int(latest["baseFeePerGas"]), []
        try:
            history: Any = self._web3.eth.fee_history(1, "latest", [50])
            base = [int(each) for each in history["baseFeePerGas"]][1]  # The second is that of the next block.
            tips = [int(tip) for block in history.get("reward", ()) for tip in block]
        except LedgerError:
            raise
        except Exception:
            base += base // 8 + 1  # The most by which the next block's can be higher.
        if not 0 <= base < 1 << 128:
            raise LedgerError(f"fees: expected a base fee, found {str(base)[:80]}")
        suggested = self._suggestion()
        tip = max(tips, default=0) if suggested is None else suggested
        return Quote(base, max(_LEAST_TIP, tip), int(latest["number"]))

    def _suggestion(self) -> int | None:
        """What the node would tip, where it says so: not every node does."""
        try:
            # Not `eth.max_priority_fee`, which gives a warning and asks for a history where the node does not know.
            said: Any = self._web3.manager.request_blocking(RPCEndpoint("eth_maxPriorityFeePerGas"), [])
            return int(said, 16) if isinstance(said, str) else int(said)
        except LedgerError:
            raise
        except Exception:
            return None
