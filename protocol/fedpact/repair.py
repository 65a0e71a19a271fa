"""Brings back what a store has lost: from the other stores, or derived again from the updates of its round.

Models, manifests and optimisers' states follow from what the ledger names, so no store needs to have them any more.
Each counts only where its address comes out. Charters, the first model and updates follow from nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedpact.artifacts.manifest import ASSERTED, Manifest
from fedpact.derivation import derive
from fedpact.errors import BlockMissing, ContentError, FedpactError, StoreError
from fedpact.keeping import Artifact, Kind
from fedpact.ledger.view import Round, View
from fedpact.overview import Documents
from fedpact.store.blocks import Blocks, Discard
from fedpact.store.cid import Cid
from fedpact.store.here import Here
from fedpact.store.pins import hold
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import add, address, find_file, open_file

_DERIVED = (Kind.MODEL, Kind.MANIFEST, Kind.STATE)


@dataclass(slots=True)
class Repaired:
    """What came of it.

    Attributes:
        whole: how many artifacts were there, and whole.
        fetched: those that another store had.
        derived: those that were derived again.
        lost: those that could not be brought back, each with why.
    """

    whole: int = 0
    fetched: list[Artifact] = field(default_factory=list)
    derived: list[Artifact] = field(default_factory=list)
    lost: list[tuple[Artifact, str]] = field(default_factory=list)


def repair(view: View, found: Sequence[Artifact], blocks: SeveralBlocks, *, threads: int = 1) -> Repaired:
    """Sees to it that artifacts are in the stores that are written to, and pinned there.

    Args:
        found: what is needed, in the order of the rounds: a model is derived from what the rounds before left.
        threads: leaves of a model that are worked on at once.

    Raises:
        StoreError: a store that is written to does not say what it has.
    """
    done = Repaired()
    derived: dict[int, str] = {}  # Of a round: why it could not be; empty where it could.
    files = [each for each in found if not each.malformed]  # What is no file cannot be brought back.
    for each, here in zip(files, [_is_whole(blocks, each) for each in files], strict=True):
        why = _hold(blocks, each, here=here)
        if not why:
            done.whole += here
            if not here:
                (done.derived if derived.get(each.round) == "" else done.fetched).append(each)
            continue
        if each.kind in _DERIVED and each.round in view.rounds:
            if each.round not in derived:
                derived[each.round] = _derive(view.rounds[each.round], blocks, threads)
            why = _hold(blocks, each) and (derived[each.round] or why)
        if why:
            done.lost.append((each, why))
        else:
            done.derived.append(each)
    return done


def _derive(current: Round, blocks: SeveralBlocks, threads: int) -> str:
    """Makes a round's model, state and manifest again; returns why they are not those of the ledger, where they are
    not."""
    documents = Documents(blocks)
    charter, published = documents.charter(current.charter), documents.manifest(current)
    if charter is None:
        return f"its charter is missing: {documents.missing[current.charter]}"
    into: Blocks
    try:
        for into in (Discard(), blocks):  # Nothing is stored, and so pinned, before it is known to be the ledger's.
            made = derive(current, charter, blocks, into=into, asserted=_asserted(published), threads=threads)
            if made.model is None or made.model.root != current.model:
                return "what is derived of the updates that are here is another model"
        if address(made.manifest.encode()) == current.manifest:
            add(blocks, made.manifest.encode())
            if made.manifest.optimiser is not None:
                hold(blocks, *map(Cid.parse, made.manifest.optimiser.state.values()))  # Only the manifest names them.
    except FedpactError as error:
        return f"cannot be derived: {error}"
    return ""


def _asserted(published: Manifest | None) -> set[int] | None:
    """Whose updates the coordinator could not fetch. Where nobody has the manifest: whose cannot be fetched now."""
    if published is None:
        return None
    return {line.index for line in published.submissions if line.reason == ASSERTED}


def _is_whole(blocks: SeveralBlocks, each: Artifact) -> bool:
    """Whether all stores that are written to have all of it, undamaged.

    Raises:
        StoreError: one of them does not say.
    """
    with contextlib.suppress(BlockMissing, ContentError):
        for store in blocks.written:
            _read(Here(store, store.name), each)
        return True
    return False


def _hold(blocks: SeveralBlocks, each: Artifact, *, here: bool = False) -> str:
    """Reads it from wherever it is, which keeps it, and pins it; returns why that cannot be, if it cannot.

    An update that no model is made of is not pinned: nobody would let go of it.
    """
    try:
        if not here:
            _read(blocks, each)
        if each.kind is not Kind.UPDATE or each.pinned_for_us:
            blocks.pin(each.cid)
    except (StoreError, ContentError) as error:
        return str(error)
    return ""


def _read(blocks: Blocks, each: Artifact) -> None:
    """Reads all of it and no more, however long it is said to be."""
    size, limit = each.size, each.limit
    file = find_file(blocks, each.cid, limit) if size is None else open_file(blocks, each.cid, size)
    for _ in file.each():
        pass
