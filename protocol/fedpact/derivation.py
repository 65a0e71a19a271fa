"""How a round's submissions become a model and a manifest: the one function that coordinators and auditors share.

Everything follows from the ledger, the charter and the bytes in the store, but for one thing: which updates could not
be fetched. A coordinator finds that out; an auditor takes it from the manifest, and reports it as asserted.

What the charter selects follows from the ledger alone, and only that is fetched. There is no second choice: a selected
update that turns out unusable is excluded, and no other takes its place.

A server optimiser goes on from the state that the manifest of the base's origin names (`Round.origin`), if that is the
state of an optimiser of the same name and version; its parameters may have changed. Otherwise, and from the genesis, it
starts anew. A state that is named but no state of such a model is an error, as is a base that is no such model: nothing
can be derived then, and the owner can rewind. So a charter that changes the model's layout needs no rule of its own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Decision, Line, Manifest, OptimiserState, Reason
from fedpact.artifacts.moments import ComparedMoments, Moments, open_moment
from fedpact.artifacts.weights import Layout
from fedpact.errors import BlockMismatch, BlockMissing, ContentError, InvalidCid, InvalidDag, InvalidStart
from fedpact.ledger.view import Round, Submission
from fedpact.rules import FedAvg, Optimiser
from fedpact.rules.engine import Fault, Outcome, aggregate, fault_in
from fedpact.selection import Selection, select
from fedpact.store.blocks import Blocks, is_distant
from fedpact.store.cid import Cid
from fedpact.store.transfer import at_once, in_order
from fedpact.store.unixfs import Dag, File, add_leaf, add_nodes, open_file

_UNAVAILABLE = Fault(manifests.ASSERTED, "could not be fetched by the coordinator")


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a round's submissions become.

    Attributes:
        leaves: the address of each leaf of the model that was made; none where fewer selected updates than the quorum
            could be used.
        model: the model's DAG; none too where not all of it was made.
        manifest: what was decided about each submission; of a sample, without the model.
    """

    leaves: Mapping[int, Cid]
    model: Dag | None
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of a round, to be compared with what was published.

    What the manifest says of updates that it excludes is checked in full; of the others only what is in these leaves.
    Where a rule surveys, it surveys everything.

    Attributes:
        leaves: of the model.
        published: the manifest that was published. Of the optimiser's state the elements of these leaves are compared:
            the derived manifest names the published address where they agree.
    """

    leaves: Collection[int]
    published: Manifest


def derive(
    current: Round,
    charter: Charter,
    blocks: Blocks,
    *,
    into: Blocks,
    asserted: Collection[int] | None = None,
    sample: Sample | None = None,
    threads: int = 1,
) -> Derivation:
    """Makes a round's model and manifest.

    Args:
        current: a round with its submissions.
        charter: the one in force when the round opened.
        blocks: where the updates are.
        into: where the model and the optimiser's state are put.
        asserted: indexes of the members whose updates are to count as unavailable, and no others: an auditor's view.
            None: those that cannot be read here, a coordinator's view.
        sample: what to make of the model; none: all of it.
        threads: leaves that are worked on at once; the result does not depend on it.

    Raises:
        BlockMissing, BlockMismatch: an update that is not asserted to be unavailable cannot be read.
        InvalidStart: base model or optimiser's state are needed, and are none.
        StoreError: a store cannot answer, does not have base model or state, or cannot keep the model.
    """
    layout = charter.layout()
    rule, optimiser = charter.make_rule(), charter.make_optimiser()
    faults = _faults_on_ledger(current, charter, layout)
    not_selected = _select(current, charter, faults).not_selected
    for index in asserted or ():
        if index not in not_selected:
            faults.setdefault(index, _UNAVAILABLE)

    files: dict[int, File] = {}
    submissions = sorted(current.submissions, key=lambda each: each.index)
    fetched = [each for each in submissions if each.index not in faults and each.index not in not_selected]
    for each, found in zip(fetched, _open_all(blocks, [each.update.cid for each in fetched], layout.size), strict=True):
        if isinstance(found, File):
            files[each.index] = found
        elif isinstance(found, InvalidDag):
            faults[each.index] = Fault("malformed", str(found))
        elif asserted is not None:
            raise found
        else:
            faults[each.index] = _UNAVAILABLE

    if sample is not None:
        _inspect(files, sample, faults, layout, threads)
    base = _Base(blocks, current.base, layout)
    leaves: dict[int, Cid] = {}
    model: Dag | None = None
    state: OptimiserState | None = None
    counts: dict[int, int] = {}
    while not leaves and files and len(files) >= max(current.terms.quorum, rule.fewest):
        usable = [each for each in submissions if each.index in files]
        samples = [each.update.samples for each in usable]
        ordered = [files[each.index] for each in usable]
        with contextlib.ExitStack() as stack:
            moments: Moments | None = None
            if optimiser is not None:
                moments = stack.enter_context(_moments(current, optimiser, layout, blocks, into, sample))
            outcome = aggregate(
                layout,
                rule,
                ordered,
                samples,
                keep=lambda _, leaf: add_leaf(into, leaf),
                base=base,
                optimiser=optimiser,
                memory=moments,
                threads=threads,
                only=None if sample is None else sample.leaves,
            )
        _drop(usable, outcome, files, faults, raising=asserted is not None)
        if outcome.leaves:
            leaves = outcome.leaves
            if sample is None:
                model = add_nodes(into, [leaves[index] for index in sorted(leaves)], layout.size)
            counts = {each.index: count for each, count in zip(usable, outcome.counts, strict=True)}
            if optimiser is not None and moments is not None:
                addresses = {name: str(cid or "") for name, cid in moments.finish().items()}
                state = OptimiserState(name=optimiser.name, version=optimiser.version, state=addresses)
    lines = [
        _line(each, faults.get(each.index), not_selected.get(each.index), counts.get(each.index, 0))
        for each in submissions
    ]
    return Derivation(
        leaves,
        model,
        Manifest(
            format="fedpact-manifest/1",
            round=current.number,
            charter=str(current.charter),
            base=str(current.base),
            transcript="0x" + current.transcript.hex(),
            rule=charter.rule.name,
            version=charter.rule.version,
            submissions=lines,
            model="" if model is None else str(model.root),
            size=layout.size if leaves else 0,
            optimiser=state,
        ),
    )


def selection_in(current: Round, charter: Charter) -> Selection:
    """Which of a round's submissions are fetched: it follows from the ledger and the charter, without any of them."""
    return _select(current, charter, _faults_on_ledger(current, charter, charter.layout()))


