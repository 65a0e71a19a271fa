"""Rounds and submissions as the ledger would give them, without a ledger."""

from __future__ import annotations

from fedpact.ledger.facts import Address, Hash, RoundNumber, Terms, Update
from fedpact.ledger.view import Round, Status, Submission
from fedpact.store import Cid

CHARTER = Cid.of(b"charter")
BASE = Cid.of(b"base")
OPENER = Address("0x" + "c" * 40)


def submission(index: int, cid: Cid, *, size: int, samples: int = 10, score: int = 0) -> Submission:
    """One update on the ledger, by the member with this index."""
    return Submission(index, Address(f"0x{index:040x}"), Update(cid, samples, score, size))


def claim(samples: int, score: int) -> Submission:
    """A submission of which only the claims matter."""
    return submission(1, BASE, size=1, samples=samples, score=score)


def round_with(
    *submissions: Submission,
    number: int = 1,
    quorum: int = 1,
    status: Status = Status.OPEN,
    transcript: bytes = b"t" * 28,
) -> Round:
    """A round with these submissions, in the order in which the ledger took them."""
    terms = Terms(0, 0, 1000, 2000, quorum)
    current = Round(
        RoundNumber(number), OPENER, CHARTER, BASE, terms, len(submissions), Hash(transcript), Hash(bytes(32)), status
    )
    current.submissions.extend(submissions)
    return current
