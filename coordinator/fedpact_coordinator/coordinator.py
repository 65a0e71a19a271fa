"""The loop around `decide`: reads the ledger, carries out one decision, and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

from fedpact.artifacts import charter as charters
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import ASSERTED, Line, Manifest
from fedpact.derivation import Derivation, derive
from fedpact.errors import BlockMismatch, BlockMissing, ContentError, FedpactError, StoreError
from fedpact.keeping import for_publication
from fedpact.ledger.actions import CancelRound, OpenRound, Publish
from fedpact.ledger.facts import NO_TERMS, Address, Hash
from fedpact.ledger.port import Follower, Ledger, Receipt
from fedpact.ledger.view import Round, Submission, View
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.pins import hold
from fedpact.store.unixfs import add, open_file

from fedpact_coordinator.decide import Aggregate, Decision, Wait, decide

logger = logging.getLogger(__name__)

_STILL_SECONDS = 15.0
_SHOWN = 10


class Coordinator:
    """One coordinator of one federation. It keeps no state that ledger and store cannot give back.

    Args:
        account: whose key the ledger sends with.
        blocks: where updates are read and models are put.
        follower: reads the ledger; it may be shared within a process.
        threads: leaves that are aggregated at once.
        excluded: called with every update that is excluded from what is published.

    Attributes:
        failed: the manifest of the last round that had too few usable updates for a model.
    """

    def __init__(
        self,
        ledger: Ledger,
        account: Address,
        blocks: Blocks,
        follower: Follower,
        *,
        threads: int = 1,
        excluded: Callable[[Line], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._blocks = blocks
        self._follower = follower
        self._threads = threads
        self._excluded = excluded
        self._charters: dict[Cid, Charter] = {}
        self.failed: Manifest | None = None
        self._reported: Manifest | None = None
        self._began = Hash(b"")  # Transcript of the round of which the aggregation was begun last.
        self._still: tuple[int, float] | None = None  # A time of the ledger, and since when it has been that.
        self._unusable: Cid | None = None  # The charter that was said to be.
        self._missing: list[Submission] = []  # Whose updates could not be fetched then.

    def step(self) -> tuple[Decision, Receipt | None]:
        """Does the next thing, if there is one; returns what it was, and the receipt of what was sent.

        Nothing is built on an entry that is not confirmed yet.

        Raises:
            FedpactError: it could not be done. Nothing is half done: the same step can be tried again.
        """
        view = self._follower.refresh()
        current = view.open_round
        charter = self._next_charter(view)
        unusable = current is not None and self.failed is not None and self.failed.transcript == _text(current)
        now = self._ledger.now()
        decision = decide(view, now, charter, self._account, unusable=unusable)
        if isinstance(decision, CancelRound) and not unusable and not self._has_surely_passed(decision, charter):
            return Wait(f"round {decision.round}: a block after its deadline is waited for"), None
        if isinstance(decision, Wait):
            return decision, None
        changed = None if view.round is None else view.round.changed_in
        if changed is not None and not self._follower.is_confirmed(changed):
            return Wait(f"the last entry of round {view.number} is in block {changed}, not confirmed yet"), None
        if isinstance(decision, Aggregate) and current is not None:
            is_patient = now <= _patient_until(current)
            if not (is_patient and self._are_still_missing(current)):
                derived = self._derive(current)
                asserted = [line.index for line in derived.manifest.excluded if line.reason == ASSERTED]
                self._missing = [each for each in current.submissions if each.index in asserted]
            if is_patient and self._missing:
                shown = ", ".join(str(index) for index in sorted(each.index for each in self._missing)[:10])
                return Wait(
                    f"round {current.number}: the update of member {shown} cannot be fetched yet",
                    _patient_until(current),
                ), None
            self._report(derived.manifest)
            if derived.model is None:
                self.failed = derived.manifest
                return self.step()
            opens_next = decision.opens_next and charter is self._charters.get(view.charter)
            upcoming = charter.terms(self._ledger.now()) if opens_next else NO_TERMS
            manifest = add(self._blocks, derived.manifest.encode())
            hold(self._blocks, *for_publication(derived.manifest, manifest.root))
            logger.info("round %d: publishing %s", current.number, derived.model.root)
            action = Publish(current.number, current.transcript, derived.model.root, manifest.root, upcoming)
            return decision, self._ledger.send(self._account, action)
        if isinstance(decision, OpenRound | CancelRound):
            return decision, self._ledger.send(self._account, decision)
        return decision, None

    def _has_surely_passed(self, decision: CancelRound, charter: Charter) -> bool:
        """Whether a round is to be cancelled by the time of a block that exists, too.

        What the next block would carry is a node's word, and a cancelled round is everybody's work lost. Where no block
        comes for a while, as on a chain that makes them of transactions alone, that word has to do.
        """
        sure = self._ledger.passed()
        if decide(self._follower.refresh(), sure, charter, self._account) == decision:
            return True
        if self._still is None or self._still[0] != sure:
            self._still = sure, time.monotonic()
        return time.monotonic() - self._still[1] >= _STILL_SECONDS

    def _next_charter(self, view: View) -> Charter:
        """The charter in force for the next opened round. Where that cannot be used, and a round is open, that of the
        round: it is ended as it was begun, and opens no other.

        Raises:
            FedpactError: it cannot be used, and no round is open.
        """
        try:
            return self._charter(view.charter)
        except FedpactError as error:
            if view.open_round is None:
                raise
            if self._unusable != view.charter:
                self._unusable = view.charter
                logger.warning("the charter in force for the next round cannot be used: %s", error)
            return self._charter(view.open_round.charter)

    def _are_still_missing(self, current: Round) -> bool:
        """Whether an update that could not be fetched the last time still cannot: all the others wait for that."""
        if self._began != current.transcript:
            return False
        size = self._charter(current.charter).layout().size
        return any(not _is_here(self._blocks, each.update.cid, size) for each in self._missing)

    def _derive(self, current: Round) -> Derivation:
        if self._began != current.transcript:  # It may take long, and is tried again and again.
            self._missing = []
            logger.info("round %d: aggregating %d submissions", current.number, len(current.submissions))
            self._began = current.transcript
        charter = self._charter(current.charter)
        return derive(current, charter, self._blocks, into=self._blocks, threads=self._threads)

    def _report(self, manifest: Manifest) -> None:
        """Says who is left out; once, however often it takes to publish."""
        if manifest == self._reported:
            return
        self._reported = manifest
        if manifest.not_selected:
            left, number = len(manifest.not_selected), len(manifest.submissions)
            whose = ", ".join(str(each.index) for each in manifest.not_selected[:_SHOWN])
            more = ", …" if left > _SHOWN else ""
            said = "round %d: %d of %d submissions not selected: of member %s%s"
            logger.info(said, manifest.round, left, number, whose, more)
        for line in manifest.excluded:
            logger.warning("round %d: member %d excluded: %s", manifest.round, line.index, line.detail)
            self._excluded(line)

    def _charter(self, cid: Cid) -> Charter:
        if cid not in self._charters:
            try:
                charter = charters.fetch(self._blocks, cid)
            except BlockMissing as error:
                raise StoreError(f"charter {cid}: {error}; whoever put it in force must offer it") from error
            charter.check_installed()  # Without it nothing is done: no round is opened that could not be ended.
            self._charters[cid] = charter
        return self._charters[cid]


def _is_here(blocks: Blocks, cid: Cid, size: int) -> bool:
    """Whether all of an update can be read."""
    try:
        with closing(open_file(blocks, cid, size).each()) as leaves:
            for _ in leaves:
                pass
    except (BlockMissing, BlockMismatch):
        return False
    except ContentError:
        pass  # It is here, and no file of weights: the derivation says so.
    return True


def _patient_until(current: Round) -> int:
    """Until when an update that cannot be fetched is asked for again: half of the time that is left for publishing.
    Who comes after `publishBy` does not wait."""
    return (current.terms.submit_by + current.terms.publish_by) // 2


def _text(current: Round) -> str:
    return "0x" + current.transcript.hex()
