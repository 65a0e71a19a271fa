"""The ledger on an EVM chain: the contract behind web3.

Nothing that a node says is taken on trust where it can be checked: logs must come from the contract, in order, and
decode strictly; whether they make sense together is for the view. A refusal becomes its typed error before gas is
spent, because every action is tried on the pending block first. How an action is sent is in `outbox`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from web3 import Web3
from web3.types import LogReceipt, TxParams, TxReceipt
from web3.utils import get_create_address

from fedpact.errors import LedgerError, RecordDamaged
from fedpact.ledger.abi import Abi
from fedpact.ledger.actions import Action, Admit
from fedpact.ledger.answers import asking, said
from fedpact.ledger.artifact import federation
from fedpact.ledger.events import Event
from fedpact.ledger.facts import FOREVER, Address, Hash, Identity, Limits, address
from fedpact.ledger.fees import Fees, Market, Offer, above_cap, offer
from fedpact.ledger.in_process import TIP, InProcess
from fedpact.ledger.journal import Journal
from fedpact.ledger.node import Node
from fedpact.ledger.outbox import Outbox, Patience
from fedpact.ledger.port import Cursor, News, Posted, Receipt
from fedpact.ledger.reading import Confirmations, Reader
from fedpact.ledger.reverts import failures, try_out
from fedpact.ledger.spending import Spending, Spent
from fedpact.ledger.transactions import Call, check_balance, send, sign, wait
from fedpact.store.cid import Cid

_GAS = 500_000  # More than any action costs whatever its arguments; what is not used is not paid.
_GAS_PER_MEMBER = 60_000
_GAS_DEPLOY = 4_000_000
# PUSH0 three times, MCOPY, STOP: the newest instructions that the contract's code is made of.
_INSTRUCTIONS = bytes.fromhex("5f5f5f5e00")


class EthereumLedger:
    """One federation on a chain.

    Args:
        web3: a connection to a node.
        contract: the federation's address.
        accounts: keys that may send.
        simulate: whether every action is tried on the pending block before it is sent, so that a refusal costs nothing.
            Without it a refusal costs its gas, and its reason is asked for afterwards: it is the one that holds then.
            That is for a chain within the process: nothing is journalled, and the tip is one wei.
        journal: a directory that keeps what was signed, so that a restart knows what was sent; none to keep it in
            memory only. One process at a time may use it.
        fees: the most that a unit of gas may cost.
        patience: how long to wait for what.
        confirmations: blocks that must follow one before it counts as confirmed, or the node's word for it.
        first_block: no entry is in an earlier block.

    Raises:
        InputError: the journal cannot be read or written.
        LedgerError: the code at the address is not that of the contract.
    """

    def __init__(
        self,
        web3: Web3,
        contract: Address,
        accounts: Iterable[LocalAccount] = (),
        *,
        simulate: bool = True,
        journal: Path | None = None,
        fees: Fees = Fees(),  # noqa: B008  # Frozen.
        patience: Patience = Patience(),  # noqa: B008  # Frozen.
        confirmations: Confirmations = 0,
        first_block: int = 0,
    ) -> None:
        self._web3 = web3
        self._abi = Abi(federation().abi)
        self._to = Web3.to_checksum_address(contract)
        with asking("rpc"):
            self._identity = Identity(web3.eth.chain_id, contract)
            code = bytes(web3.eth.get_code(self._to))
        self._node = Node(web3)
        self._reader = Reader(self._node, contract, self._abi, confirmations=confirmations, first_block=first_block)
        self._accounts = {address(account.address): account for account in accounts}
        self._spending = Spending()
        chain_id = self._identity.chain_id
        self._sending: Outbox | InProcess = InProcess(web3, chain_id, self._accounts, self._spending)
        if simulate:
            kept = Journal(journal, chain_id)
            self._sending = Outbox(web3, chain_id, self._accounts, self._try_out, kept, fees, patience, self._spending)
        if code != federation().runtime:
            found = f"{len(code)} bytes of other code" if code else "no code"
            raise LedgerError(
                f"contract {contract}: expected the code of a federation, found {found} on chain {chain_id}"
            )

    @classmethod
    def deploy(
        cls,
        web3: Web3,
        deployer: LocalAccount,
        charter: Cid,
        genesis: Cid,
        limits: Limits,
        *,
        owner: Address | None = None,
        accounts: Iterable[LocalAccount] = (),
        simulate: bool = True,
        fees: Fees = Fees(),  # noqa: B008  # Frozen.
        before_sending: Callable[[Hash, bytes], None] | None = None,
    ) -> tuple[EthereumLedger, Receipt]:
        """Puts a new federation on a chain.

        Args:
            owner: who owns it; the deployer where none is given.
            before_sending: is given the transaction's hash and its signed bytes, so that they can be kept before anyone
                else has seen them. Nothing is sent where it raises.

        Raises:
            ContractRejected: the constructor refused.
            LedgerError: the chain cannot run the contract, the deployer cannot pay for it, or the deployment failed.
        """
        abi = Abi(federation().abi)
        owner = owner or address(deployer.address)
        data = federation().creation + abi.construction(owner, charter, genesis, limits)
        bid = _offer(web3, fees, simulate=simulate)
        _check_rules(web3, deployer, bid)
        asked: TxParams = {"from": deployer.address, "data": HexBytes(data), "gas": _GAS_DEPLOY}
        try_out(web3, abi, asked)
        nonce = web3.eth.get_transaction_count(deployer.address)
        signed = sign(deployer, asked, nonce, web3.eth.chain_id, bid)
        if before_sending is not None:
            before_sending(signed.hash, signed.raw)
        send(web3, address(deployer.address), signed.raw)
        # The hash and the address are our own knowledge, whatever the node answers.
        ledger, receipt = cls.deployed(web3, signed.hash, [deployer, *accounts], simulate=simulate, fees=fees)
        contract = address(get_create_address(deployer.address, nonce))
        if ledger.identity.contract != contract:
            raise LedgerError(f"contract: expected {contract}, the node says {ledger.identity.contract}")
        return ledger, receipt

    @classmethod
    def deployed(
        cls,
        web3: Web3,
        transaction: Hash,
        accounts: Iterable[LocalAccount] = (),
        *,
        simulate: bool = True,
        fees: Fees = Fees(),  # noqa: B008  # Frozen.
    ) -> tuple[EthereumLedger, Receipt]:
        """The federation that a transaction put on a chain, once it is in a block.

        Raises:
            LedgerError: it is in none yet, or it put no federation there.
        """
        mined = wait(web3, transaction)
        contract = mined["contractAddress"]
        if bytes(mined["transactionHash"]) != transaction:
            raise LedgerError(f"transaction 0x{transaction.hex()}: the node gave the receipt of another")
        if mined["status"] != 1 or contract is None:
            raise LedgerError(f"deployment: failed in block {mined['blockNumber']}")
        ledger = cls(web3, address(contract), accounts, simulate=simulate, fees=fees)
        return ledger, ledger._receipt(mined)

    @property
    def identity(self) -> Identity:
        return self._identity

    def owner(self) -> Address:
        """Who owns it now."""
        return address(self._view("owner"))

    def is_member(self, account: Address) -> bool:
        """Whether the contract counts an account among the members of the next round."""
        *_, until, _, _, _ = self._view("memberOf", Web3.to_checksum_address(account))
        return bool(until == FOREVER)

    def is_coordinator(self, account: Address) -> bool:
        """Whether an account may open and publish rounds."""
        return bool(self._view("isCoordinator", Web3.to_checksum_address(account)))

    def now(self) -> int:
        return self._reader.now()

    def passed(self) -> int:
        """The time that has surely passed on the chain, for what cannot be undone: see `Reader.passed`.

        Raises:
            LedgerError: the node does not say.
        """
        return self._reader.passed()

    def doubt(self) -> None:
        """Whichever node answered last is asked after the others for a while, where there are others.

        It is for answers that make no sense together, and for a chain that stands still while it should not.
        """
        self._node.doubt()

    def confirm_after(self, confirmations: Confirmations) -> None:
        """From the next reading on, so many blocks must follow one before it counts as confirmed."""
        self._reader.confirmations = confirmations

    def gas(self, transactions: Sequence[Hash]) -> dict[Hash, int]:
        """What transactions cost, as the node says; those that it does not know are missing.

        Raises:
            LedgerError: there is no answer, or it is none.
        """
        return self._node.gas(transactions)

    def latest(self) -> int:
        """The number of the newest block.

        Raises:
            LedgerError: the node does not say.
        """
        with asking("newest block"):
            return int(self._web3.eth.block_number)

    def read(self, cursor: Cursor) -> News:
        return self._reader.read(cursor)

    def send(self, sender: Address, action: Action) -> Receipt:
        return self.post(sender, action)()

    def post(self, sender: Address, action: Action) -> Posted:
        if sender not in self._accounts:
            raise LedgerError(f"account {sender}: its key is not here")
        gas = _GAS + (_GAS_PER_MEMBER * len(action.members) if isinstance(action, Admit) else 0)
        call = Call(self._identity.contract, self._abi.call(action), gas)
        return functools.partial(self._outcome, sender, call, self._sending.post(sender, call))

    def _outcome(self, sender: Address, call: Call, waiting: Callable[[], TxReceipt]) -> Receipt:
        """Waits for the receipt of what was sent."""
        mined = waiting()
        if mined["status"] != 1:
            self._try_out(sender, call)
            raise LedgerError(
                f"transaction 0x{bytes(mined['transactionHash']).hex()}: reverted in block {mined['blockNumber']}"
            )
        return self._receipt(mined)

    def _try_out(self, sender: Address, call: Call) -> None:
        try_out(self._web3, self._abi, call.asked_by(sender))

    def balance(self, account: Address) -> int:
        """What an account has, in wei.

        Raises:
            LedgerError: the node does not say.
        """
        with asking(f"balance of {account}"):
            return int(self._web3.eth.get_balance(Web3.to_checksum_address(account)))

    def price(self) -> int:
        """What a unit of gas costs now, in wei.

        Raises:
            LedgerError: the node does not say.
        """
        with asking("price of gas"):
            return int(self._web3.eth.gas_price)

    def close(self) -> None:
        """Closes the connection, where it can be closed."""
        closing = getattr(self._web3.provider, "close", None)
        if closing is not None:
            closing()

    @property
    def spent(self) -> Spent:
        """What this process's transactions have cost so far."""
        return self._spending.spent

    def _receipt(self, mined: TxReceipt) -> Receipt:
        events = tuple(event for _, event in self._events(mined["logs"]))
        block, transaction = int(mined["blockNumber"]), Hash(bytes(mined["transactionHash"]))
        return Receipt(block, transaction, int(mined["gasUsed"]), events, int(mined["effectiveGasPrice"]))

    def _view(self, name: str, *arguments: object) -> Any:
        contract = self._web3.eth.contract(address=self._to, abi=federation().abi)
        with asking(f"rpc: {name}"):
            return contract.get_function_by_name(name)(*arguments).call()

    def _events(self, logs: Sequence[LogReceipt]) -> Iterator[tuple[LogReceipt, Event]]:
        for log in sorted(logs, key=lambda log: (log["blockNumber"], log["logIndex"])):
            if log["address"] != self._to or log.get("removed"):
                raise RecordDamaged(f"block {log['blockNumber']}: the node gave a log that is not the contract's")
            yield log, self._abi.event([bytes(topic) for topic in log["topics"]], bytes(log["data"]))


def account_from_key(key: bytes) -> LocalAccount:
    """The account of a private key (32 bytes)."""
    return cast(LocalAccount, Account.from_key(key))


def _offer(web3: Web3, fees: Fees, *, simulate: bool) -> Offer:
    """What a deployment offers for a unit of gas."""
    if not simulate:
        return Offer(int(2 * web3.eth.get_block("latest")["baseFeePerGas"]) + TIP, TIP)
    quote = Market(web3).quote()
    found = offer(quote, fees)
    if found is None:
        raise LedgerError(f"{above_cap(quote.base, fees)}: wait, or raise the cap (--max-fee)")
    return found


def _check_rules(web3: Web3, account: LocalAccount, bid: Offer) -> None:
    """Checks that a chain has what a deployment needs: money of the account, the instructions of the code.

    Raises:
        LedgerError: it has not.
    """
    check_balance(web3, account, _GAS_DEPLOY, bid.max_fee)
    try:
        web3.eth.call({"from": account.address, "data": _INSTRUCTIONS, "gas": _GAS})
    except failures() as error:
        expected = f"chain {web3.eth.chain_id}: expected the rules of Prague or later"
        raise LedgerError(f"{expected}, found an EVM without the contract's instructions: {said(error)}") from None
