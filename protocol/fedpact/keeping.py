"""What a federation needs of its stores, by whom and until when: pure.

    who           pins                                                          when
    silo          its update                                                    before it submits
    coordinator   charter, base, updates in the model, state, manifest, model   before it publishes
    member        charter, model and manifest                                   once it has verified the model
    owner         charters and the first model                                  before the contract names them

All that the ledger names is needed for good, as an audit begins with the first entry; but for updates, which are needed
while their round is open, and for as long afterwards as the charter of the round says (`store.retention_days`).

A submission names any address that its member likes, also that of a file which somebody pinned for other reasons. So a
pin is let go of only where a service of the federation had cause to set it: of an update that is in a model, and of one
that the account here submitted itself.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fedpact.artifacts import charter as charters
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts import moments, report
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import ASSERTED, Line, Manifest
from fedpact.errors import InvalidCid, InvalidWeights
from fedpact.ledger.events import CharterAmended, Entry, Founded, RoundCancelled, RoundPublished
from fedpact.ledger.facts import Address
from fedpact.ledger.view import Round, Status, Submission, View
from fedpact.store.cid import Cid

DAY = 86_400
LARGEST = 1 << 36
"""Bytes of an artifact at most, where nothing else says how long it is (64 GiB)."""
_BY_THE_LEDGER = frozenset({"wrong_size", "too_many_samples", "score_out_of_range", "duplicate"})
"""Why updates are excluded that nobody fetches: what they say of themselves is enough."""


class Kind(enum.StrEnum):
    """What an artifact is."""

    CHARTER = "charter"
    GENESIS = "genesis"
    MODEL = "model"
    STATE = "state"
    MANIFEST = "manifest"
    UPDATE = "update"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that a ledger names.

    Attributes:
        round: the first round that needs it; 0 where the founding does.
        silo: whose it is, by the member's index; none where it is everybody's.
        size: its bytes; none where they are not known from elsewhere.
        limit: bytes that it has at most.
        copies: how many the charter asks for.
        until: the last second in which it is needed (seconds since the epoch); none: always, as far as is known.
        retention: for how many seconds it is needed after its round.
        derived_from: whether somebody cannot derive what he should where it is missing.
        malformed: whether its manifest says that it is no file of weights: then it need not be one.
        pinned_for_us: whether a service pins it for this federation, so that the pin goes once it is not needed.
    """

    kind: Kind
    cid: Cid
    round: int
    silo: int | None = None
    size: int | None = None
    limit: int = LARGEST
    copies: int = 1
    until: int | None = None
    retention: int = 0
    derived_from: bool = True
    malformed: bool = False
    pinned_for_us: bool = False

    def is_needed(self, now: int) -> bool:
        """Whether it is needed at a time."""
        return self.until is None or now <= self.until


def needed(artifacts: Iterable[Artifact], now: int) -> frozenset[Cid]:
    """The roots that must not be lost.

    Args:
        now: a time that has surely passed, in seconds since the epoch.
    """
    return frozenset(each.cid for each in artifacts if each.is_needed(now))


def released(artifacts: Sequence[Artifact], now: int) -> list[Artifact]:
    """What services pinned and the federation no longer needs, for whatever reason it did. Arguments as `needed`."""
    kept = needed(artifacts, now)
    return [each for each in artifacts if each.pinned_for_us and each.cid not in kept]


def for_publication(manifest: Manifest, address: Cid) -> tuple[Cid, ...]:
    """What a coordinator pins before it publishes a manifest of its own making. What was excluded is not among it: it
    need not be whole, and who withholds the rest must not hold up the round.

    Args:
        address: the manifest's.
    """
    state = {} if manifest.optimiser is None else manifest.optimiser.state
    updates = [line.update for line in manifest.included]
    named = [manifest.charter, manifest.base, *updates, *state.values(), manifest.model]
    return (*map(Cid.parse, named), address)


def when_verified(current: Round) -> tuple[Cid, ...]:
    """What a member pins of a published round that it has verified."""
    return tuple(each for each in (current.charter, current.model, current.manifest) if each is not None)


