"""The loop around `owe`: verifies the base, trains, checks its own update, stores it, submits it."""

from __future__ import annotations

import logging
import math
import operator
from dataclasses import dataclass

import numpy as np
from fedpact.artifacts import charter as charters
from fedpact.artifacts.charter import Charter
from fedpact.audit import Verdict
from fedpact.errors import BlockMismatch, BlockMissing, ContentError, ContractRejected, FedpactError, TrainingFailed
from fedpact.keeping import when_verified
from fedpact.ledger.actions import Attest, Submit
from fedpact.ledger.facts import SCORE_UNIT, Address, RoundNumber, Update
from fedpact.ledger.port import Follower, Ledger, Posted, Receipt
from fedpact.ledger.view import Round, View
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.pins import hold
from fedpact.store.unixfs import add, open_file
from fedpact.suggestion import did_you_mean

from fedpact_client.blame import in_words
from fedpact_client.journal import Journal
from fedpact_client.owe import Debt, Nothing, Refuse, Released, Train, owe
from fedpact_client.trainer import Fit, Metrics, Trainer
from fedpact_client.verification import Verifier

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An update that is checked and stored, and not yet on the ledger."""

    round: RoundNumber
    update: Update


class Silo:
    """One member of one federation.

    Args:
        account: whose key the ledger sends with.
        blocks: where the base is read and the update is put.
        follower: reads the ledger; it may be shared within a process.
        accepted: the charter that the silo's owner agreed to; under any other the silo does nothing.
        journal: what it remembers of its rounds.
        verifier: derives a published model again before the silo trains on it; none: only its address is checked.

    Raises:
        FedpactError: the accepted charter cannot be read, or its rule is not installed here.
    """

    def __init__(
        self,
        ledger: Ledger,
        account: Address,
        blocks: Blocks,
        follower: Follower,
        trainer: Trainer,
        accepted: Cid,
        *,
        journal: Journal | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        self.account = account
        self.journal = journal or Journal()
        self._ledger = ledger
        self._blocks = blocks
        self._follower = follower
        self._trainer = trainer
        self._accepted = accepted
        self._verifier = verifier
        self._charter: Charter = charters.fetch(blocks, accepted)
        self._charter.check_installed()

    def owes(self, view: View, now: int) -> Debt:
        """What it owes, as `owe`."""
        return owe(view, now, self._charter, self._accepted, self.account)

    def prepare(self, debt: Train) -> Prepared:
        """Trains for a round, unless that was done before, stores the update and pins it. Nothing is on the ledger yet.

        Raises:
            TrainingFailed: the trainer failed, or gave something that would be excluded.
            FedpactError: the base cannot be read, or the update cannot be stored.
        """
        known = self.journal.update(debt.round, debt.base)
        if known is not None and self._has(known.cid):
            return Prepared(debt.round, known)
        layout = self._charter.layout()
        base = layout.decode(open_file(self._blocks, debt.base, layout.size).read())
        failed_before = debt.round in self.journal.rounds and bool(self.journal.rounds[debt.round].failure)
        again = " once more" if failed_before else ""
        logger.info("round %d: training%s from %s", debt.round, again, debt.base)  # It may take long.
        try:
            fit = self._trainer.fit(base, {**self._charter.trainer, "round": debt.round})
            if not isinstance(fit, Fit):
                raise TrainingFailed(f"round {debt.round}: trainer: expected a Fit, found {type(fit).__name__}")
            metrics = self._trainer.evaluate(base) if self._charter.score_of == "base" else fit.metrics
            score = self._check(debt, fit, metrics)
            encoded = layout.encode(fit.weights)
        except ContentError as error:  # Weights that are not the charter's.
            raise TrainingFailed(f"round {debt.round}: trainer: {error}") from error
        except FedpactError:
            raise
        except (Exception, SystemExit) as error:  # Whatever its owner's code does, or gives that is no such thing.
            logger.debug("round %d: trainer", debt.round, exc_info=True)
            raise TrainingFailed(f"round {debt.round}: trainer: {in_words(error)}") from error
        dag = add(self._blocks, encoded)
        hold(self._blocks, dag.root)
        update = Update(dag.root, operator.index(fit.samples), score, dag.size)
        self.journal.trained(debt.round, debt.base, update)
        return Prepared(debt.round, update)

    def submit(self, prepared: Prepared) -> Receipt:
        """Puts an update on the ledger.

        Raises:
            ContractRejected: the contract refused.
            LedgerError: it could not be sent.
        """
        return self.post(prepared)()

    def post(self, prepared: Prepared) -> Posted:
        """Sends an update to the ledger and does not wait; what is returned waits for the receipt.

        Raises, now or while waiting:
            ContractRejected, LedgerError: as `submit`.
        """
        logger.info("round %d: submitting %s", prepared.round, prepared.update.cid)
        return self._ledger.post(self.account, Submit(prepared.round, prepared.update))

    def step(self) -> tuple[Debt, Receipt | None]:
        """Does what it owes, if anything; returns what it was, and the receipt of what was sent.

        Nothing is trained on a round that is not confirmed yet, nor on a model that its updates do not make.

        Raises:
            FedpactError: as `prepare` and `submit`.
        """
        view = self._follower.refresh()
        debt = self.owes(view, self._ledger.now())
        current = view.open_round
        if isinstance(debt, Released) and view.round is not None:
            # Whoever leaves cannot send again what a reorganisation drops.
            changed = view.round.changed_in
            if not self._follower.is_confirmed(changed):
                return Nothing(f"the last round ended in block {changed}, not confirmed yet"), None
            self._derive_again(view, view.origin)
        if not isinstance(debt, Train) or current is None:
            return debt, None
        if not self._follower.is_confirmed(current.opened_in):
            return Nothing(f"round {debt.round} was opened in block {current.opened_in}, not confirmed yet"), None
        refused = self._verify(view, current)
        if refused is not None:
            return refused
        try:
            prepared = self.prepare(debt)
            receipt = self.submit(prepared)
        except (TrainingFailed, ContractRejected) as error:
            self.journal.failed(debt.round, str(error))
            raise
        self.journal.sent(debt.round, receipt)
        return debt, receipt

    def _verify(self, view: View, current: Round) -> tuple[Refuse, Receipt | None] | None:
        """Derives again the model that a round starts from, once; none where the silo may train on it.

        A model that is not what its updates make is disputed on the ledger. One that could not be checked is no reason
        to refuse: its address was compared, and whoever withholds an update would stop everyone.
        """
        origin = current.origin
        verdict, receipt = self._derive_again(view, origin)
        if origin is None or verdict != Verdict.DIFFERS.value:
            return None
        return Refuse(
            f"round {current.number} starts from the model of round {origin.number}, which differs from "
            "what its updates make"
        ), receipt

    def _derive_again(self, view: View, origin: Round | None) -> tuple[str, Receipt | None]:
        """What comes of deriving a published round again; empty where that is not asked for. What could not be checked
        is tried again whenever it is asked for: whoever withheld it may offer it by then."""
        if self._verifier is None or origin is None or origin.model is None:
            return "", None
        receipt = None
        verdict = self.journal.verdict(origin.number, origin.model)
        if verdict in ("", Verdict.UNCHECKED.value):
            logger.info("round %d: its model is derived again", origin.number)  # It may take long.
            found = self._verifier.verify(origin)
            verdict = found.verdict.value
            detail = "; ".join(map(str, found.findings[:3])) or found.unchecked
            log = logger.info if verdict not in (Verdict.DIFFERS.value, Verdict.UNCHECKED.value) else logger.warning
            log("round %d: its model, derived again: %s%s", origin.number, verdict, f": {detail}" if detail else "")
            said_so = any(
                (each.round, each.member, each.reproduced) == (origin.number, self.account, False)
                for each in view.attestations
            )
            if found.verdict is Verdict.DIFFERS and not said_so:
                action = Attest(origin.number, False, self._verifier.report(origin, found, view.head))
                receipt = self._ledger.send(self.account, action)
            self.journal.verified(origin.number, origin.model, verdict, detail)
        if verdict not in (Verdict.DIFFERS.value, Verdict.UNCHECKED.value):
            self._pin_verified(origin)
        return verdict, receipt

    def _pin_verified(self, origin: Round) -> None:
        """Keeps a model that was found to be right. Where not all of it can be had, others have to keep it."""
        try:
            hold(self._blocks, *when_verified(origin))
        except (BlockMissing, BlockMismatch) as error:
            logger.warning("round %d: its model is not kept here: %s", origin.number, error)

    def _has(self, update: Cid) -> bool:
        """Whether an update of its own is in the store, to stay; else it is trained once more."""
        try:
            hold(self._blocks, update)
        except (BlockMissing, BlockMismatch):
            return False
        return self._blocks.has(update)

    def _check(self, debt: Train, fit: Fit, metrics: Metrics) -> int:
        """What would be excluded is not submitted: the silo's owner hears of it at once. Returns the score, as the
        ledger keeps it, within the charter's limits."""
        most = self._charter.limits.max_samples
        if not isinstance(fit.samples, int | np.integer) or isinstance(fit.samples, bool):
            found = type(fit.samples).__name__
            raise TrainingFailed(f"round {debt.round}: samples: expected a whole number, found {found}")
        if not 1 <= fit.samples <= most:
            expected = f"expected 1 to {most} (the charter's limits.max_samples)"
            raise TrainingFailed(f"round {debt.round}: samples: {expected}, found {fit.samples}")
        name = self._charter.score
        if name not in metrics:
            found = (", ".join(map(str, metrics)) or "none") + did_you_mean(name, map(str, metrics))
            raise TrainingFailed(f"round {debt.round}: metrics: expected {name} (the charter's score), found {found}")
        score = metrics[name]
        if not isinstance(score, int | float | np.floating) or not math.isfinite(score):
            raise TrainingFailed(f"round {debt.round}: {name}: expected a finite number, found {score}")
        for tensor, array in fit.weights.items():
            if not np.isfinite(array).all():
                raise TrainingFailed(f"round {debt.round}: tensor {tensor}: a value is NaN or infinite")
        least, greatest = self._charter.score_range()
        scaled = float(score) * SCORE_UNIT
        if not least < scaled < greatest:
            nearest = least if scaled <= least else greatest
            if scaled not in (least, greatest):
                said = "round %d: %s is %g, beyond what the charter allows; the ledger gets %g"
                logger.warning(said, debt.round, name, score, nearest / SCORE_UNIT)
            return nearest
        return round(scaled)
