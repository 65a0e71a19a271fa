"""A federation at one moment, and its rounds, as its members ask for them: read from a view, changed by nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from fedpact.artifacts import charter as charters
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Manifest
from fedpact.ending import mean_score
from fedpact.errors import BlockMismatch, ContentError, StoreError
from fedpact.ledger.events import Entry, RoundCancelled, RoundOpened, RoundPublished
from fedpact.ledger.facts import FOREVER, NO_HASH, SCORE_UNIT, ZERO_ADDRESS, Phase
from fedpact.ledger.view import Round, Status, View
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Times:
    """When a round opened and ended, in seconds since the epoch; none where it has not."""

    opened: int
    ended: int | None = None


def times(entries: Iterable[Entry]) -> dict[int, Times]:
    """When each round opened and ended."""
    found: dict[int, Times] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, RoundOpened):
            found[event.round] = Times(entry.time)
        elif isinstance(event, RoundPublished | RoundCancelled):
            found[event.round] = replace(found[event.round], ended=entry.time)
    return found


def standing(view: View) -> list[Round]:
    """The rounds whose models the next one builds on, the last first; what was rewound is not among them."""
    found = []
    current = view.origin
    while current is not None:
        found.append(current)
        current = current.origin
    return found


class Documents:
    """Charters and manifests out of a store, each read once.

    Attributes:
        missing: by address, why a document could not be read.
        unavailable: those of which that may be otherwise with another store: nobody knows what they say.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.missing: dict[Cid, str] = {}
        self.unavailable: set[Cid] = set()
        self._blocks = blocks
        self._charters: dict[Cid, Charter | None] = {}

    def charter(self, cid: Cid) -> Charter | None:
        """A charter; none where it cannot be read."""
        if cid not in self._charters:
            self._charters[cid] = self._read(cid, lambda: charters.fetch(self._blocks, cid))
        return self._charters[cid]

    def manifest(self, each: Round) -> Manifest | None:
        """A published round's manifest; none where there is none, or it cannot be read."""
        cid = each.manifest
        if cid is None:
            return None
        return self._read(cid, lambda: manifests.fetch(self._blocks, cid, len(each.submissions)))

    def _read(self, cid: Cid, fetch: Callable[[], T]) -> T | None:
        try:
            return fetch()
        except (StoreError, ContentError) as error:
            self.missing[cid] = str(error)
            if isinstance(error, StoreError | BlockMismatch):
                self.unavailable.add(cid)
            return None


def federation(view: View, now: int, documents: Documents) -> dict[str, Any]:
    """A federation as a program reads it.

    Args:
        now: the timestamp that the next block would carry.
    """
    charter, limits = documents.charter(view.charter), view.limits
    ended = [each.status for each in view.rounds.values()]
    return {
        "chain": view.identity.chain_id,
        "contract": view.identity.contract,
        "owner": view.owner,
        "pending_owner": None if view.pending_owner == ZERO_ADDRESS else view.pending_owner,
        "charter": {"cid": str(view.charter), "name": None if charter is None else charter.name},
        "limits": {"min_quorum": limits.min_quorum, "min_phase": limits.min_phase, "max_round": limits.max_round},
        "members": [
            {
                "index": each.index,
                "address": each.address,
                "since": each.since,
                "until": None if each.until == FOREVER else each.until,
                "key": None if each.key == NO_HASH else "0x" + each.key.hex(),
            }
            for each in sorted(view.members.values(), key=lambda member: member.index)
        ],
        "coordinators": sorted(view.coordinators),
        "rounds": {
            "last": view.number,
            "published": ended.count(Status.PUBLISHED),
            "cancelled": ended.count(Status.CANCELLED),
        },
        "open": None if view.open_round is None else _open(view.open_round, now),
        "base": str(view.base),
        "now": now,
        "head": "0x" + view.head.hex(),
    }


def _open(current: Round, now: int) -> dict[str, Any]:
    phase, terms = current.phase(now), current.terms
    until = {
        Phase.REGISTRATION: terms.register_by,
        Phase.COMMITMENT: terms.commit_by,
        Phase.SUBMISSION: terms.submit_by,
        Phase.PUBLICATION: terms.publish_by,
        Phase.TAKEOVER: current.takeover_by,
    }.get(phase)
    return {
        "round": current.number,
        "phase": phase.name.lower(),
        "seconds_left": None if until is None else until - now,
        "submissions": len(current.submissions),
        "expected": current.awaited,
        "quorum": terms.quorum,
        "opener": current.opener,
    }


def rounds(view: View, entries: Iterable[Entry], documents: Documents) -> list[dict[str, Any]]:
    """All rounds as a program reads them, in order."""
    when, stand = times(entries), {each.number for each in standing(view)}
    return [_round(each, when, stand, documents) for _, each in sorted(view.rounds.items())]


def _round(each: Round, when: Mapping[int, Times], stand: set[Any], documents: Documents) -> dict[str, Any]:
    charter = documents.charter(each.charter)
    score = None if charter is None or not each.submissions else mean_score(each, charter)
    return {
        "round": each.number,
        "status": each.status.value,
        "stands": each.number in stand,
        "base": str(each.base),
        "submissions": len(each.submissions),
        "expected": each.awaited,
        "model": None if each.model is None else str(each.model),
        "mean_score": None if score is None else decimal(score),
        "opened": when[each.number].opened,
        "ended": when[each.number].ended,
    }


def one_round(view: View, each: Round, entries: Iterable[Entry], documents: Documents) -> dict[str, Any]:
    """A round in full as a program reads it."""
    manifest = documents.manifest(each)
    lines = {} if manifest is None else {line.index: line for line in manifest.submissions}
    submissions = []
    for submission in sorted(each.submissions, key=lambda found: found.index):
        update, line = submission.update, lines.get(submission.index)
        decided = {} if line is None else line.model_dump(include={"decision", "weight", "reason", "detail"})
        submissions.append(
            {
                "index": submission.index,
                "member": submission.member,
                "samples": update.samples,
                "score": decimal(Fraction(update.score)),
                "bytes": update.size,
                "update": str(update.cid),
                **({"decision": None, "weight": None, "reason": None, "detail": None} | decided),
            }
        )
    terms = each.terms
    return {
        **_round(each, times(entries), {found.number for found in standing(view)}, documents),
        "charter": str(each.charter),
        "opener": each.opener,
        "published_by": each.published_by,
        "terms": {
            "register_by": terms.register_by,
            "commit_by": terms.commit_by,
            "submit_by": terms.submit_by,
            "publish_by": terms.publish_by,
            "quorum": terms.quorum,
        },
        "transcript": "0x" + each.transcript.hex(),
        "head": "0x" + each.head.hex(),
        "manifest": None if each.manifest is None else str(each.manifest),
        "rule": None if manifest is None else f"{manifest.rule} {manifest.version}",
        "submissions": submissions,
        "attestations": [
            {"member": found.member, "reproduced": found.reproduced, "report": str(found.report)}
            for found in view.attestations
            if found.round == each.number
        ],
        "unread": [f"{cid}: {why}" for cid, why in documents.missing.items()],
    }


def decimal(millionths: Fraction) -> str:
    """A score on the ledger as people read it."""
    return f"{float(millionths / SCORE_UNIT):.6f}"
