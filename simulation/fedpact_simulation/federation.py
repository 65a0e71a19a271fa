"""A whole federation in one process: found it, let coordinator and silos act until the charter ends it, keep the
record.

The parties are the real ones; what a simulation adds is that they take turns, that time can be moved on, and that
somebody looks at the score. Silos train side by side and submit in the order of their indexes, so the record does not
depend on threads.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.manifest import Line, Manifest
from fedpact.artifacts.weights import Weights
from fedpact.errors import FedpactError, StoreError, TrainingFailed
from fedpact.files import write_atomically
from fedpact.ledger import record
from fedpact.ledger.actions import Admit, Appoint, CancelRound, OpenRound
from fedpact.ledger.events import RoundOpened
from fedpact.ledger.facts import Address
from fedpact.ledger.port import Follower, Posted, Receipt
from fedpact.ledger.record import Record
from fedpact.ledger.view import Round
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import add, open_file
from fedpact.workdir import GENESIS, LEDGER, MODEL, STORE
from fedpact_client.owe import Train
from fedpact_client.silo import Prepared, Silo
from fedpact_coordinator.coordinator import Coordinator
from fedpact_coordinator.decide import Aggregate, Finished, Wait
from threadpoolctl import threadpool_limits

from fedpact_simulation import chain
from fedpact_simulation.hostile import HostileSilo
from fedpact_simulation.setup import Setup
from fedpact_simulation.training import SiloTrainer, Training


@dataclass(slots=True)
class RoundReport:
    """One round that ended with a model.

    Attributes:
        not_selected: submissions that the charter's selection left aside.
        refused: what the contract, or the client, did not let a silo submit, in words.
        opening, submissions, publication: the gas of its transactions; none on a ledger without gas. A round that the
            publication before it opened has no opening of its own: 0.
    """

    number: int
    model: Cid
    manifest: Cid
    submitted: int
    excluded: list[Line]
    not_selected: list[Line]
    refused: list[str]
    opening: int | None
    submissions: list[int | None]
    publication: int | None
    metrics: dict[str, float]

    @property
    def gas(self) -> int | None:
        """All of its gas."""
        parts = [self.opening, *self.submissions, self.publication]
        return None if None in parts else sum(part for part in parts if part is not None)


@dataclass(slots=True)
class _Turn:
    """What happened in a round so far."""

    opening: int | None = 0
    submissions: list[int | None] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


class Simulation:
    """One federation on one machine.

    Args:
        setup: what to simulate.
        training: where its silos train.
        initial: the weights that the first round starts from.
        workdir: an empty directory.
        progress: called with every round that ended with a model.
        blocks: where the artifacts go, if not into the directory; closed in the end.

    Attributes:
        reports: the rounds that ended with a model.
        cancelled: what kept each other round from one, in words.
        ended: why the federation is over; empty while it goes on.

    Raises:
        StoreError: the directory cannot be written.
    """

    def __init__(
        self,
        setup: Setup,
        training: Training,
        initial: Weights,
        workdir: Path,
        progress: Callable[[RoundReport], None] = lambda _: None,
        *,
        blocks: SeveralBlocks | None = None,
    ) -> None:
        self.setup = setup
        self.reports: list[RoundReport] = []
        self.cancelled: list[str] = []
        self.ended = ""
        self._workdir = workdir
        self._progress = progress
        self._layout = setup.charter.layout()
        self._training = training

        # A simulation outlives no power cut, so its blocks need not be synced one by one.
        self._blocks = DirectoryBlocks(workdir / STORE, sync=False) if blocks is None else blocks
        accepted = add(self._blocks, setup.charter.encode()).root
        self._genesis = self._layout.encode(initial)
        genesis = add(self._blocks, self._genesis).root
        self._chain = chain.start(setup.ledger, setup.charter, accepted, genesis, setup.silos, setup.seed)
        ledger, owner, coordinator = self._chain.ledger, self._chain.owner, self._chain.coordinator
        self._follower = Follower(ledger)
        ledger.send(owner, Admit(tuple(self._chain.silos)))
        ledger.send(owner, Appoint(coordinator))
        self._coordinator = Coordinator(ledger, coordinator, self._blocks, self._follower, threads=setup.threads)
        self._silos = [
            self._make_silo(account, SiloTrainer(training, index), accepted)
            for index, account in enumerate(self._chain.silos)
        ]
        self._turn = _Turn()
        self._written = self._writing = 0.0

    def run(self) -> None:
        """Runs until the charter ends the federation. What is there can be audited at any time."""
        try:
            # One thread for every BLAS: its sums then have one order, and the silos have a core each.
            with threadpool_limits(1), ThreadPoolExecutor(self.setup.threads) as pool:
                try:
                    while not self.ended:
                        self._take_turns(pool)
                finally:
                    pool.shutdown(cancel_futures=True)
        finally:
            self.write()
            self._blocks.close()

    def write(self) -> None:
        """Writes the record and the last model, each as a whole.

        Raises:
            StoreError: they cannot be written.
        """
        started = time.monotonic()
        self._follower.refresh()
        kept = Record(self._chain.ledger.identity, self.setup.ledger, tuple(self._follower.entries))
        try:
            if not (self._workdir / GENESIS).exists():
                write_atomically(self._workdir / GENESIS, self._genesis)
            record.write(self._workdir / LEDGER, kept)
            if self.reports:
                model = open_file(self._blocks, self.reports[-1].model, self._layout.size)
                write_atomically(self._workdir / MODEL, model.read())
        except OSError as error:
            raise StoreError(f"{self._workdir}: cannot write the record: {error.strerror}") from error
        self._written = time.monotonic()
        self._writing = self._written - started

    def _take_turns(self, pool: ThreadPoolExecutor) -> None:
        decision, receipt = self._coordinator.step()
        if isinstance(decision, Finished):
            self.ended = decision.why
            return
        if isinstance(decision, Aggregate) and receipt is not None:
            self._publish(receipt)
        elif isinstance(decision, OpenRound) and receipt is not None:
            self._turn = _Turn(opening=receipt.gas)
        elif isinstance(decision, CancelRound):
            reasons = [*self._turn.refused.values(), *self._too_few(decision.round)] or ["too few usable updates"]
            self.cancelled.append(f"round {decision.round} was cancelled: {'; '.join(reasons)}")
            self._turn = _Turn()
        acted = self._silos_act(pool)
        if isinstance(decision, Wait) and not acted:
            # Nobody has anything to do: let the deadline pass.
            if decision.until is None:
                raise FedpactError(f"the federation is stuck: {decision.why}")
            self._chain.advance(decision.until + 1)

    def _too_few(self, number: int) -> Iterator[str]:
        """Who was excluded from a round that had updates, and too few of them to be used."""
        failed = self._coordinator.failed
        if failed is not None and failed.round == number:
            usable, quorum = len(failed.submissions) - len(failed.excluded), self.setup.charter.rounds.quorum
            out = ", ".join(f"silo {line.index} ({line.reason})" for line in failed.excluded)
            yield f"{usable} usable, {self.setup.charter.rule.name} with this charter's quorum needs {quorum}"
            yield f"excluded: {out}"

    def _silos_act(self, pool: ThreadPoolExecutor) -> bool:
        """Lets every silo that owes an update train and submit, the hostile ones last; returns whether one did."""
        silos = list(enumerate(self._silos, 1))
        acted = [self._act(pool, each) for each in (silos[: self.setup.honest], silos[self.setup.honest :])]
        return any(acted)

    def _act(self, pool: ThreadPoolExecutor, silos: Sequence[tuple[int, Silo]]) -> bool:
        """Lets some silos, with their indexes, act at once."""
        view, now = self._follower.refresh(), self._chain.ledger.now()
        training: list[tuple[int, Silo, Callable[[], Prepared]]] = []
        for index, silo in silos:
            debt = silo.owes(view, now)
            if isinstance(debt, Train) and index not in self._turn.refused:
                training.append((index, silo, self._start(pool, silo, debt)))
        posted: list[tuple[int, Posted]] = []
        for index, silo, prepared in training:
            with self._blaming(index):
                posted.append((index, silo.post(prepared())))
        for index, receipt in posted:
            with self._blaming(index):
                self._turn.submissions.append(receipt().gas)
        return bool(training)

    @contextlib.contextmanager
    def _blaming(self, index: int) -> Iterator[None]:
        """What goes wrong within is noted as the silo's own failure; but the disk is not the silo's fault."""
        try:
            yield
        except StoreError:
            raise
        except FedpactError as error:
            self._turn.refused[index] = f"silo {index}: {error}"

    def _start(self, pool: ThreadPoolExecutor, silo: Silo, debt: Train) -> Callable[[], Prepared]:
        """Lets a silo train; what is returned waits for its update. A single thread trains when it is waited for."""
        if self.setup.threads == 1:
            return functools.partial(silo.prepare, debt)
        return pool.submit(silo.prepare, debt).result

    def _publish(self, receipt: Receipt) -> None:
        view = self._follower.refresh()
        current = next(each for each in reversed(view.published))
        manifest = self._manifest(current)
        model = open_file(self._blocks, Cid.parse(manifest.model), self._layout.size).read()
        turn, metrics = self._turn, dict(self._training.judge(self._layout.decode(model)))
        if self.setup.metric not in metrics:
            found = ", ".join(metrics) or "nothing"
            raise TrainingFailed(f"evaluate: expected {self.setup.metric} (the charter's score), found {found[:200]}")
        report = RoundReport(
            number=current.number,
            model=Cid.parse(manifest.model),
            manifest=_known(current.manifest),
            submitted=len(current.submissions),
            excluded=manifest.excluded,
            not_selected=manifest.not_selected,
            refused=list(turn.refused.values()),
            opening=turn.opening if receipt.gas is not None else None,
            submissions=turn.submissions,
            publication=receipt.gas,
            metrics=metrics,
        )
        self.reports.append(report)
        self._turn = _Turn()
        opened = any(isinstance(event, RoundOpened) for event in receipt.events)
        # The record is rewritten as a whole: after the last round, and in between as often as it costs next to nothing.
        if not opened or time.monotonic() - self._written > 50 * self._writing:
            self.write()
        self._progress(report)

    def _manifest(self, current: Round) -> Manifest:
        return manifests.fetch(self._blocks, _known(current.manifest), len(current.submissions))

    def _make_silo(self, account: Address, trainer: SiloTrainer, accepted: Cid) -> Silo:
        parts = (self._chain.ledger, account, self._blocks, self._follower, trainer, accepted)
        hostile = self._chain.silos[self.setup.honest :]
        if self.setup.hostile is not None and account in hostile:
            return HostileSilo(self.setup.hostile, hostile, self.setup.seed, *parts)
        return Silo(*parts)


def _known(cid: Cid | None) -> Cid:
    if cid is None:
        raise StoreError("a published round without an address")
    return cid