def artifacts(
    view: View,
    entries: Iterable[Entry],
    confirmed: int,
    known: Mapping[Cid, Charter],
    published: Callable[[Round], Manifest | None],
    own: Address | None = None,
) -> list[Artifact]:
    """Everything that a ledger names, in the order of the rounds; what is named twice comes twice.

    Args:
        entries: those that the view was folded from.
        confirmed: the last block that counts as confirmed. A round that ended later has not ended yet.
        known: charters that could be read. Without its charter, a round's updates are needed for good.
        published: gives the manifest of a published round, where it can be read. Without it, the state that it names is
            not known, nor which updates are in the model.
        own: the account whose updates are pinned here whatever became of them; none where there is none.
    """
    entries = list(entries)
    ends = {
        entry.event.round: entry.time
        for entry in entries
        if isinstance(entry.event, RoundPublished | RoundCancelled) and entry.block <= confirmed
    }
    rounds = [each for _, each in sorted(view.rounds.items())]
    sizes = {cid: _Sizes.of(charter) for cid, charter in known.items()}
    found = [*_charters(entries, rounds, known), _genesis(view, known, sizes)]
    for current in rounds:
        charter = known.get(current.charter)
        manifest = None if current.manifest is None else published(current)
        size = sizes.get(current.charter, _Sizes())
        copies = 1 if charter is None else charter.store.copies
        found += _updates(current, ends.get(current.number), charter, manifest, size, copies, own)
        if current.model is None or current.manifest is None:
            continue
        number, limit = current.number, manifests.most_bytes(len(current.submissions))
        found.append(Artifact(Kind.MANIFEST, current.manifest, number, limit=limit, copies=copies))
        for text in {} if manifest is None or manifest.optimiser is None else manifest.optimiser.state.values():
            with contextlib.suppress(InvalidCid):  # It is a coordinator's word.
                found.append(Artifact(Kind.STATE, Cid.parse(text), number, size=size.state, copies=copies))
        found.append(Artifact(Kind.MODEL, current.model, number, size=size.model, copies=copies))
    return [*found, *_reports(view)]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Bytes of a model, and of a moment of it; none where they are not known."""

    model: int | None = None
    state: int | None = None

    @classmethod
    def of(cls, charter: Charter) -> _Sizes:
        layout = charter.layout()
        try:
            return cls(layout.size, moments.layout_for(layout).size)
        except InvalidWeights:  # It has nothing that an optimiser could remember.
            return cls(layout.size)


def _charters(entries: Iterable[Entry], rounds: Iterable[Round], known: Mapping[Cid, Charter]) -> Iterator[Artifact]:
    """Every charter that was ever in force, with the first round that was opened under it."""
    first: dict[Cid, int] = {}
    for current in rounds:
        first.setdefault(current.charter, current.number)
    named = [entry.event.charter for entry in entries if isinstance(entry.event, Founded | CharterAmended)]
    for cid in dict.fromkeys(named):
        copies = known[cid].store.copies if cid in known else 1
        yield Artifact(Kind.CHARTER, cid, first.get(cid, 0), limit=charters.MAX_BYTES, copies=copies)


def _genesis(view: View, known: Mapping[Cid, Charter], sizes: Mapping[Cid, _Sizes]) -> Artifact:
    cid = view.rounds[1].charter if 1 in view.rounds else view.charter
    copies = known[cid].store.copies if cid in known else 1
    return Artifact(Kind.GENESIS, view.genesis, 0, size=sizes.get(cid, _Sizes()).model, copies=copies)


def _updates(
    current: Round,
    ended: int | None,
    charter: Charter | None,
    manifest: Manifest | None,
    size: _Sizes,
    copies: int,
    own: Address | None,
) -> Iterator[Artifact]:
    """The updates of a round."""
    retention = 0 if charter is None else charter.store.retention_days * DAY
    # The time of a block is its node's word. The terms are part of the head; what ends early is kept a little longer.
    until = None if ended is None or charter is None else max(ended, current.terms.submit_by) + retention
    lines = {} if manifest is None else {line.index: line for line in manifest.submissions}
    for each in sorted(current.submissions, key=lambda submission: submission.index):
        line, fits = lines.get(each.index), each.update.size == size.model
        yield Artifact(
            Kind.UPDATE,
            each.update.cid,
            current.number,
            each.index,
            size=size.model if fits else None,
            limit=min(each.update.size, LARGEST),
            copies=copies,
            until=until,
            retention=retention,
            derived_from=_is_derived_from(current, each, line, fits=fits or charter is None),
            malformed=line is not None and line.reason == "malformed",
            pinned_for_us=each.member == own or (fits and _is_included(each, line)),
        )


def _is_included(submission: Submission, line: Line | None) -> bool:
    """Whether a manifest says that an update is in the model."""
    return line is not None and line.decision == "included" and line.update == str(submission.update.cid)


def _is_derived_from(current: Round, submission: Submission, line: Line | None, *, fits: bool) -> bool:
    """Whether the update is needed to derive the round: all that was fetched is, as a fault is found in the bytes."""
    if current.status is Status.CANCELLED or not fits:
        return False
    if line is None or line.update != str(submission.update.cid):
        return True
    return line.decision != "not_selected" and line.reason not in {*_BY_THE_LEDGER, ASSERTED}


def _reports(view: View) -> Iterator[Artifact]:
    """What members attested with: their authors' word, of which nothing follows."""
    for each in view.attestations:
        silo = view.members[each.member].index if each.member in view.members else None
        yield Artifact(Kind.REPORT, each.report, each.round, silo, limit=report.MAX_BYTES, derived_from=False)