def _select(current: Round, charter: Charter, faults: Collection[int]) -> Selection:
    candidates = (each for each in current.submissions if each.index not in faults)
    return select(candidates, charter, current.base, current.transcript)


def _faults_on_ledger(current: Round, charter: Charter, layout: Layout) -> dict[int, Fault]:
    """What is wrong with submissions by what they say of themselves, without fetching anything."""
    faults: dict[int, Fault] = {}
    least, greatest = charter.score_range()
    first_with: dict[Cid, Submission] = {}
    for each in current.submissions:
        update = each.update
        earlier = first_with.get(update.cid)
        if update.size != layout.size:
            faults[each.index] = Fault("wrong_size", f"expected {layout.size} bytes, found {update.size}")
        elif update.samples > charter.limits.max_samples:
            detail = f"expected at most {charter.limits.max_samples} samples, found {update.samples}"
            faults[each.index] = Fault("too_many_samples", detail)
        elif not least <= update.score <= greatest:
            detail = f"expected {least} to {greatest} millionths, found {update.score}"
            faults[each.index] = Fault("score_out_of_range", detail)
        elif charter.duplicates == "exclude" and earlier is not None:
            detail = f"member {earlier.index} submitted the same update before"
            faults[each.index] = Fault("duplicate", detail)
        else:
            first_with.setdefault(update.cid, each)  # One that is excluded itself takes nobody's place.
    return faults


def _open_all(
    blocks: Blocks, roots: Sequence[Cid], size: int
) -> Iterator[File | BlockMissing | BlockMismatch | InvalidDag]:
    """The files of updates, or why they cannot be opened."""

    def opened(place: int) -> File | BlockMissing | BlockMismatch | InvalidDag:
        try:
            return open_file(blocks, roots[place], size)
        except (BlockMissing, BlockMismatch, InvalidDag) as error:
            return error

    return in_order(opened, range(len(roots)), at_once(blocks))


def _drop(
    usable: list[Submission], outcome: Outcome[Cid], files: dict[int, File], faults: dict[int, Fault], *, raising: bool
) -> None:
    """Takes out of `files` what a pass found unusable, and notes why."""
    for place, each in enumerate(usable):
        error, fault = outcome.missing.get(place), outcome.faults.get(place)
        if error is not None and raising:
            raise error
        if error is not None or fault is not None:
            faults[each.index] = _UNAVAILABLE if error is not None else fault or _UNAVAILABLE
            del files[each.index]


