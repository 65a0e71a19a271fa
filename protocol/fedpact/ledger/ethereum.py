"""The ledger on an EVM chain: the contract behind web3.

Nothing that a node says is taken on trust where it can be checked: logs must come from the contract, in order, and
decode strictly; whether they make sense together is for the view. A refusal becomes its typed error before gas is
spent, because every action is tried on the pending block first.
"""

from __future__ import annotations

import ast
import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import BlockData, BlockIdentifier, LogReceipt, TxParams, TxReceipt
from web3.utils import get_create_address

from fedpact.errors import LedgerError, RecordDamaged
from fedpact.ledger.abi import Abi
from fedpact.ledger.actions import Action, Admit
from fedpact.ledger.answers import asking, said
from fedpact.ledger.artifact import federation
from fedpact.ledger.events import Event
from fedpact.ledger.facts import FOREVER, Address, Hash, Identity, Limits, address
from fedpact.ledger.node import Node
from fedpact.ledger.port import Cursor, News, Posted, Receipt
from fedpact.ledger.reading import Confirmations, Reader
from fedpact.store.cid import Cid

try:
    # eth-tester raises its own error for a revert. It comes with web3's extra and may be absent elsewhere.
    from eth_tester.exceptions import TransactionFailed
except ImportError:  # pragma: no cover
    TransactionFailed = Web3Exception

_GAS = 500_000  # More than any action costs whatever its arguments; what is not used is not paid.
_GAS_PER_MEMBER = 60_000
_GAS_DEPLOY = 4_000_000
_TIP = 1
_RECEIPT_SECONDS = 60.0
# PUSH0 three times, MCOPY, STOP: the newest instructions that the contract's code is made of.
_INSTRUCTIONS = bytes.fromhex("5f5f5f5e00")
_REVERT_BYTES = re.compile(r"b(['\"]).*\1", re.DOTALL)


class NotTaken(LedgerError):
    """A transaction that the node refused to take."""


class EthereumLedger:
    """One federation on a chain.

    Args:
        web3: a connection to a node.
        contract: the federation's address.
        accounts: keys that may send.
        simulate: whether every action is tried on the pending block before it is sent, so that a refusal costs nothing.
            Without it a refusal costs its gas, and its reason is asked for afterwards: it is the one that holds then.
        confirmations: blocks that must follow one before it counts as confirmed, or the node's word for it.
        first_block: no entry is in an earlier block.

    Raises:
        LedgerError: the code at the address is not that of the contract.
    """

    def __init__(
        self,
        web3: Web3,
        contract: Address,
        accounts: Iterable[LocalAccount] = (),
        *,
        simulate: bool = True,
        confirmations: Confirmations = 0,
        first_block: int = 0,
    ) -> None:
        self._web3 = web3
        self._abi = Abi(federation().abi)
        self._to = Web3.to_checksum_address(contract)
        with asking("rpc"):
            self._identity = Identity(web3.eth.chain_id, contract)
            code = bytes(web3.eth.get_code(self._to))
        self._reader = Reader(Node(web3), contract, self._abi, confirmations=confirmations, first_block=first_block)
        self._accounts = {address(account.address): account for account in accounts}
        self._simulates = simulate
        self._latest: BlockData | None = None  # The last block, until somebody has waited for another or was refused.
        self._nonces: dict[Address, int] = {}
        self._lock = threading.Lock()
        if code != federation().runtime:
            found = f"{len(code)} bytes of other code" if code else "no code"
            raise LedgerError(f"contract {contract}: expected the code of a federation, found {found}")

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
        latest = web3.eth.get_block("latest")
        _check_rules(web3, deployer, latest)
        _simulate(web3, abi, {"from": deployer.address, "data": data, "gas": _GAS_DEPLOY})
        nonce = web3.eth.get_transaction_count(deployer.address)
        signed = _sign(
            deployer, {"data": data, "gas": _GAS_DEPLOY, "nonce": nonce, "chainId": web3.eth.chain_id}, latest
        )
        if before_sending is not None:
            before_sending(Hash(bytes(signed.hash)), bytes(signed.raw_transaction))
        _send(web3, deployer, signed)
        # The hash and the address are our own knowledge, whatever the node answers.
        ledger, receipt = cls.deployed(web3, Hash(bytes(signed.hash)), [deployer, *accounts], simulate=simulate)
        contract = address(get_create_address(deployer.address, nonce))
        if ledger.identity.contract != contract:
            raise LedgerError(f"contract: expected {contract}, the node says {ledger.identity.contract}")
        return ledger, receipt

    @classmethod
    def deployed(
        cls, web3: Web3, transaction: Hash, accounts: Iterable[LocalAccount] = (), *, simulate: bool = True
    ) -> tuple[EthereumLedger, Receipt]:
        """The federation that a transaction put on a chain, once it is in a block.

        Raises:
            LedgerError: it is in none yet, or it put no federation there.
        """
        mined = _wait(web3, HexBytes(transaction))
        contract = mined["contractAddress"]
        if bytes(mined["transactionHash"]) != transaction:
            raise LedgerError(f"transaction 0x{transaction.hex()}: the node gave the receipt of another")
        if mined["status"] != 1 or contract is None:
            raise LedgerError(f"deployment: failed in block {mined['blockNumber']}")
        ledger = cls(web3, address(contract), accounts, simulate=simulate)
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

    def read(self, cursor: Cursor) -> News:
        return self._reader.read(cursor)

    def send(self, sender: Address, action: Action) -> Receipt:
        return self.post(sender, action)()

    def post(self, sender: Address, action: Action) -> Posted:
        account = self._accounts.get(sender)
        if account is None:
            raise LedgerError(f"account {sender}: its key is not here")
        gas = _GAS + (_GAS_PER_MEMBER * len(action.members) if isinstance(action, Admit) else 0)
        asked: TxParams = {"from": account.address, "to": self._to, "data": self._abi.call(action), "gas": gas}
        with self._lock:
            if self._simulates:
                _simulate(self._web3, self._abi, asked)
            if sender not in self._nonces:
                self._nonces[sender] = self._web3.eth.get_transaction_count(account.address, "pending")
            fixed: TxParams = {"nonce": cast(Any, self._nonces[sender]), "chainId": self._identity.chain_id}
            latest = self._latest or self._web3.eth.get_block("latest")
            try:
                sent = _send(self._web3, account, _sign(account, {**asked, **fixed}, latest))
                self._latest = latest
            except LedgerError:
                self._latest = None
                del self._nonces[sender]  # Whether it was taken is not known: ask the node next time.
                _check_balance(self._web3, account, gas, latest)
                raise
            self._nonces[sender] += 1
        return functools.partial(self._outcome, sender, asked, sent)

    def _outcome(self, sender: Address, asked: TxParams, sent: HexBytes) -> Receipt:
        """Waits for the receipt of what was sent."""
        try:
            mined = _wait(self._web3, sent)
        except LedgerError:
            with self._lock:
                self._nonces.pop(sender, None)
            raise
        finally:
            with self._lock:
                self._latest = None
        if mined["status"] != 1:
            _simulate(self._web3, self._abi, asked)
            raise LedgerError(f"transaction {sent.to_0x_hex()}: reverted in block {mined['blockNumber']}")
        return self._receipt(mined)

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


