"""Sending over a node that may be slow, forgetful or gone, by a process that may be killed at any point.

A transaction is signed, kept in the journal, and only then given to a node. From there on it is known by its hash, so
an answer that is lost costs nothing: its receipt is asked for, the same bytes are sent again where nobody knows them,
and a variant with higher fees takes its place where the market has left it behind. All variants share a nonce, so that
at most one of them is carried out. To post what is still on its way, also after a restart, is to wait for it.

One process at a time may send with a key; the service sees to that.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound
from web3.types import TxReceipt

from fedpact.errors import ContractRejected, LedgerError
from fedpact.ledger.answers import asking
from fedpact.ledger.facts import Address
from fedpact.ledger.fees import Fees, Market, Offer, above_cap, gwei, offer, raised
from fedpact.ledger.journal import Entry, Journal
from fedpact.ledger.spending import Spending
from fedpact.ledger.transactions import Call, NotTaken, Variant, check_balance, send, sign

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.005  # A development node has a receipt at once.
_LONGEST_PAUSE = 1.0
_LONGEST_LOOK = 16.0
_TRIES = 3
_ADVICE = "wait, or raise the cap (--max-fee)"


class Superseded(LedgerError):
    """A transaction that is never carried out, for another has its nonce."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Attributes:
        receipt: seconds within which a transaction must be in a block, and within which the base fee must fall below
            the cap. What is not in a block by then stays in the journal: posting it again goes on waiting.
        look: seconds after which a node is asked what has become of a transaction; then twice as long each time.
        stuck: seconds after which a transaction that the market has left behind offers more.
        silence: seconds of waiting after which it is said what is waited for; then again after as many.
        settled: blocks on top of a receipt after which no reorganisation undoes it: two epochs on Ethereum.
    """

    receipt: float = 180.0
    look: float = 2.0
    stuck: float = 15.0
    silence: float = 45.0
    settled: int = 64


@dataclass(slots=True)
class _Lane:
    """What one key has sent.

    Attributes:
        entries: by nonce.
        inherited: whether some are of an earlier process, and were not looked after yet.
        next: the nonce of the next transaction, where it is known.
        given_up: the nonce and offer of the last transaction that was given up without a trace of it at the node.
    """

    key: LocalAccount
    account: Address
    entries: dict[int, Entry]
    inherited: bool
    next: int | None = None
    given_up: tuple[int, Offer] | None = None
    # A thread that waits for what an earlier process left behind, asks for it again while it waits.
    lock: threading.RLock = field(default_factory=threading.RLock)


class Outbox:
    """Sends for some accounts; each has its own lock.

    Args:
        try_out: asks a node what a call would do; raises `ContractRejected` where it would be refused.
        journal: keeps what was signed.
        spending: is told of every receipt.

    Raises:
        InputError: the journal cannot be read.
    """

    def __init__(
        self,
        web3: Web3,
        chain_id: int,
        accounts: Mapping[Address, LocalAccount],
        try_out: Callable[[Address, Call], None],
        journal: Journal,
        fees: Fees,
        patience: Patience,
        spending: Spending,
    ) -> None:
        self._web3, self._chain_id, self._try_out = web3, chain_id, try_out
        self._journal, self._fees, self._patience, self._spending = journal, fees, patience, spending
        self._market = Market(web3)
        self._lanes: dict[Address, _Lane] = {}
        for account, key in accounts.items():
            entries = {entry.nonce: entry for entry in journal.read(account)}
            self._lanes[account] = _Lane(key, account, entries, inherited=bool(entries))

    def post(self, sender: Address, call: Call) -> Callable[[], TxReceipt]:
        """Sends a transaction, unless the same is on its way already; what is returned waits for its receipt.

        What an earlier process left behind, or a reorganisation has undone, is waited for first, so that whatever is
        tried out here comes after it.

        Raises, now or while waiting:
            ContractRejected: it would be refused; nothing was signed.
            Superseded: another process sends with the same key.
            NotTaken: the node refused it.
            InputError: the journal cannot be written; nothing was sent.
            LedgerError: it could not be sent, or is in no block yet.
        """
        lane = self._lanes[sender]
        with lane.lock:
            if lane.inherited or self._is_undone(lane):
                self._take_over(lane)
            entry = self._on_its_way(lane, call)
            if entry is None:
                entry = self._begin(lane, call)
            else:
                self._renew(lane, entry)
        return functools.partial(self._deliver, lane, entry)

    # ------------------------------------------------------------------------------------------ a new transaction

    def _begin(self, lane: _Lane, call: Call) -> Entry:
        """Signs a transaction, keeps it, sends it."""
        self._try_out(lane.account, call)
        if self._await_market():
            self._try_out(lane.account, call)  # Much may have changed meanwhile.
        self._settle(lane)
        for left in reversed(range(_TRIES)):
            if lane.next is None:
                lane.next = max([self._count(lane, "pending"), *(nonce + 1 for nonce in lane.entries)])
            nonce = lane.next
            bid = self._bid(lane, nonce)
            variant = sign(lane.key, call.asked_by(lane.account), nonce, self._chain_id, bid)
            entry = Entry(lane.account, nonce, call, int(time.time()), (variant,))
            self._keep(lane, entry)
            lane.next = nonce + 1
            try:
                self._send(entry)
            except NotTaken:
                if self._count(lane, "latest") > nonce:
                    lane.next = None
                    return entry  # It may be this one that used the nonce: whoever waits finds out.
                self._forget(lane, entry)
                lane.next = None
                if left and self._market.quote(fresh=True).base > bid.max_fee:
                    continue  # The base fee has risen since it was asked for.
                check_balance(self._web3, lane.key, call.gas, bid.max_fee)
                raise
            except LedgerError as error:
                logger.warning("%s; its receipt will tell whether it was taken", error)
            return entry
        raise AssertionError("the last try returns or raises")

    def _await_market(self) -> bool:
        """Waits while the base fee is above the cap; returns whether it was."""
        end = time.monotonic() + self._patience.receipt
        waited = False
        while (base := self._market.quote().base) > self._fees.max_fee:
            if time.monotonic() > end:
                raise LedgerError(f"{above_cap(base, self._fees)} for {self._patience.receipt:.0f} s: {_ADVICE}")
            if not waited:
                logger.warning("%s: waiting", above_cap(base, self._fees))
            waited = True
            time.sleep(min(_LONGEST_PAUSE, self._patience.receipt))
        return waited

    def _bid(self, lane: _Lane, nonce: int) -> Offer:
        """What to offer now."""
        quote = self._market.quote()
        bid = offer(quote, self._fees)
        if bid is None:
            raise LedgerError(f"{above_cap(quote.base, self._fees)}: {_ADVICE}")
        if lane.given_up is not None and lane.given_up[0] == nonce:
            # Should somebody still have what was given up, this takes its place.
            return raised(lane.given_up[1], quote, self._fees) or bid
        return bid

    def _settle(self, lane: _Lane) -> None:
        """Forgets what no reorganisation undoes any more."""
        head = self._market.quote().block
        for entry in list(lane.entries.values()):
            if not entry.block or entry.block + self._patience.settled <= head:
                mined = self._receipt(entry)
                if mined is None:
                    lane.entries[entry.nonce] = replace(entry, block=0)
                elif mined["blockNumber"] + self._patience.settled <= head:
                    self._forget(lane, entry)
                else:
                    lane.entries[entry.nonce] = replace(entry, block=mined["blockNumber"])

    # ----------------------------------------------------------------------------------- one that was sent before

    def _take_over(self, lane: _Lane) -> None:
        """Sees to the end of what an earlier process left behind.

        What nobody knows and would be refused now is given up: its nonce serves again, and an offer that is higher
        takes the place of whatever may still be about.
        """
        waiting = []
        for entry in sorted(lane.entries.values(), key=lambda entry: entry.nonce):
            mined = self._receipt(entry)
            if mined is None:
                waiting.append(entry)
            elif mined["status"] != 1 and not entry.delivered:
                self._note(lane, entry, mined)  # Nobody waits for a failure.
        reached = self._count(lane, "pending")
        for entry in reversed(waiting):
            if any(nonce not in lane.entries for nonce in range(reached, entry.nonce)) and not self._is_known(entry):
                logger.warning("journal: %s waits for a nonce that nobody used: given up", _named(entry))
                self._give_up(lane, entry)
                continue
            try:
                self._renew(lane, entry)
            except ContractRejected as error:
                logger.info("journal: %s was never sent and is refused now: given up (%s)", _named(entry), error)
        for entry in waiting:
            if entry.nonce in lane.entries:
                with contextlib.suppress(ContractRejected):  # It is given up meanwhile.
                    self._mined(lane, entry)
        lane.inherited = False

    def _is_undone(self, lane: _Lane) -> bool:
        """Whether a reorganisation has taken the last transaction out of its block."""
        given = [entry for entry in lane.entries.values() if entry.delivered]
        return bool(given) and self._receipt(max(given, key=lambda entry: entry.nonce)) is None

    def _on_its_way(self, lane: _Lane, call: Call) -> Entry | None:
        """The transaction that already asks for the same.

        One whose receipt its sender was given is none, for the same may be asked for twice (a member is admitted,
        removed, admitted again), unless a reorganisation has taken it out of its block since.
        """
        same = [entry for entry in lane.entries.values() if entry.call == call]
        if not same:
            return None
        last = max(same, key=lambda entry: entry.nonce)
        if not last.delivered:
            return last
        mined = self._receipt(last)
        if mined is not None and (mined["status"] != 1 or bytes(mined["blockHash"]) == last.delivered):
            return None
        return last

    def _renew(self, lane: _Lane, entry: Entry) -> None:
        """Sends a transaction again, where the node does not know it.

        Raises:
            ContractRejected: it is given up, for it would be refused now.
        """
        if self._is_known(entry):
            return
        self._try_again(lane, entry)
        try:
            self._send(entry)
        except LedgerError as error:
            logger.warning("%s; sent again: %s", _named(entry), error)

    def _try_again(self, lane: _Lane, entry: Entry) -> None:
        """Tries out what a node does not know, before it is sent once more: the chain may be another one by now.

        Raises:
            ContractRejected: it is given up, for it would be refused now.
        """
        if entry.nonce == max(lane.entries):
            try:
                self._try_out(lane.account, entry.call)
            except ContractRejected:
                self._give_up(lane, entry)
                raise

    # ----------------------------------------------------------------------------------------- until it is mined

    def _deliver(self, lane: _Lane, entry: Entry) -> TxReceipt:
        """Waits for a receipt, and notes that it was given."""
        mined = self._mined(lane, entry)
        with lane.lock:
            self._note(lane, entry, mined)
        return mined

    def _note(self, lane: _Lane, entry: Entry, mined: TxReceipt) -> None:
        current = self._current(lane, entry)
        if current is None:
            return
        if not current.delivered:
            self._spending.count(mined)
        if self._patience.settled:
            block, number = bytes(mined["blockHash"]), int(mined["blockNumber"])
            lane.entries[entry.nonce] = self._journal.deliver(current, number, block)
        else:
            self._forget(lane, current)

    def _mined(self, lane: _Lane, entry: Entry) -> TxReceipt:
        """Waits for the receipt of any variant, and does meanwhile what helps."""
        began = offered = time.monotonic()
        pause, step, trouble, overtaken, said = _FIRST_PAUSE, self._patience.look, "", False, began
        look = began + step
        while True:
            try:
                mined = self._receipt(entry)
                if mined is not None:
                    return mined
                if time.monotonic() >= look:
                    with lane.lock:
                        current = self._current(lane, entry)
                        if current is None:
                            raise Superseded(f"{_named(entry)}: was given up meanwhile, for it would be refused")
                        count = self._count(lane, "latest")
                        if count <= entry.nonce:
                            overtaken = False
                            is_stuck = time.monotonic() >= offered + self._patience.stuck
                            # It waits for those before it, which a reorganisation may have dropped.
                            for nonce in sorted(nonce for nonce in lane.entries if count <= nonce <= entry.nonce):
                                current = self._push(lane, lane.entries[nonce], is_stuck=is_stuck)
                        elif not overtaken:
                            overtaken = True  # Nodes behind one address may differ by a block: it must be seen twice.
                        elif self._receipt(current) is None:
                            self._forget(lane, current)
                            lane.next = None
                            raise Superseded(_used(current))
                    before, entry = entry, current
                    if entry.newest != before.newest:
                        offered, pause = time.monotonic(), _FIRST_PAUSE
                    trouble = ""
                    step = min(2 * step, max(_LONGEST_LOOK, self._patience.look))
                    look = time.monotonic() + step
            except (Superseded, ContractRejected):
                raise
            except LedgerError as error:
                trouble = f": {error}"
                look = max(look, time.monotonic() + pause)
            if time.monotonic() > began + self._patience.receipt:
                expected = f"expected in a block within {self._patience.receipt:.0f} s, found in none"
                raise LedgerError(f"{_named(entry)}: {expected}{trouble or self._why(entry)}")
            if time.monotonic() > said + self._patience.silence:
                said = time.monotonic()
                logger.warning("%s: in no block after %d s%s", _named(entry), said - began, trouble)
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _push(self, lane: _Lane, entry: Entry, *, is_stuck: bool) -> Entry:
        """Helps a transaction into a block; returns what it has become.

        Args:
            is_stuck: whether it has waited long enough for a higher offer.

        Raises:
            ContractRejected: it is given up, for nobody knows it, and it would be refused now.
        """
        is_known = self._is_known(entry)
        if not is_known:
            self._try_again(lane, entry)
        if is_stuck or not is_known:
            quote = self._market.quote(fresh=True)
            higher = raised(entry.newest.offer, quote, self._fees) if entry.newest.offer.is_short(quote) else None
            if higher is not None:
                asked = entry.call.asked_by(lane.account)
                variant = sign(lane.key, asked, entry.nonce, self._chain_id, higher)
                entry = replace(entry, variants=(*entry.variants, variant))
                self._keep(lane, entry)
                logger.info("%s: offers %s now", _named(entry), gwei(higher.max_fee))
                is_known = False
        if not is_known:
            self._send(entry)
        return entry

    def _why(self, entry: Entry) -> str:
        """What may keep a transaction out of the blocks, for a person."""
        bid, quote = entry.newest.offer, self._market.quote()
        if not bid.is_short(quote):
            return ""
        cap, base = gwei(self._fees.max_fee), gwei(quote.base)
        return f"; it offers {gwei(bid.max_fee)}, the base fee is {base}, the cap {cap}: {_ADVICE}"

    # ---------------------------------------------------------------------------------------------- asking, keeping

    def _send(self, entry: Entry) -> None:
        """Gives a node the variant that offers most.

        Raises:
            NotTaken: the node refused it, and knows no variant of it.
            LedgerError: whether it was taken is not known.
        """
        try:
            send(self._web3, entry.account, entry.newest.raw)
        except NotTaken:
            if not self._is_known(entry, entry.newest):
                raise

    def _is_known(self, entry: Entry, *variants: Variant) -> bool:
        """Whether the node has any variant, in a block or waiting for one."""
        for variant in variants or entry.variants:
            with asking(_named(entry)):
                try:
                    self._web3.eth.get_transaction(HexBytes(variant.hash))
                except TransactionNotFound:
                    continue
                return True
        return False

    def _receipt(self, entry: Entry) -> TxReceipt | None:
        """The receipt of any variant."""
        for variant in reversed(entry.variants):
            with asking(_named(entry)):
                try:
                    mined = self._web3.eth.get_transaction_receipt(HexBytes(variant.hash))
                except TransactionNotFound:
                    continue
                if bytes(mined["transactionHash"]) != variant.hash:
                    raise LedgerError(f"{_named(entry)}: the node gave the receipt of another")
                if mined["blockHash"] is None:
                    continue  # Some nodes give one before there is a block.
                for name in ("blockNumber", "status", "gasUsed", "effectiveGasPrice"):
                    if not isinstance(found := mined.get(name), int):
                        raise LedgerError(f"{_named(entry)}: {name}: expected a number, found {str(found)[:80]!r}")
                return mined
        return None

    def _count(self, lane: _Lane, block: Literal["latest", "pending"]) -> int:
        """How many transactions of an account there are."""
        with asking(f"account {lane.account}"):
            found = self._web3.eth.get_transaction_count(lane.key.address, block)
            if not 0 <= found < 1 << 64:
                raise LedgerError(f"account {lane.account}: expected a number of transactions, found {str(found)[:80]}")
            return int(found)

    def _current(self, lane: _Lane, entry: Entry) -> Entry | None:
        """What has become of an entry meanwhile; none where it is kept no longer."""
        current = lane.entries.get(entry.nonce)
        return current if current is not None and current.variants[0] == entry.variants[0] else None

    def _keep(self, lane: _Lane, entry: Entry) -> None:
        self._journal.write(entry)
        lane.entries[entry.nonce] = entry

    def _forget(self, lane: _Lane, entry: Entry) -> None:
        self._journal.remove(entry)
        lane.entries.pop(entry.nonce, None)

    def _give_up(self, lane: _Lane, entry: Entry) -> None:
        """Forgets an entry of which there is no trace: its nonce serves again."""
        self._forget(lane, entry)
        lane.next, lane.given_up = None, (entry.nonce, entry.newest.offer)


def _named(entry: Entry) -> str:
    return f"transaction 0x{entry.newest.hash.hex()}"


def _used(entry: Entry) -> str:
    return f"{_named(entry)}: its nonce {entry.nonce} was used: another process sends with the key of {entry.account}"
