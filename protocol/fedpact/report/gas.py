"""What the rounds of a federation cost: transactions, added up by round and by what they were for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedpact.ledger.events import Entry, Rewound, RoundAttested, RoundCancelled, RoundOpened, RoundPublished
from fedpact.ledger.facts import Hash


@dataclass(frozen=True, slots=True)
class Gas:
    """What a round cost.

    Attributes:
        opening: 0 where the publication of the round before opened it.
        submissions: what its members sent, registrations and commitments among it.
        publication: or its cancellation.
    """

    opening: int = 0
    submissions: int = 0
    publication: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.opening + self.submissions + self.publication

    def __add__(self, other: Gas) -> Gas:
        return Gas(
            self.opening + other.opening,
            self.submissions + other.submissions,
            self.publication + other.publication,
        )


def by_round(entries: Sequence[Entry], cost: Mapping[Hash, int]) -> tuple[dict[int, Gas], int]:
    """The gas of each round, and that of all that belongs to none. A transaction counts where its first entry does:
    what publishes a round and opens the next is the publication's.

    Args:
        cost: of each transaction.
    """
    rounds: dict[int, Gas] = {}
    elsewhere, seen = 0, set()
    for entry in entries:
        if entry.transaction in seen or entry.transaction not in cost:
            continue
        seen.add(entry.transaction)
        gas, event = cost[entry.transaction], entry.event
        number = getattr(event, "round", None) if _advances(entry) else None
        if number is None:
            elsewhere += gas
            continue
        if isinstance(event, RoundOpened):
            spent = Gas(opening=gas)
        elif isinstance(event, RoundPublished | RoundCancelled):
            spent = Gas(publication=gas)
        else:
            spent = Gas(submissions=gas)
        rounds[number] = rounds.get(number, Gas()) + spent
    return rounds, elsewhere


def _advances(entry: Entry) -> bool:
    """Whether an entry is part of its round; an attestation and a rewind only name one."""
    return not isinstance(entry.event, RoundAttested | Rewound)