def _check_rules(web3: Web3, account: LocalAccount, latest: BlockData) -> None:
    """Checks that a chain has what a deployment needs: a base fee, money of the account, the instructions of the code.

    Raises:
        LedgerError: it has not.
    """
    expected = f"chain {web3.eth.chain_id}: expected the rules of Prague or later"
    if "baseFeePerGas" not in latest:
        raise LedgerError(f"{expected}, found blocks without a base fee")
    _check_balance(web3, account, _GAS_DEPLOY, latest)
    try:
        web3.eth.call({"from": account.address, "data": _INSTRUCTIONS, "gas": _GAS})
    except (Web3Exception, TransactionFailed) as error:
        raise LedgerError(f"{expected}, found an EVM without the contract's instructions: {said(error)}") from None


def ether(wei: int) -> str:
    """An amount in ether, exactly."""
    whole, rest = divmod(wei, 10**18)
    return f"{whole}.{rest:018}".rstrip("0").removesuffix(".")


def _simulate(web3: Web3, abi: Abi, transaction: TxParams, block: BlockIdentifier = "pending") -> None:
    """Asks a node what an action would do.

    Raises:
        ContractRejected: it would be refused.
        LedgerError: the node says that it would fail, but not why.
    """
    try:
        web3.eth.call(transaction, block)
    except (Web3Exception, TransactionFailed) as error:
        rejection = abi.error(_revert_data(error))
        raise rejection or LedgerError(f"the transaction would fail: {said(error)}") from None


def _most(latest: BlockData) -> int:
    """Wei that a unit of gas may cost: twice the base fee covers six full blocks in a row."""
    return int(2 * latest["baseFeePerGas"] + _TIP)


def _check_balance(web3: Web3, account: LocalAccount, gas: int, latest: BlockData) -> None:
    """Checks that an account has what a node wants to see before it takes a transaction; what is not used is not paid.

    Raises:
        LedgerError: it has less.
    """
    needed, found = gas * _most(latest), web3.eth.get_balance(account.address)
    if found < needed:
        who = address(account.address)
        raise LedgerError(f"balance of {who}: expected at least {ether(needed)} ether, found {ether(found)} ether")


def _sign(account: LocalAccount, transaction: TxParams, latest: BlockData) -> SignedTransaction:
    fees = {"maxPriorityFeePerGas": _TIP, "maxFeePerGas": _most(latest)}
    filled: dict[str, Any] = {**transaction, **fees, "type": 2, "value": 0}
    return account.sign_transaction(filled)


def _send(web3: Web3, account: LocalAccount, signed: SignedTransaction) -> HexBytes:
    """Sends a transaction; returns its hash."""
    try:
        return web3.eth.send_raw_transaction(signed.raw_transaction)
    except OSError as error:
        raise LedgerError(f"transaction of {address(account.address)}: {said(error)}") from None
    except (Web3Exception, ValidationError) as error:
        raise NotTaken(f"transaction of {address(account.address)}: {said(error)}") from None


def _wait(web3: Web3, sent: HexBytes) -> TxReceipt:
    """Waits for the receipt of a transaction."""
    try:
        return web3.eth.wait_for_transaction_receipt(sent, timeout=_RECEIPT_SECONDS, poll_latency=0.05)
    except (Web3Exception, ValidationError, OSError) as error:
        raise LedgerError(f"transaction {sent.to_0x_hex()}: {said(error)}") from None


def _revert_data(error: Exception) -> bytes:
    """The bytes that a contract reverted with, however a node says them; none where it says nothing of the kind."""
    data = getattr(error, "data", None)
    try:
        if isinstance(data, str) and data.startswith("0x"):
            return bytes.fromhex(data[2:])
        found = _REVERT_BYTES.search(str(error)) if isinstance(error, TransactionFailed) else None
        literal = ast.literal_eval(found.group()) if found else b""  # eth-tester gives the repr of the bytes.
    except (ValueError, SyntaxError):
        return b""
    return literal if isinstance(literal, bytes) else b""
