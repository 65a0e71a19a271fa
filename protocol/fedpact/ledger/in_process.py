"""Sending on a chain within the process, which nobody else uses and which loses nothing.

Nothing is tried first, tipped or remembered, and the last block is asked for only after somebody has waited: thousands
of rounds are played on such a chain.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.types import BlockData, TxReceipt

from fedpact.errors import LedgerError
from fedpact.ledger.facts import Address, Hash
from fedpact.ledger.fees import Offer
from fedpact.ledger.spending import Spending
from fedpact.ledger.transactions import Call, check_balance, send, sign, wait

TIP = 1


class InProcess:
    """Sends for some accounts."""

    def __init__(
        self,
        web3: Web3,
        chain_id: int,
        accounts: dict[Address, LocalAccount],
        spending: Spending,
    ) -> None:
        self._web3, self._chain_id, self._accounts, self._spending = web3, chain_id, accounts, spending
        self._latest: BlockData | None = None  # Until somebody has waited for another or was refused.
        self.nonces: dict[Address, int] = {}
        self._lock = threading.Lock()

    def post(self, sender: Address, call: Call) -> Callable[[], TxReceipt]:
        """Sends a transaction; what is returned waits for its receipt.

        Raises, now or while waiting:
            LedgerError: the node refused it, or there is no receipt.
        """
        account = self._accounts[sender]
        with self._lock:
            if sender not in self.nonces:
                self.nonces[sender] = self._web3.eth.get_transaction_count(account.address, "pending")
            latest = self._latest or self._web3.eth.get_block("latest")
            offer = Offer(int(2 * latest["baseFeePerGas"]) + TIP, TIP)
            signed = sign(account, call.asked_by(sender), self.nonces[sender], self._chain_id, offer)
            try:
                send(self._web3, sender, signed.raw)
                self._latest = latest
            except LedgerError:
                self._latest = None
                del self.nonces[sender]  # Whether it was taken is not known: ask the node next time.
                check_balance(self._web3, account, call.gas, offer.max_fee)
                raise
            self.nonces[sender] += 1
        return functools.partial(self._wait, sender, signed.hash)

    def _wait(self, sender: Address, transaction: Hash) -> TxReceipt:
        try:
            mined = wait(self._web3, transaction)
        except LedgerError:
            with self._lock:
                self.nonces.pop(sender, None)
            raise
        finally:
            with self._lock:
                self._latest = None
        self._spending.count(mined)
        return mined
