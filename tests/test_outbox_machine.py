"""Whatever happens to a process and its node, in whatever order: each intention is carried out once."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from fedpact.errors import LedgerError
from fedpact.ledger.fees import GWEI
from fedpact.ledger.outbox import Patience
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sending import SEND, Killed, Party, Scripted, done, failing, killing

_PATIENCE = Patience(receipt=1.0, look=0.002, stuck=0.004, settled=4)
_METHODS = [SEND, "eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getTransactionCount", "eth_feeHistory"]
_MOMENTS = st.sampled_from(["before", "after"])


class OutboxMachine(RuleBasedStateMachine):
    """One key, one journal, a node that drops, reorganises and loses answers, and a process that is killed."""

    @initialize()
    def start(self) -> None:
        self.journal = Path(tempfile.mkdtemp())
        self.node = Scripted()
        self.wanted: list[bytes] = []
        self.waiting: list[Any] = []
        self.restart()

    @rule()
    def restart(self) -> None:
        self.party = Party(self.node, self.journal, _PATIENCE)
        self.waiting = []

    @rule(moment=_MOMENTS, method=st.sampled_from(_METHODS), times=st.integers(1, 3))
    def lose(self, moment: str, method: str, times: int) -> None:
        """The next answers are lost."""
        setattr(self.party.wire, moment, failing(method, times))

    @rule()
    def post(self) -> None:
        """A new intention. What was left behind is waited for, so the node must mine."""
        self._calm()
        data = b"%d" % len(self.wanted)
        self.wanted.append(data)
        self.waiting.append(self._insist(lambda: self.party.post(data)))

    @rule()
    def post_without_a_block(self) -> None:
        self._calm()
        """Two intentions, of which the second stays in the node's pool."""
        self.post()
        self.node.automine(False)
        data = b"%d" % len(self.wanted)
        self.wanted.append(data)
        self.waiting.append(self._insist(lambda: self.party.post(data)))

    @rule()
    def repeat(self) -> None:
        """The last intention, if its receipt was not given."""
        undelivered = [entry for entry in self.party.entries().values() if not entry.delivered]
        if undelivered:
            self._calm()
            self.waiting.append(self._insist(lambda: self.party.post(undelivered[-1].call.data)))

    @rule()
    def wait(self) -> None:
        """All receipts so far."""
        self._calm()
        while self.waiting:
            assert self._insist(self.waiting.pop())["status"] == 1

    @rule(moment=_MOMENTS, method=st.sampled_from(_METHODS))
    def kill(self, moment: str, method: str) -> None:
        """A process is killed while it sends, and started again."""
        self._calm()
        data = b"%d" % len(self.wanted)
        setattr(self.party.wire, moment, killing(method))
        try:
            self._insist(lambda: self.party.send(data))
            self.wanted.append(data)
        except Killed:
            kept = [entry.call.data for entry in Party(self.node, self.journal).entries().values()]
            assert (data in done(self.node)) <= (data in kept)
            if data in kept:
                self.wanted.append(data)
        self.restart()

    @rule()
    def mine(self) -> None:
        self.node.mine()

    @rule()
    def drop(self) -> None:
        """The node loses what waits for a block."""
        self.node.pool.clear()

    @rule(base=st.sampled_from([GWEI // 2, GWEI, 5 * GWEI, 12 * GWEI]))
    def market(self, base: int) -> None:
        self.node.base_fee(base)

    @rule(depth=st.integers(1, 3))
    def reorganise(self, depth: int) -> None:
        """The last blocks are forgotten, and what was in them with them; others come in their place."""
        self.node.revert(max(1, len(self.node.blocks) - depth))
        for _ in range(depth):
            self.node.blocks.append([])

    @invariant()
    def nothing_is_carried_out_twice(self) -> None:
        if hasattr(self, "node"):
            assert not [data for data, times in Counter(done(self.node)).items() if times > 1]

    @staticmethod
    def _insist(ask: Any) -> Any:
        """What a service does: where a node does not answer, it tries again."""
        for _ in range(10):
            try:
                return ask()
            except LedgerError as error:
                assert "no answer" in str(error), error  # noqa: PT017  # Nothing else may go wrong.
        raise AssertionError("no answer to the tenth try")

    def _calm(self) -> None:
        self.node.automine(True)
        self.node.mine()

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        self._calm()
        self.restart()
        self.party.send(b"last")  # What was left behind goes first.
        assert sorted(done(self.node)) == sorted([*self.wanted, b"last"])
        shutil.rmtree(self.journal)


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase
