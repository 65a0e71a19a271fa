"""Chains for tests: the contract on a real EVM and the ledger in memory, driven side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eth_tester import EthereumTester, PyEVMBackend
from fedpact.ledger import rejections
from fedpact.ledger.actions import Action, OpenRound, Publish, Submit
from fedpact.ledger.artifact import federation
from fedpact.ledger.ethereum import EthereumLedger, account_from_key
from fedpact.ledger.events import Event
from fedpact.ledger.facts import NO_TERMS, Address, Limits, Phase, Terms, Update, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.pact import replay
from fedpact.ledger.port import Follower, Receipt
from fedpact.ledger.rejections import Rejection
from fedpact.ledger.view import Member, View
from fedpact.store.cid import Cid, Codec
from web3 import EthereumTesterProvider, Web3

START = 4_102_444_800
KEYS = [account_from_key(bytes(31) + bytes([number])) for number in range(1, 9)]
"""Throw-away test keys: the numbers 1 to 8."""
ACCOUNTS = [address(key.address) for key in KEYS]
OWNER, COORDINATOR = ACCOUNTS[:2]
MEMBERS = ACCOUNTS[2:6]
STRANGER = ACCOUNTS[7]
CHARTER = Cid.of(b"charter")
GENESIS = Cid.of(b"genesis", Codec.DAG_PB)
LIMITS = Limits(min_quorum=1, min_phase=10, max_round=1000)


@dataclass(slots=True)
class Side:
    """One node: how to connect, how to set the time of the next block, how to go back."""

    web3: Web3
    travel: Callable[[int], None]
    snapshot: Callable[[], Any]
    revert: Callable[[Any], None]


def eth_tester_side() -> Side:
    """A real EVM in this process."""
    parameters = PyEVMBackend.generate_genesis_params(overrides={"timestamp": START})
    state = {
        bytes.fromhex(account[2:]): {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}} for account in ACCOUNTS
    }
    tester = EthereumTester(PyEVMBackend(genesis_parameters=parameters, genesis_state=state))
    web3 = Web3(EthereumTesterProvider(tester))
    web3.eth.default_account = Web3.to_checksum_address(OWNER)  # Or web3 asks for all accounts before every call.
    return Side(web3, tester.time_travel, tester.take_snapshot, tester.revert_to_snapshot)


class Twins:
    """The contract and the ledger in memory. What one does, the other must do, for the same reason at the same time."""

    def __init__(self, side: Side, limits: Limits = LIMITS) -> None:
        self.side = side
        now = int(side.web3.eth.get_block("pending")["timestamp"])
        self.chain, self.deployment = EthereumLedger.deploy(
            side.web3, KEYS[0], CHARTER, GENESIS, limits, accounts=KEYS[1:]
        )
        self.memory = MemoryLedger(OWNER, CHARTER, GENESIS, limits, identity=self.chain.identity, now=now)
        self.contract = self.contract_at(side, self.chain.identity.contract)
        self.gas: dict[str, list[int]] = {}

    @staticmethod
    def contract_at(side: Side, contract: Address) -> Any:
        """The contract as web3 sees it, for its views."""
        return side.web3.eth.contract(address=Web3.to_checksum_address(contract), abi=federation().abi)

    @property
    def now(self) -> int:
        """Timestamp of the next block."""
        return self.chain.now()

    def travel(self, to: int) -> None:
        """Lets the next block carry a timestamp."""
        if to > self.now:
            self.side.travel(to)

    def do(self, sender: Address, action: Action) -> Receipt | Rejection:
        """Has both do an action; both must log the same or refuse for the same reason, which is returned."""
        self.memory.advance(self.now)
        mine = _try(self.memory.send, sender, action)
        theirs = _try(self.chain.send, sender, action)
        assert _outcome(theirs) == _outcome(mine), f"{action}: the contract: {theirs}, in memory: {mine}"
        if isinstance(theirs, Receipt) and theirs.gas is not None:
            self.gas.setdefault(type(action).__name__, []).append(theirs.gas)
        return theirs

    def must(self, sender: Address, *actions: Action) -> Sequence[Event]:
        """Has both do actions that are allowed; returns what was logged."""
        logged: list[Event] = []
        for action in actions:
            outcome = self.do(sender, action)
            assert isinstance(outcome, Receipt), f"{action}: {outcome}"
            logged += outcome.events
        return logged

    def compare(self) -> None:
        """Compares every view of the contract with what its events fold to."""
        view = Follower(self.chain).refresh()
        call = self.contract.functions
        assert address(call.owner().call()) == view.owner
        assert address(call.pendingOwner().call()) == view.pending_owner
        assert _cid(call.charter().call()) == view.charter
        assert _cid(call.model().call()) == view.base
        assert tuple(call.limits().call()) == (view.limits.min_quorum, view.limits.min_phase, view.limits.max_round)
        assert bytes(call.head().call()) == view.head == self.memory.view.head
        assert call.memberCount().call() == view.member_count
        assert call.admittedCount().call() == len(view.members)
        for account in ACCOUNTS:
            self._compare_account(view, account)
        self._compare_round(view.round)

    def _compare_account(self, view: View, account: Address) -> None:
        call, argument = self.contract.functions, Web3.to_checksum_address(account)
        assert call.isCoordinator(argument).call() == (account in view.coordinators)
        assert call.isExpected(argument).call(block_identifier="pending") == _is_expected(view, account, self.now)
        member = view.members.get(account, Member(account, 0, 0, 0))
        marks = (member.registered, member.committed, member.submitted)
        assert tuple(call.memberOf(argument).call()) == (member.index, member.since, member.until, *marks)
        assert bytes(call.keyOf(argument).call()) == member.key
        assert bytes(call.commitmentOf(argument).call()) == member.commitment

    def _compare_round(self, current: Any) -> None:
        call = self.contract.functions
        phase = Phase.IDLE if current is None else current.phase(self.now)
        assert call.phase().call(block_identifier="pending") == phase
        number, register_by, commit_by, submit_by, publish_by, quorum, expected, committed, is_open = (
            call.round().call()
        )
        if current is None:
            assert number == 0
            return
        terms = current.terms
        assert number == current.number
        assert (register_by, commit_by, submit_by, publish_by) == (
            terms.register_by,
            terms.commit_by,
            terms.submit_by,
            terms.publish_by,
        )
        assert (quorum, expected, committed) == (terms.quorum, current.expected, current.committed)
        assert is_open == (current.status.value == "open")
        assert address(call.opener().call()) == current.opener
        hash_, submitted = call.transcript().call()
        assert (hash_.to_bytes(28, "big"), submitted) == (current.transcript, len(current.submissions))


def replay_all(twins: Twins) -> None:
    """An audit must find that the contract could have written what it wrote."""
    follower = Follower(twins.chain)
    follower.refresh()
    view = View(twins.chain.identity)
    for entry in follower.entries:
        replay(view, entry)
    assert view.head == follower.view.head


def make_terms(twins: Twins, quorum: int = 2, *, register: bool = False, commit: bool = False) -> Terms:
    now = twins.now
    return Terms(now + 50 if register else 0, now + 100 if commit else 0, now + 200, now + 300, quorum)


def make_update(content: bytes = b"update", samples: int = 144, score: int = 900_000, size: int = 2680) -> Update:
    return Update(Cid.of(content), samples, score, size)


def open_round(twins: Twins, number: int = 1, **kind: object) -> None:
    twins.must(COORDINATOR, OpenRound(number, make_terms(twins, **kind)))  # type: ignore[arg-type]  # Keywords of `_terms`.


def submit_all(twins: Twins, number: int = 1) -> None:
    for member in MEMBERS:
        twins.must(member, Submit(number, make_update(f"{number} {member}".encode())))


def make_publication(twins: Twins, number: int = 1, terms: Terms = NO_TERMS) -> Publish:
    current = twins.memory.view.rounds[number]
    return Publish(number, current.transcript, Cid.of(b"model %d" % number), Cid.of(b"manifest %d" % number), terms)


def refused(outcome: object, kind: type[rejections.Rejection]) -> None:
    assert isinstance(outcome, kind), outcome


def _is_expected(view: View, account: Address, now: int) -> bool:
    """Whether the current phase waits for an account."""
    current, member, phase = view.round, view.members.get(account), view.phase(now)
    if current is None or member is None:
        return False
    if phase is Phase.REGISTRATION:
        return member.belongs(current.number) and member.registered != current.number
    if phase is Phase.COMMITMENT:
        return view.takes_part(account, current) and member.committed != current.number
    if phase is not Phase.SUBMISSION or member.submitted == current.number:
        return False
    return member.committed == current.number if current.terms.commit_by else view.takes_part(account, current)


def _try(send: Callable[[Address, Action], Receipt], sender: Address, action: Action) -> Receipt | Rejection:
    try:
        return send(sender, action)
    except Rejection as rejection:
        return rejection


def _outcome(outcome: Receipt | Rejection) -> object:
    return (type(outcome), str(outcome)) if isinstance(outcome, Rejection) else outcome.events


def _cid(words: Iterator[Any]) -> Cid:
    digest, codec = words
    return Cid(bytes(digest), codec)
