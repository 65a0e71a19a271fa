"""Looks through a ledger for what its federation needs of the stores, and lets go of what it does not need any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Manifest
from fedpact.keeping import Artifact, Kind, artifacts, needed, released
from fedpact.ledger.events import CharterAmended, Founded
from fedpact.ledger.facts import Address
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Round
from fedpact.overview import Documents
from fedpact.store.cid import Cid
from fedpact.store.collecting import GRACE, Collected, collect
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.several import SeveralBlocks


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was let go of, or would be.

    Attributes:
        unpinned: what was pinned and is no longer needed.
        needed: how many pins stay because the federation needs them.
        unknown: pins that stay although the federation does not need them: nobody knows who else does.
        collected: what was removed from the directories, by their names.
        left: stores that remove by themselves what is not pinned.
    """

    unpinned: list[Artifact]
    needed: int
    unknown: frozenset[Cid]
    collected: Mapping[str, Collected]
    left: list[str]


def survey(follower: Follower, documents: Documents, *, first: int = 0, last: int | None = None) -> list[Artifact]:
    """All that the ledger names of some rounds, as far as the charters and manifests can be read that say what it is.

    Args:
        follower: has read the ledger.
        first, last: the rounds, of which 0 is the founding; none: to the end.
    """

    def within(number: int) -> bool:
        return first <= number and (last is None or number <= last)

    def manifest(current: Round) -> Manifest | None:
        return documents.manifest(current) if within(current.number) else None

    found = artifacts(
        follower.view, follower.entries, follower.confirmed, _read_charters(follower, documents), manifest
    )
    return [each for each in found if within(each.round)]


def survey_all(
    follower: Follower, documents: Documents, pins: Collection[Cid] = (), own: Address | None = None
) -> tuple[list[Artifact], dict[int, str]]:
    """All that the ledger names, and by their rounds why manifests are in no store that answers.

    Nobody knows what such a manifest says, and whoever withholds one must not keep all else from being tidied: the
    updates of its round stay needed, and a state that it names is kept by its pin.

    Args:
        pins: what may have to be let go of.
        own: as `artifacts`.
    """
    hidden: dict[int, str] = {}
    known = _read_charters(follower, documents)

    def manifest(current: Round) -> Manifest | None:
        charter = known.get(current.charter)
        pinned = any(each.update.cid in pins for each in current.submissions)
        if charter is not None and charter.optimiser is None and not pinned:
            return None  # It names nothing that the ledger does not, and no pin depends on it.
        found = documents.manifest(current)
        if current.manifest in documents.unavailable:
            hidden[current.number] = documents.missing[current.manifest]
        return found

    found = artifacts(follower.view, follower.entries, follower.confirmed, known, manifest, own)
    return [
        replace(each, until=None) if each.kind is Kind.UPDATE and each.round in hidden else each for each in found
    ], hidden


def tidy(
    blocks: SeveralBlocks, found: list[Artifact], now: int, *, began: int, grace: float = GRACE, dry_run: bool = False
) -> Tidied:
    """Unpins what the federation no longer needs, and removes from directories what neither a pin nor the ledger needs.

    A directory knows when something was pinned in it. However old the ledger says that an update is, one stays that was
    pinned for less than its retention by the clock here.

    Args:
        blocks: what is written to among them is tidied.
        found: all that the ledger names.
        now: a time that has surely passed, in seconds since the epoch.
        began: when the ledger and the pins were about to be read, by the clock here, in nanoseconds since the epoch.
        grace: as `collect`.
        dry_run: whether it is only said what would be done.

    Raises:
        StoreError: a store cannot do it; what is needed stays in any case.
    """
    pins, kept = blocks.pinned(), needed(found, now)
    directories = [each.blocks for each in blocks.written if isinstance(each.blocks, DirectoryBlocks)]
    gone = [each for each in released(found, now) if each.cid in pins]
    young = {
        each.cid
        for each in gone
        for directory in directories
        if directory.pinned_at(each.cid) > began - each.retention * 10**9
    }
    over = {each.cid: each for each in gone if each.cid not in young}
    if not dry_run:
        # What was pinned again since it was looked at stays, also in stores that do not say when.
        over = {cid: each for cid, each in over.items() if all(store.release(cid, began) for store in directories)}
        for cid in over:
            blocks.unpin(cid)
    collected: dict[str, Collected] = {}
    left: list[str] = []
    for store in blocks.written:
        if isinstance(store.blocks, DirectoryBlocks):
            collected[store.name] = collect(
                store.blocks, kept, unpinned=over if dry_run else (), grace=grace, dry_run=dry_run
            )
        else:
            left.append(store.name)
    return Tidied(list(over.values()), len(pins & kept), pins - kept - over.keys(), collected, left)


def _read_charters(follower: Follower, documents: Documents) -> dict[Cid, Charter]:
    """Every charter that was ever in force, as far as it can be read."""
    events = (entry.event for entry in follower.entries)
    named = dict.fromkeys(event.charter for event in events if isinstance(event, Founded | CharterAmended))
    return {cid: charter for cid in named if (charter := documents.charter(cid)) is not None}