def _inspect(files: dict[int, File], sample: Sample, faults: dict[int, Fault], layout: Layout, threads: int) -> None:
    """Looks at all of the updates that a manifest excludes for what is in them, one by one."""
    for index in sorted({line.index for line in sample.published.submissions if line.decision == "excluded"}):
        if index in files:
            seen = aggregate(layout, FedAvg(), [files[index]], [1], keep=lambda *_: None, threads=threads)
            for error in seen.missing.values():
                raise error
            if seen.faults:
                faults[index] = seen.faults[0]
                del files[index]


def _moments(
    current: Round, optimiser: Optimiser, layout: Layout, blocks: Blocks, into: Blocks, sample: Sample | None
) -> Moments:
    before = _state_before(current, optimiser, layout, blocks)
    if sample is None:
        return Moments(layout, optimiser, before, into)
    said = sample.published.optimiser
    same = said is not None and (said.name, said.version) == (optimiser.name, optimiser.version)
    addresses = said.state if said is not None and same else {}
    published = {}
    for name in optimiser.moments:
        with contextlib.suppress(KeyError, InvalidCid):  # What is no address agrees with nothing.
            published[name] = open_moment(blocks, name, Cid.parse(addresses[name]), layout)
    return ComparedMoments(layout, optimiser, before, published)


def _state_before(current: Round, optimiser: Optimiser, layout: Layout, blocks: Blocks) -> dict[str, File] | None:
    """The files of the moments that an optimiser goes on from; none where it starts anew.

    Raises:
        BlockMissing: the store does not have the manifest of the base's origin, or not all of a file.
        InvalidStart: the manifest is none, or one of the files.
    """
    origin = current.origin
    if origin is None or origin.manifest is None:
        return None
    what = f"manifest of round {origin.number}"
    try:
        manifest = manifests.fetch(blocks, origin.manifest, len(origin.submissions))
    except ContentError as error:
        raise InvalidStart(what, str(origin.manifest), str(error)) from None
    kept = manifest.optimiser
    if kept is None or (kept.name, kept.version) != (optimiser.name, optimiser.version):
        return None
    if set(kept.state) != set(optimiser.moments):
        found = f"expected a state of {', '.join(optimiser.moments)}, found {len(kept.state)} moments of other names"
        raise InvalidStart(what, str(origin.manifest), found)
    try:
        addresses = {name: Cid.parse(kept.state[name]) for name in optimiser.moments}
    except InvalidCid as error:
        raise InvalidStart(what, str(origin.manifest), str(error)) from None
    return {name: open_moment(blocks, name, cid, layout) for name, cid in addresses.items()}


class _Base:
    """The base model, opened when something of it is needed."""

    def __init__(self, blocks: Blocks, root: Cid, layout: Layout) -> None:
        self._root = root
        self._layout = layout
        self._open = functools.cache(lambda: open_file(blocks, root, layout.size))
        self.distant = is_distant(blocks)

    def address(self, index: int) -> Cid:
        """As `File.address`. Raises InvalidStart where the base is no such file."""
        return self._file().address(index)

    def leaf(self, index: int) -> bytes:
        """As `File.leaf`, of a usable model. Raises InvalidStart where it is none."""
        file = self._file()
        try:
            leaf = file.leaf(index)
        except ContentError as error:
            raise self._invalid(str(error)) from None
        fault = fault_in(self._layout, index, leaf)
        if fault is not None:
            raise self._invalid(fault.detail)
        return leaf

    def _file(self) -> File:
        try:
            return self._open()
        except ContentError as error:
            raise self._invalid(str(error)) from None

    def _invalid(self, found: str) -> InvalidStart:
        return InvalidStart("base", str(self._root), found)


def _line(each: Submission, fault: Fault | None, not_selected: str | None, count: int) -> Line:
    update = each.update
    decision: Decision = "included" if fault is None else "excluded"
    reason: Reason = "" if fault is None else fault.reason  # type: ignore[assignment]  # Faults carry the manifest's reasons.
    detail = "" if fault is None else fault.detail
    if not_selected is not None:
        decision, detail = "not_selected", not_selected
    return Line(
        index=each.index,
        member=each.member,
        update=str(update.cid),
        samples=update.samples,
        score=update.score,
        size=update.size,
        decision=decision,
        weight=count,
        reason=reason,
        detail=detail,
    )
