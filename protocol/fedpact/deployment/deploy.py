"""Founding a federation on a chain, so that an interruption at any point costs nothing but a second run.

A second run finds the federation through the record and adds only what is missing; nothing is ever removed or dismissed
here. Nothing is printed here either.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError as EthValidationError
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3Exception

from fedpact.deployment.plan import Plan
from fedpact.deployment.record import Deployed, RecordFile, Sent, text
from fedpact.errors import FedpactError, InputError, LedgerError
from fedpact.ledger import hashes
from fedpact.ledger.actions import Admit, Appoint
from fedpact.ledger.answers import said
from fedpact.ledger.artifact import federation
from fedpact.ledger.ethereum import EthereumLedger, account_from_key
from fedpact.ledger.events import Founded
from fedpact.ledger.facts import Address, Hash, address
from fedpact.ledger.port import Receipt
from fedpact.ledger.transactions import NotTaken, ether
from fedpact.store.blocks import Blocks
from fedpact.store.memory import MemoryBlocks
from fedpact.store.pins import hold
from fedpact.store.unixfs import add
from fedpact.store.unixfs import address as cid_of

REHEARSAL = "eth-tester"
"""Takes the place of a URL: a chain within the process, of which nothing is left."""
BATCH = 200
"""Members that one transaction admits at most: some 10 million gas."""


@dataclass(slots=True)
class Outcome:
    """What a run did.

    Attributes:
        record: what is on the chain.
        deployed: whether this run put it there, or waited for it.
        receipts: of this run's transactions.
        admitted: members that this run admitted.
        appointed: coordinators that this run appointed.
        left_to: who must admit and appoint those that are missing, where this account may not.
        missing: how many members and coordinators those are.
        hints: what a person should know although nothing failed.
    """

    record: Deployed
    deployed: bool
    receipts: list[Receipt] = field(default_factory=list)
    admitted: int = 0
    appointed: int = 0
    left_to: Address | None = None
    missing: tuple[int, int] = (0, 0)
    hints: list[str] = field(default_factory=list)

    @property
    def gas(self) -> int:
        """Gas of all this run's transactions."""
        return sum(each.gas or 0 for each in self.receipts)

    @property
    def cost(self) -> int:
        """What they cost, in wei."""
        return sum((each.gas or 0) * (each.price or 0) for each in self.receipts)


def rehearse(plan: Plan) -> Outcome:
    """Founds a federation on a chain within the process, with a throw-away key.

    Raises:
        ContractRejected, LedgerError: as `deploy`.
    """
    from web3 import EthereumTesterProvider

    provider = EthereumTesterProvider()
    key = cast(Any, provider.ethereum_tester).backend.account_keys[0]
    return deploy(Web3(provider), account_from_key(key.to_bytes()), plan, MemoryBlocks(), None)


def deploy(
    web3: Web3, account: LocalAccount, plan: Plan, blocks: Blocks, record: RecordFile | None, *, again: bool = False
) -> Outcome:
    """Founds a federation, or finds the one that was founded before, and admits and appoints who is missing.

    Args:
        account: who deploys and pays; it admits and appoints where it is the owner.
        blocks: gets the charter and the first model before the contract names them.
        record: finds what was deployed before, and keeps what is; none to keep nothing.
        again: deploys whatever the record says.

    Raises:
        InputError: the record is of another federation, or cannot be read or written.
        ContractRejected: the contract refused.
        LedgerError: the node cannot be asked, the account cannot pay, or what is on the chain is something else.
        StoreError: the store cannot keep a block.
    """
    try:
        with contextlib.nullcontext() if record is None else record.locked():
            return _Run(web3, account, plan, blocks, record).carry_out(again)
    except FedpactError:
        raise
    except (Web3Exception, EthValidationError, OSError) as error:
        raise LedgerError(f"rpc: {said(error)}") from None
    except Exception as error:  # Whoever answered does not speak JSON-RPC, or speaks it badly, in whatever way.
        raise LedgerError(f"rpc: expected the answer of a node, found something else: {said(error)}") from None


