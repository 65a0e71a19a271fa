"""Which of a round's submissions make the model, by what the ledger says of them: only those are ever fetched.

Scores and samples are what the members say of themselves. The order of `random` depends on every submission: nobody can
know it before the last one, whose maker can try out several.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedpact.artifacts.charter import Charter
from fedpact.artifacts.charter_sections import Policy
from fedpact.ledger.view import Submission
from fedpact.store.cid import Cid

POLICIES: Mapping[Policy, str] = {
    "best_score": "those with the highest claimed scores",
    "most_samples": "those with the most claimed samples",
    "random": "those that a hash of the base model, all submissions of the round and the member's index puts first",
}
"""What each policy selects. Of equal ones the member with the lower index is first."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a charter selects.

    Attributes:
        selected: member indexes of the submissions that are to be fetched, the first selected first.
        not_selected: those of the others, each with its place, for a person.
    """

    selected: tuple[int, ...]
    not_selected: Mapping[int, str]


def select(candidates: Iterable[Submission], charter: Charter, base: Cid, transcript: bytes) -> Selection:
    """Selects from submissions, in whatever order they come. Of equal ones the lower index is first.

    Args:
        candidates: a round's submissions that are usable by what the ledger says.
        base: the model that the round goes on from.
        transcript: the rolling hash over all submissions of the round.
    """
    section = charter.selection
    if section is None:
        return Selection(tuple(sorted(each.index for each in candidates)), {})

    def key(each: Submission) -> tuple[int, int]:
        if section.name == "best_score":
            return -each.update.score, each.index
        if section.name == "most_samples":
            return -each.update.samples, each.index
        drawn = hashlib.sha256(base.digest + transcript + each.index.to_bytes(4)).digest()
        return int.from_bytes(drawn), each.index

    order = [each.index for each in sorted(candidates, key=key)]
    selected = order[: section.count]
    return Selection(
        tuple(selected),
        {
            index: f"{section.name}: place {place} of {len(order)}, {len(selected)} selected"
            for place, index in enumerate(order, 1)
            if place > section.count
        },
    )
