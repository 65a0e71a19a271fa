"""What became of a silo's work: the question that its owner asks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.manifest import Line
from fedpact.errors import FedpactError
from fedpact.ledger.events import UpdateRevealed, UpdateSubmitted
from fedpact.ledger.facts import Address
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Round, Status
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid

from fedpact_client.journal import Journal, Remembered


@dataclass(frozen=True, slots=True)
class RoundStatus:
    """One round, as one silo sees it.

    Attributes:
        trained: whether an update is known to have been made.
        stored: whether its root is in this silo's own store.
        sent: the transaction that submitted it; empty where none is known here.
        confirmations: of the submission on the ledger; none where it is on none.
        decision: what the manifest says of it: included, excluded or not_selected; `pending` while the round is open,
            `unknown` where the manifest cannot be read, empty where nothing was submitted.
        why: the reason, in words.
        weight: what it counts in the model, and what all count.
        round_status: open, published or cancelled.
        model: the published model.
        derived_again: what this silo found when it derived the model again; empty where it did not.
        failure: why training failed the last time.
    """

    round: int
    trained: bool
    stored: bool
    sent: str
    confirmations: int | None
    update: str
    samples: int
    decision: str
    why: str
    weight: int
    total_weight: int
    round_status: str
    model: str
    derived_again: str
    failure: str

    def as_json(self) -> dict[str, Any]:
        """As a program reads it."""
        return asdict(self)


def statuses(
    follower: Follower, account: Address, journal: Journal, blocks: Blocks, latest: int, last: int
) -> list[RoundStatus]:
    """Round by round, in order.

    Args:
        follower: has read the ledger.
        latest: the newest block's number.
        last: so many of the last rounds; 0 for all.
    """
    rounds = follower.view.rounds
    submitted_in: dict[int, int] = {
        entry.event.round: entry.block
        for entry in follower.entries
        if isinstance(entry.event, UpdateSubmitted | UpdateRevealed) and entry.event.member == account
    }
    return [
        _status(rounds[number], submitted_in.get(number), account, journal, blocks, latest)
        for number in sorted(rounds)[-last:]  # All of them where `last` is 0.
    ]


def _status(
    current: Round, block: int | None, account: Address, journal: Journal, blocks: Blocks, latest: int
) -> RoundStatus:
    remembered = journal.rounds.get(current.number, Remembered())
    submission = next((each for each in current.submissions if each.member == account), None)
    update = submission.update if submission is not None else remembered.update
    line, total, why = None, 0, ""
    decision = "" if submission is None else "pending"
    if submission is None and current.status is not Status.OPEN:
        why = "nothing was submitted before the round ended"
    if current.status is Status.CANCELLED:
        decision, why = ("" if submission is None else "unused"), "the round was cancelled"
    elif submission is not None and current.manifest is not None:
        try:
            line, total = _line(current, current.manifest, submission.index, blocks)
            decision, why = line.decision, line.detail
        except FedpactError as error:
            decision, why = "unknown", str(error)
    return RoundStatus(
        round=current.number,
        trained=update is not None,
        stored=update is not None and _has(blocks, update.cid),
        sent=remembered.transaction,
        confirmations=None if block is None else max(0, latest - block),
        update="" if update is None else str(update.cid),
        samples=0 if update is None else update.samples,
        decision=decision,
        why=why,
        weight=0 if line is None else line.weight,
        total_weight=total,
        round_status=current.status.value,
        model="" if current.model is None else str(current.model),
        derived_again=remembered.verdict if remembered.model == current.model else "",
        failure="" if submission is not None else remembered.failure,
    )


def _line(current: Round, cid: Cid, index: int, blocks: Blocks) -> tuple[Line, int]:
    """The manifest's line of a member, and what all updates count."""
    manifest = manifests.fetch(blocks, cid, len(current.submissions))
    lines = {line.index: line for line in manifest.submissions}
    if index not in lines:
        raise FedpactError(f"manifest {cid}: it has no line of member {index}")
    return lines[index], sum(line.weight for line in manifest.submissions)


def _has(blocks: Blocks, cid: Cid) -> bool:
    try:
        return blocks.has(cid)
    except FedpactError:
        return False