class _Run:
    """One run: see `deploy`."""

    def __init__(
        self, web3: Web3, account: LocalAccount, plan: Plan, blocks: Blocks, record: RecordFile | None
    ) -> None:
        self._web3, self._account, self._plan, self._blocks, self._record = web3, account, plan, blocks, record
        self._charter = plan.charter.encode()
        self._charter_cid, self._genesis_cid = cid_of(self._charter), cid_of(plan.genesis)
        self._limits = plan.charter.contract_limits()

    def carry_out(self, again: bool) -> Outcome:
        before = self._record.read() if self._record is not None and not again else None
        chain_id = self._chain_id()
        if before is None:
            ledger, receipt = self._deploy(chain_id)
        else:
            self._compare(before, chain_id)
            self._store()
            ledger, receipt = self._resume(before) if isinstance(before, Sent) else self._find(before)
        if isinstance(before, Deployed):
            founded = self._check(ledger, receipt, before.owner)
            facts = {"head": text(founded.head), "block": receipt.block, "gas": receipt.gas}
            for name, found in facts.items():
                if getattr(before, name) != found:
                    raise InputError(f"{self._record}: {name}: expected {found}, found {getattr(before, name)}")
            outcome = Outcome(before, deployed=False)
        else:
            deployer = before.deployer if before else address(self._account.address)
            founded = self._check(ledger, receipt, self._plan.owner or deployer)
            outcome = Outcome(self._deployed(ledger, receipt, founded, deployer), deployed=True, receipts=[receipt])
            self._keep(outcome.record)
        self._complete(ledger, outcome, fresh=before is None)
        outcome.hints = list(self._hints(ledger, outcome, fresh=before is None))
        return outcome

    def _hints(self, ledger: EthereumLedger, outcome: Outcome, *, fresh: bool) -> Iterator[str]:
        record = outcome.record
        for account in () if fresh else record.members[: len(record.members) - outcome.admitted]:
            if not ledger.is_member(Address(account)):
                yield f"recorded as admitted, and no member now: {account} (removed, or the chain was reorganised)"
        quorum, members = self._limits.min_quorum, len(record.members)
        if members < quorum:
            yield f"no round can open before there are {quorum} members, the charter's quorum; there are {members}"
        if not record.coordinators:
            yield "no round can open before a coordinator is appointed"
        for role, there, wanted in (
            ("member", record.members, self._plan.members),
            ("coordinator", record.coordinators, self._plan.coordinators),
        ):
            for account in sorted(set(there) - set(wanted)):
                yield f"not in the file, and still a {role} unless the owner removed it: {account}"

    # ------------------------------------------------------------------------------------------------ the contract

    def _chain_id(self) -> int:
        chain_id = self._web3.eth.chain_id
        if not isinstance(chain_id, int):
            raise LedgerError(f"rpc: expected the id of a chain, found {str(chain_id)[:80]!r}")
        return chain_id

    def _deploy(self, chain_id: int) -> tuple[EthereumLedger, Receipt]:
        owner = self._plan.owner or address(self._account.address)
        kept: list[Sent] = []

        def keep(transaction: Hash, signed: bytes) -> None:
            # What the contract names exists before the contract does.
            self._store()
            facts = self._facts(chain_id, address(self._account.address), owner)
            sent = Sent(**facts, transaction=text(transaction), signed=text(signed))
            if self._record is not None:
                self._record.begin(sent)
            kept.append(sent)

        try:
            return EthereumLedger.deploy(
                self._web3,
                self._account,
                self._charter_cid,
                self._genesis_cid,
                self._limits,
                owner=owner,
                before_sending=keep,
            )
        except NotTaken:
            # Where the node answers that it does not have the transaction either, nothing has happened.
            if kept and self._record is not None and not self._is_known(kept[0].transaction):
                self._record.undo()
            raise

    def _resume(self, sent: Sent) -> tuple[EthereumLedger, Receipt]:
        """Waits for what an earlier run sent, or was about to send."""
        transaction = Hash(bytes.fromhex(sent.transaction[2:]))
        try:
            if not self._is_known(sent.transaction):
                try:
                    self._web3.eth.send_raw_transaction(HexBytes(sent.signed))
                except (Web3Exception, EthValidationError) as error:
                    if not self._is_known(sent.transaction):
                        raise LedgerError(f"transaction {sent.transaction}: {said(error)}") from None
            return EthereumLedger.deployed(self._web3, transaction, [self._account])
        except LedgerError as error:
            raise LedgerError(f"{error} (an earlier run's deployment: --again gives it up and deploys anew)") from None

    def _find(self, before: Deployed) -> tuple[EthereumLedger, Receipt]:
        """What an earlier run deployed."""
        try:
            ledger = EthereumLedger(self._web3, Address(before.contract), [self._account])
        except LedgerError as error:
            raise LedgerError(f"{error} ({self._record}: --again deploys anew and keeps it aside)") from None
        if not self._is_known(before.transaction):
            raise LedgerError(
                f"transaction {before.transaction}: the node does not have the deployment that the record names"
            )
        found, receipt = EthereumLedger.deployed(self._web3, Hash(bytes.fromhex(before.transaction[2:])))
        if found.identity != ledger.identity:
            raise LedgerError(
                f"contract: the record says {before.contract}, its transaction deployed {found.identity.contract}"
            )
        return ledger, receipt

    def _is_known(self, transaction: str) -> bool:
        try:
            self._web3.eth.get_transaction(HexBytes(transaction))
        except TransactionNotFound:
            return False
        return True

    # -------------------------------------------------------------------------------------------------- the record

    def _facts(self, chain_id: int, deployer: str, owner: str) -> dict[str, Any]:
        return {
            "chain_id": chain_id,
            "deployer": deployer,
            "owner": owner,
            "charter": str(self._charter_cid),
            "genesis": str(self._genesis_cid),
            "compiler": federation().compiler,
            "code_sha256": hashlib.sha256(federation().runtime).hexdigest(),
        }

    def _compare(self, before: Sent | Deployed, chain_id: int) -> None:
        """Checks that a record is of the federation that is wanted."""
        for name, wanted in self._facts(chain_id, before.deployer, self._plan.owner or before.deployer).items():
            found = getattr(before, name)
            if name != "compiler" and found != wanted:
                raise InputError(
                    f"{self._record}: {name}: expected {wanted}, found {found}; --again deploys anew and keeps it aside"
                )

    def _check(self, ledger: EthereumLedger, receipt: Receipt, owner: str) -> Founded:
        """Checks that what the contract says of its founding is what was wanted."""
        wanted = {"owner": owner, "charter": self._charter_cid, "genesis": self._genesis_cid, "limits": self._limits}
        head = hashes.first_head(ledger.identity, Address(owner), self._charter_cid, self._genesis_cid, self._limits)
        founded = receipt.events[0] if receipt.events else None
        contract = ledger.identity.contract
        if not isinstance(founded, Founded):
            raise LedgerError(f"contract {contract}: its deployment logged no founding")
        for name, value in {**wanted, "head": head}.items():
            found = getattr(founded, name)
            if found != value:
                raise LedgerError(f"contract {contract}: {name}: expected {_shown(value)}, found {_shown(found)}")
        return founded

    def _deployed(self, ledger: EthereumLedger, receipt: Receipt, founded: Founded, deployer: str) -> Deployed:
        return Deployed(
            **self._facts(ledger.identity.chain_id, deployer, founded.owner),
            transaction=text(receipt.transaction),
            contract=ledger.identity.contract,
            block=receipt.block,
            gas=receipt.gas or 0,
            gas_price=receipt.price or 0,
            head=text(founded.head),
        )

    def _keep(self, record: Deployed) -> None:
        if self._record is not None:
            self._record.write(record)

    def _store(self) -> None:
        hold(self._blocks, *(add(self._blocks, each).root for each in (self._charter, self._plan.genesis)))

    # ----------------------------------------------------------------------------------- members and coordinators

    def _complete(self, ledger: EthereumLedger, outcome: Outcome, *, fresh: bool) -> None:
        """Admits and appoints who is missing; the record is written after each transaction."""
        record = outcome.record
        noted, noted_coordinators = set(record.members), set(record.coordinators)
        members = [each for each in self._plan.members if each not in noted]
        coordinators = [each for each in self._plan.coordinators if each not in noted_coordinators]
        if not fresh:  # Of those of whom the record does not know, the chain may.
            there = {each for each in members if ledger.is_member(each)}
            appointed = {each for each in coordinators if ledger.is_coordinator(each)}
            if there or appointed:
                self._note(outcome, [m for m in members if m in there], [c for c in coordinators if c in appointed])
            members = [each for each in members if each not in there]
            coordinators = [each for each in coordinators if each not in appointed]
        if not members and not coordinators:
            return
        owner = ledger.owner()
        if owner != address(self._account.address):
            outcome.left_to, outcome.missing = owner, (len(members), len(coordinators))
            return
        for start in range(0, len(members), BATCH):
            batch = members[start : start + BATCH]
            outcome.receipts.append(ledger.send(owner, Admit(tuple(batch))))
            outcome.admitted += len(batch)
            self._note(outcome, batch, [])
        for coordinator in coordinators:
            outcome.receipts.append(ledger.send(owner, Appoint(coordinator)))
            outcome.appointed += 1
            self._note(outcome, [], [coordinator])

    def _note(self, outcome: Outcome, members: Sequence[Address], coordinators: Sequence[Address]) -> None:
        record = outcome.record
        more = {
            "members": [*record.members, *members],
            "coordinators": [*record.coordinators, *coordinators],
        }
        outcome.record = record.model_copy(update=more)
        self._keep(outcome.record)


