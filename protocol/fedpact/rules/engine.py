"""Feeds a rule block by block: leaf i of every update in, leaf i of the model out.

Memory is K leaves for each thread, not K models, and besides those that are on their way from a distant store
(`reading`). Every leaf is verified before it is decoded, in every pass. An update that turns out to be unusable is
named; the rest of all updates is only checked, so that the caller starts once more, without all of the unusable ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fedpact.artifacts.dtypes import Floats
from fedpact.artifacts.weights import Layout, Run
from fedpact.errors import BlockMismatch, BlockMissing, InvalidDag
from fedpact.rules.kernel import (
    Kernel,
    NotFinite,
    blaming,
    check_arithmetic,
    keep_freed_memory,
    measure,
    nothing,
    one_blas_thread,
)
from fedpact.rules.optimiser import Optimiser
from fedpact.rules.reading import Readable, Reading
from fedpact.rules.rule import Combination, Plan, Rule, Survey
from fedpact.store.transfer import in_order
from fedpact.store.unixfs import leaf_count

T = TypeVar("T")
Kept = TypeVar("Kept")


class Memory(Protocol):
    """An optimiser's moments, from the rounds before and for those to come. Integers have none."""

    def read(self, run: Run) -> list[Floats]:
        """Each moment of a run of floats, from before: finite. Called from any thread, in any order."""
        ...

    def write(self, run: Run, moments: Sequence[Floats]) -> None:
        """Takes their new values; called in the order of the file, by one thread."""
        ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes an update unusable.

    Attributes:
        reason: a `Reason` of the manifest.
        detail: what was found, for a person.
    """

    reason: str
    detail: str


@dataclass(slots=True)
class Outcome(Generic[Kept]):
    """What came of an aggregation.

    Attributes:
        leaves: what was kept of each leaf of the model, by its index; empty where an update was unusable.
        counts: what each update counts; empty where an update was unusable.
        faults: the first fault of each unusable update, by its place; a missing block before all others.
        missing: the error for each update with a block that the store lacks or has damaged.
    """

    leaves: dict[int, Kept] = field(default_factory=dict)
    counts: Sequence[int] = ()
    faults: dict[int, Fault] = field(default_factory=dict)
    missing: dict[int, BlockMissing | BlockMismatch] = field(default_factory=dict)


def aggregate(
    layout: Layout,
    rule: Rule,
    updates: Sequence[Readable],
    samples: Sequence[int],
    *,
    keep: Callable[[int, bytearray], Kept],
    base: Readable | None = None,
    optimiser: Optimiser | None = None,
    memory: Memory | None = None,
    threads: int = 1,
    only: Collection[int] | None = None,
) -> Outcome[Kept]:
    """Makes a model of updates.

    Args:
        layout: that of every update, and of the base.
        updates: K files of `layout.size` bytes, in the order of the ledger's indexes.
        samples: K positive integers.
        keep: takes a leaf of the model, from any thread in any order; what it returns is in the outcome.
        base: the model that the updates were trained from, a usable one; needed by an optimiser and by some rules.
        optimiser: what makes the model of the base and the combined updates, with its memory.
        threads: leaves that are worked on at once. The result does not depend on it.
        only: the leaves to make; the others are read by a survey alone. All of them where it is not given.

    Raises:
        StoreError: a store cannot answer or keep a block, or has no base.
        InvalidDag: the base is no file of such a layout.
        RuleFailed: the rule did what no rule may do.
        WrongArithmetic: this process does not compute as IEEE 754 says.
    """
    check_arithmetic()
    keep_freed_memory()
    # Where there are fewer leaves than threads, the leaves of one index are read side by side.
    readers = threads // leaf_count(layout.size) if only is None else 1
    with blaming(rule):
        passes = _Passes(layout, updates, base, threads, readers)
        combination = _surveyed(rule.plan(samples), passes)
        if combination is not None:
            indexes = range(leaf_count(layout.size)) if only is None else sorted(only)
            leaves = passes.combine(Kernel(combination, optimiser, passes.checked), memory, keep, indexes)
            if passes.usable:
                return Outcome(leaves, combination.counts)
    return Outcome(faults=passes.faults(), missing=passes.missing())


def _surveyed(plan: Plan, passes: _Passes) -> Combination | None:
    """What a rule decides once it knows what it wants to; none where an update was seen to be unusable."""
    try:
        survey = next(plan)
        with one_blas_thread():  # The threads are ours.
            while (sums := passes.survey(survey)) is not None:
                survey = plan.send(sums)
    except StopIteration as end:
        return cast(Combination, end.value)
    plan.close()
    return None


class _Passes:
    """Goes over all leaves, again and again.

    Attributes:
        checked: whether every leaf of every update was seen to be usable.
    """

    def __init__(
        self,
        layout: Layout,
        updates: Sequence[Readable],
        base: Readable | None,
        threads: int,
        readers: int,
    ) -> None:
        self._layout = layout
        self._updates = updates
        self._base = base
        self._threads = threads
        self._readers = readers
        self._found: list[tuple[int, int, Fault]] = []
        self._missing: list[tuple[int, int, BlockMissing | BlockMismatch]] = []
        self.checked = False

    @property
    def usable(self) -> bool:
        """Whether no update was seen to be unusable so far."""
        return not (self._found or self._missing)

    def faults(self) -> dict[int, Fault]:
        """The first fault of each update that has one."""
        return _first(self._found)

    def missing(self) -> dict[int, BlockMissing | BlockMismatch]:
        """The first leaf that cannot be read of each update that has one."""
        return _first(self._missing)

    def survey(self, survey: Survey) -> NDArray[np.float64] | None:
        """The sums over all leaves, in their order; none where an update was seen to be unusable."""

        def leaf(index: int) -> NDArray[np.float64] | float:
            blocks, equal = self._read(reading, index)
            if not self.checked:
                self._check(index, blocks, equal)
            if not self.usable or (equal and survey.equal_is_zero):
                reading.without_base(index)
                return 0.0
            base = reading.base(index) if survey.needs_base else None
            total: Any = 0.0
            for run in self._layout.runs(index):
                arrays = [run.of(block) for block in blocks.values()]
                total = total + measure(survey, run.dtype, arrays, None if base is None else run.of(base))
            return total  # type: ignore[no-any-return]

        every, indexes = range(len(self._updates)), range(leaf_count(self._layout.size))
        sums = nothing(survey, len(every))
        reading = Reading(
            self._updates,
            self._base,
            every,
            indexes,
            readers=self._readers,
            compared=survey.needs_base,
            needs_base=survey.needs_base,
            but_equal=survey.equal_is_zero,
        )
        with reading, closing(in_order(leaf, indexes, self._threads)) as parts:
            for part in parts:
                sums = sums + part
        self.checked = self.usable
        return sums if self.usable else None

    def combine(
        self, kernel: Kernel, memory: Memory | None, keep: Callable[[int, bytearray], Kept], indexes: Sequence[int]
    ) -> dict[int, Kept]:
        """The leaves of the model; not to be used where an update was seen to be unusable."""
        counted = kernel.combination.places
        wanted = counted if self.checked else range(len(self._updates))

        def leaf(index: int) -> tuple[Kept, list[tuple[Run, list[Floats]]]] | None:
            blocks, equal = self._read(reading, index)
            header = self._layout.header_in(index)
            usable = (
                self.usable
            )  # Once: another thread may find something at any time, and no leaf is to be passed over.
            if not self.checked and (
                not usable
                or len(counted) < len(wanted)
                or any(block[: len(header)] != header for block in blocks.values())
            ):
                self._check(index, blocks, equal)
                usable = self.usable
            if not usable:
                reading.without_base(index)
                return None
            base = reading.base(index) if kernel.needs_base else None
            made, after = bytearray(header).ljust(self._layout.leaf_size(index), b"\0"), []
            try:
                for run in self._layout.runs(index):
                    moments = memory.read(run) if memory is not None and run.dtype.is_float else []
                    arrays = [run.of(blocks[place]) for place in counted]
                    before = None if base is None else run.of(base)
                    moments = kernel.run(run.dtype, arrays, before, moments, run.of(made), equal=equal)
                    if run.dtype.is_float:
                        after.append((run, moments))
            except NotFinite:
                self._check(index, blocks, equal)
                return None
            return keep(index, made), after

        leaves = {}
        reading = Reading(
            self._updates,
            self._base,
            wanted,
            indexes,
            readers=self._readers,
            compared=kernel.combination.needs_base,
            needs_base=kernel.needs_base,
        )
        with reading, closing(in_order(leaf, indexes, self._threads)) as parts:
            for index, made in zip(indexes, parts, strict=True):
                if made is not None:
                    leaves[index], after = made
                    if memory is not None:
                        for run, moments in after:
                            memory.write(run, moments)
        return leaves

    def _read(self, reading: Reading, index: int) -> tuple[dict[int, bytes], bool]:
        """A leaf of some updates, of those that have it; and whether it is the same in all."""
        blocks: dict[int, bytes] = {}
        for group in reading.groups(index):
            try:
                blocks |= dict.fromkeys(group, reading.update(group[0], index))
            except InvalidDag as error:
                self._found += [(place, index, Fault("malformed", str(error))) for place in group]
            except (BlockMissing, BlockMismatch) as error:
                bare = error.with_traceback(None)  # Its trace holds the bytes that were wrong.
                self._missing += [(place, index, bare) for place in group]
        return blocks, reading.equal(index)

    def _check(self, index: int, blocks: dict[int, bytes], equal: bool) -> None:
        """Finds what is wrong with verified leaves."""
        fault = None
        for number, (place, block) in enumerate(blocks.items()):
            if number == 0 or not equal:
                fault = fault_in(self._layout, index, block)
            if fault is not None:
                self._found.append((place, index, fault))


def _first(found: Sequence[tuple[int, int, T]]) -> dict[int, T]:
    """What was found first at each place, whichever thread found it first."""
    return {place: what for place, _, what in sorted(found, key=lambda each: each[:2], reverse=True)}


def fault_in(layout: Layout, index: int, block: bytes) -> Fault | None:
    """What is wrong with a verified leaf, if anything is."""
    header = layout.header_in(index)
    if block[: len(header)] != header:
        return Fault("wrong_header", "names, shapes or dtypes are not those that the charter fixes")
    for run in layout.runs(index):
        values = run.of(block)
        finite = run.dtype.finite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            where = layout.element(index, run.start + first * run.dtype.itemsize)
            return Fault("not_finite", f"{where} is {run.dtype.decode(values[first : first + 1])[0]}")
    return None
