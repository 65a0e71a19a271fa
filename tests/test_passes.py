"""What the engine does with every rule: the same of files as of arrays, with and without what it need not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from charters import TOLD
from fedpact.artifacts.dtypes import DTYPES
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.errors import RuleFailed
from fedpact.rules import RULES, FedAvg, Rule, make
from fedpact.rules.arrays import combine
from fedpact.rules.engine import Fault, Outcome, Readable, aggregate
from fedpact.rules.mean import WeightedMean
from fedpact.rules.rule import PIECE, Blockwise
from fedpact.store.unixfs import LEAF, leaf_count, leaf_size

LAYOUT = Layout(
    [
        Tensor("steps", "I64", (5,)),
        Tensor("double", "F64", (70_001,)),
        Tensor("single", "F32", (200, 1_501)),
        Tensor("brain", "BF16", (150_003,)),
        Tensor("half", "F16", (90_001,)),
        Tensor("bytes", "U8", (1_000,)),
    ]
)
"""Three leaves, with every kind of run in them."""
COUNT = 7
SAMPLES = [3, 1, 1 << 40, 77, 12, 1, 5]
RULE_NAMES = sorted(RULES)


@dataclass
class InMemory:
    """A file of weights in memory, which counts how often each leaf is read."""

    data: bytes
    hidden: bool = False
    read: Counter[int] = field(default_factory=Counter)

    def address(self, index: int) -> object:
        """Equal where leaves are; never, where it is to be hidden that they are."""
        return object() if self.hidden else self.leaf_of(index)

    def leaf(self, index: int) -> bytes:
        """The leaf."""
        self.read[index] += 1
        return self.leaf_of(index)

    def leaf_of(self, index: int) -> bytes:
        """The leaf, not counted."""
        return self.data[index * LEAF : index * LEAF + leaf_size(len(self.data), index)]


def weights(seed: int, layout: Layout = LAYOUT) -> dict[str, np.ndarray]:
    """Random tensors; some elements are the same for all, some are zeros of either sign."""
    source, shared = np.random.default_rng(seed), np.random.default_rng(99)
    made = {}
    for tensor in layout.tensors:
        kind = DTYPES[tensor.dtype]
        if kind.is_float:
            values = source.standard_normal(tensor.shape)
            same = shared.standard_normal(tensor.shape)
            values = np.where(same > 1, same, np.where(same < -1.5, source.choice([0.0, -0.0], tensor.shape), values))
        else:
            limits = np.iinfo(kind.array)
            values = source.integers(limits.min, limits.max, tensor.shape, kind.array, endpoint=True)
        made[tensor.name] = values.astype(kind.array)
    return made


def files(count: int = COUNT) -> list[InMemory]:
    """Updates that differ."""
    return [InMemory(LAYOUT.encode(weights(seed))) for seed in range(count)]


def told(name: str) -> Rule:
    """A rule with its parameters."""
    return make(name, 1, TOLD[name])


def run(rule: Rule, updates: Sequence[Readable], base: Readable, threads: int = 1) -> tuple[bytes, Outcome[bytes]]:
    """The model's bytes, empty where there is none, and the outcome."""
    samples = SAMPLES[: len(updates)]
    outcome = aggregate(LAYOUT, rule, updates, samples, keep=lambda _, leaf: leaf, base=base, threads=threads)
    return b"".join(outcome.leaves[index] for index in sorted(outcome.leaves)), outcome


BASE = InMemory(LAYOUT.encode(weights(1000)))


@pytest.mark.parametrize("name", [name for name in RULE_NAMES if issubclass(RULES[name], Blockwise)])
def test_files_and_arrays_become_the_same(name: str) -> None:
    """Tensor by tensor, for the kinds that arrays have; what a survey finds is of the whole model."""
    made, _ = run(told(name), files(), BASE, threads=2)
    model, every = LAYOUT.decode(made), [weights(seed) for seed in range(COUNT)]
    for tensor in LAYOUT.tensors:
        if tensor.dtype != "BF16":
            found = combine(told(name), [each[tensor.name] for each in every], SAMPLES)
            assert found.tobytes() == model[tensor.name].tobytes(), tensor.name


@pytest.mark.parametrize("threads", [2, 7])
@pytest.mark.parametrize("name", RULE_NAMES)
def test_threads_do_not_change_a_bit(name: str, threads: int) -> None:
    """Neither of the model nor of what each update counts."""
    one, first = run(told(name), files(), BASE)
    other, again = run(told(name), files(), BASE, threads)
    assert one
    assert one == other
    assert first.counts == again.counts
    assert len(first.counts) == COUNT


@pytest.mark.parametrize("name", RULE_NAMES)
def test_blocks_with_one_address_are_read_once_and_become_the_same(name: str) -> None:
    """As where every one of them is read and computed with: signs of zeros, every kind of number, and a survey."""
    same, other = LAYOUT.encode(weights(1)), LAYOUT.encode(weights(2))
    frozen = [same[:LEAF] + other[LEAF : 2 * LEAF] + same[2 * LEAF :], *[same] * (COUNT - 1)]
    for base in (BASE, InMemory(same)):
        shown = [InMemory(data) for data in frozen]
        hidden = [InMemory(data, hidden=True) for data in frozen]
        made, outcome = run(told(name), shown, base)
        computed, expected = run(told(name), hidden, base)
        assert made == computed
        assert outcome.counts == expected.counts
    seen = sum(update.read[0] for update in shown)
    assert seen < sum(update.read[0] for update in hidden)
    assert seen == 1 or not issubclass(RULES[name], Blockwise)