def describe(outcome: Outcome, record: Path | None) -> Iterator[str]:
    """What a run did, line by line, for a person."""
    found = outcome.record
    size = len(federation().runtime)
    if outcome.deployed:
        yield f"contract: {found.contract}"
        yield f"chain: {REHEARSAL if record is None else found.chain_id}, block {found.block}"
    else:
        yield f"already deployed at {found.contract} (chain {found.chain_id}, block {found.block})"
    yield f"owner: {found.owner}"
    yield f"code: {size:,} bytes, as compiled by solc {found.compiler}, sha256 {found.code_sha256}"
    if outcome.receipts:
        yield f"gas: {f'{found.gas:,} for the deployment, ' if outcome.deployed else ''}{outcome.gas:,} in all"
        yield f"cost: {ether(outcome.cost)} ether in all"
    yield f"members: {len(found.members):,} ({outcome.admitted:,} admitted now)"
    yield f"coordinators: {len(found.coordinators):,} ({outcome.appointed:,} appointed now)"
    if outcome.left_to is not None:
        members, coordinators = outcome.missing
        yield f"left to the owner {outcome.left_to}: {members:,} to admit, {coordinators:,} to appoint"
    for hint in outcome.hints:
        yield f"note: {hint}"
    if record is None:
        yield "a rehearsal: the chain was within this process, and nothing is left of it, neither record nor store"
        return
    yield f"record: {record}"
    yield f"next: give everyone the record, and the store with charter and first model; the first head is {found.head}"


def summary(outcome: Outcome) -> dict[str, object]:
    """What a run did, for a program."""
    return {
        **outcome.record.model_dump(),
        "deployed": outcome.deployed,
        "admitted": outcome.admitted,
        "appointed": outcome.appointed,
        "total_gas": outcome.gas,
        "total_cost": ether(outcome.cost),
        "left_to": outcome.left_to,
        "hints": outcome.hints,
        "missing": {"members": outcome.missing[0], "coordinators": outcome.missing[1]},
    }


def _shown(value: object) -> object:
    return text(value) if isinstance(value, bytes) else value