@pytest.mark.parametrize("name", [name for name in RULE_NAMES if name.endswith("krum")])
def test_krum_reads_again_only_what_it_chose(name: str) -> None:
    """Each update once for the survey; those that count once more."""
    updates = files()
    made, outcome = run(told(name), updates, BASE)
    for update, count in zip(updates, outcome.counts, strict=True):
        assert update.read == Counter(dict.fromkeys(range(leaf_count(LAYOUT.size)), 2 if count else 1))
    if name == "krum":
        assert made == updates[outcome.counts.index(1)].data


@pytest.mark.parametrize("where", range(3))
@pytest.mark.parametrize("name", RULE_NAMES)
def test_every_unusable_update_is_found_in_one_pass(name: str, where: int) -> None:
    """What is not finite, in any leaf and kind of number, and a wrong header; the others are read once for that."""
    updates = files()
    for place, tensor in ((1, ("double", "single", "half")[where]), (4, ("single", "brain", "brain")[where])):
        spoilt = weights(place)
        spoilt[tensor] = spoilt[tensor].copy()
        spoilt[tensor].ravel()[-1] = (np.nan, -np.inf)[place == 4]
        updates[place] = InMemory(LAYOUT.encode(spoilt))
    updates[5] = InMemory(b"x" + updates[5].data[1:])
    made, outcome = run(told(name), updates, BASE, threads=2)
    assert made == b""
    assert {place: fault.reason for place, fault in outcome.faults.items()} == {
        1: "not_finite",
        4: "not_finite",
        5: "wrong_header",
    }
    assert outcome.faults[4].detail.endswith(" is -inf")
    assert max(updates[0].read.values()) == 1


def test_a_fault_is_attributed_to_all_who_share_the_block() -> None:
    """Where all leaves have one address, one is read, and what is wrong with it is wrong with each."""
    spoilt = weights(1)
    spoilt["half"] = np.full_like(spoilt["half"], np.inf)
    for name in ("fedavg", "median", "krum"):
        _, outcome = run(told(name), [InMemory(LAYOUT.encode(spoilt))] * 5, BASE)
        assert outcome.faults == dict.fromkeys(range(5), Fault("not_finite", "half[0] is inf"))


def test_leaves_that_are_asked_for_are_those_of_the_whole() -> None:
    """A survey still reads everything; a rule without one reads those leaves alone."""
    for name in RULE_NAMES:
        updates = files()
        made, _ = run(told(name), updates, BASE)
        again = files()
        outcome = aggregate(LAYOUT, told(name), again, SAMPLES, keep=lambda _, leaf: leaf, base=BASE, only={1})
        assert outcome.leaves == {1: made[LEAF : 2 * LEAF]}
        if issubclass(RULES[name], Blockwise):
            assert set(again[0].read) == {1}


class Broken(FedAvg):
    """Does what no rule may do."""

    def __init__(self, does: Any) -> None:
        self.does = does

    def combination(self, samples: Sequence[int]) -> WeightedMean:
        does = self.does

        class Wrong(WeightedMean):
            def floats(self, updates: Any, base: Any) -> Any:
                return does(super().floats(updates, base))

            def integers(self, updates: Any, base: Any) -> Any:
                return does(super().integers(updates, base))

        return Wrong(samples)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda values: values[:1], "rule fedavg: expected "),
        (lambda values: values.astype("c16"), "found complex128"),
        (lambda values: values * np.nan, "rule fedavg: expected "),
        (lambda values: {}[3], "rule fedavg: KeyError: 3"),
        (lambda values: None, "rule fedavg: AttributeError: "),
    ],
)
def test_what_a_rule_does_wrong_is_one_error_that_names_it(does: Any, says: str) -> None:
    """Of another shape or kind, not finite, nothing, or an exception of its own: no model comes of it."""
    for threads in (1, 2):
        with pytest.raises(RuleFailed, match=re.escape(says)) as caught:
            run(Broken(does), files(), BASE, threads)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(RuleFailed, match=re.escape(says)):
        combine(Broken(does), [np.ones(5, np.float32)] * 2, [1, 1])


@pytest.mark.parametrize("piece", [1 << 40, 1, 0, -5])
def test_a_rule_that_wants_pieces_of_any_size_gets_them_or_is_named(piece: int) -> None:
    """At most what all get; of none nothing could be made."""

    class Sized(FedAvg):
        def combination(self, samples: Sequence[int]) -> WeightedMean:
            found = super().combination(samples)
            found.piece = piece
            return found

    updates = [np.arange(PIECE * 3, dtype=np.float32), np.ones(PIECE * 3, np.float32)]
    for threads in (1, 3):
        if piece < 1:
            with pytest.raises(RuleFailed, match=f"rule fedavg: piece: expected 1 to {PIECE} elements, found {piece}"):
                combine(Sized(), updates, [1, 1], threads=threads)
        else:
            small = [update[: PIECE * 3 if piece > 1 else 200] for update in updates]
            whole = combine(FedAvg(), small, [1, 1])
            assert (combine(Sized(), small, [1, 1], threads=threads) == whole).all()
