"""Federations with a server optimiser: the state goes where the base came from, and an audit follows it there."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from chains import COORDINATOR, MEMBERS, OWNER, START, STRANGER
from charters import small_charter
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Manifest, OptimiserState
from fedpact.artifacts.moments import layout_for
from fedpact.audit import Audit, Scope, Verdict, audit
from fedpact.derivation import derive
from fedpact.errors import BlockMissing, InvalidStart
from fedpact.ledger.actions import Admit, AmendCharter, Appoint, CancelRound, OpenRound, Publish, Rewind, Submit
from fedpact.ledger.facts import Identity, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor, Follower
from fedpact.ledger.view import Round
from fedpact.store import Cid
from fedpact.store.unixfs import add, open_file, read_small
from fedpact_coordinator.coordinator import Coordinator
from fedpact_coordinator.decide import Aggregate
from hypothesis import given, settings
from hypothesis import strategies as st
from optimised import MOMENTS, NAMES, PARAMETERS, Arrays, at_first, moment_file, random_weights, reference, whole

MODEL = {"bias": {"dtype": "F64", "shape": [3]}, "weight": {"dtype": "F16", "shape": [4, 3]}}
SAMPLES = [10, 20]

State = list[Arrays]


def charter_with(optimiser: str | None, **changes: Any) -> Charter:
    """A charter with an optimiser with good parameters, or with others; or without one."""
    section = {} if optimiser is None else {"name": optimiser, "parameters": PARAMETERS[optimiser] | changes}
    rest = {"model": MODEL, "rounds": {"quorum": 2}, "stop": {"rounds": 1000, "failures": 1000}}
    return small_charter(**rest) if optimiser is None else small_charter(**rest, optimiser=section)


class Stage:
    """A federation of two members, whose coordinator is started anew for every step."""

    def __init__(self, charter: Charter) -> None:
        self.layout = charter.layout()
        self.blocks = FaultyBlocks()
        self.genesis = random_weights(0, self.layout)
        self.charter = charter
        self.ledger = MemoryLedger(
            OWNER,
            add(self.blocks, charter.encode()).root,
            add(self.blocks, self.genesis).root,
            charter.contract_limits(),
            identity=Identity(1, STRANGER),
            now=START,
        )
        self.ledger.send(OWNER, Admit(tuple(MEMBERS[:2])))
        self.ledger.send(OWNER, Appoint(COORDINATOR))

    @property
    def current(self) -> Round:
        """The open round, which is opened where none is."""
        if self.ledger.view.open_round is None:
            self.step()
        current = self.ledger.view.open_round
        assert current is not None
        return current

    def step(self) -> Any:
        """What a coordinator decides that knows nothing but what ledger and store know."""
        return Coordinator(self.ledger, COORDINATOR, self.blocks, Follower(self.ledger), threads=2).step()[0]

    def submit(self) -> list[bytes]:
        """Both members submit an update of their own for this round."""
        number = self.current.number
        updates = [random_weights(10 * number + place, self.layout) for place in (1, 2)]
        for member, data, samples in zip(MEMBERS, updates, SAMPLES, strict=False):
            self.ledger.send(member, Submit(number, Update(add(self.blocks, data).root, samples, 0, len(data))))
        return updates

    def publish(self) -> int:
        """A round with updates of both members; returns its number."""
        number = self.current.number
        self.submit()
        assert isinstance(self.step(), Aggregate)
        return number

    def forge(self, change: Callable[[Manifest], Manifest | bytes], model: Cid | None = None) -> int:
        """A round of which a coordinator publishes another manifest than its updates make, or another model."""
        current = self.current
        self.submit()
        derived = derive(current, self.charter, self.blocks, into=self.blocks)
        assert derived.model is not None
        changed = change(derived.manifest)
        data = changed.encode() if isinstance(changed, Manifest) else changed
        manifest = add(self.blocks, data).root
        terms = self.charter.terms(self.ledger.now())
        action = Publish(current.number, current.transcript, model or derived.model.root, manifest, terms)
        self.ledger.send(COORDINATOR, action)
        return current.number

    def cancel(self) -> None:
        """The owner cancels the open round."""
        self.ledger.send(OWNER, CancelRound(self.current.number))

    def rewind(self, number: int) -> None:
        """The federation goes back to the base of a round."""
        if self.ledger.view.open_round is not None:
            self.cancel()
        self.ledger.send(OWNER, Rewind(number, self.ledger.view.rounds[number].base))

    def amend(self, charter: Charter) -> None:
        """Another charter from the next round on."""
        if self.ledger.view.open_round is not None:
            self.cancel()
        self.charter = charter
        cid = add(self.blocks, charter.encode()).root
        self.ledger.send(OWNER, AmendCharter(cid, charter.contract_limits()))

    def manifest(self, number: int) -> Manifest:
        """The manifest of a published round."""
        cid = self.ledger.view.rounds[number].manifest
        assert cid is not None
        return manifests.decode(read_small(self.blocks, cid, manifests.MAX_BYTES))

    def model(self, number: int) -> bytes:
        """The model of a published round."""
        return open_file(self.blocks, Cid.parse(self.manifest(number).model), self.layout.size).read()

    def state_root(self, number: int, moment: str) -> Cid:
        """Where a moment is after a round."""
        optimiser = self.manifest(number).optimiser
        assert optimiser is not None
        return Cid.parse(optimiser.state[moment])

    def moment(self, number: int, moment: str) -> bytes:
        """The file of a moment after a round."""
        return open_file(self.blocks, self.state_root(number, moment), layout_for(self.layout).size).read()

    def audit(self, **options: Any) -> Audit:
        """What an auditor finds."""
        return audit(self.ledger.identity, list(self.ledger.read(Cursor()).entries), self.blocks, **options)

    def reproduced(self) -> bool:
        """Whether an audit reproduces every round."""
        found = self.audit()
        assert [str(each) for each in found.all_findings] == []
        return found.exit_code == 0


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest) -> Stage:
    """A federation before its first round, with each of the optimisers."""
    return Stage(charter_with(request.param))


def name_of(stage: Stage) -> str:
    """Its optimiser's name."""
    assert stage.charter.optimiser is not None
    return stage.charter.optimiser.name


def follow(stage: Stage, base: bytes, state: State, number: int) -> tuple[bytes, State]:
    """What a round's updates become by the paper's formula, from a base and a state."""
    name = name_of(stage)
    section = stage.charter.optimiser
    assert section is not None
    assert section.parameters is not None
    updates = [random_weights(10 * number + place, stage.layout) for place in (1, 2)]
    return whole(reference(name, section.parameters), stage.layout, base, updates, SAMPLES, state)


def check(stage: Stage, number: int, expected: tuple[bytes, State]) -> None:
    """Model and state of a published round are these, and its manifest names them."""
    model, state = expected
    assert stage.model(number) == model
    optimiser = stage.manifest(number).optimiser
    assert optimiser is not None
    assert (optimiser.name, optimiser.version) == (name_of(stage), 1)
    assert sorted(optimiser.state) == sorted(MOMENTS[name_of(stage)])
    for moment, arrays in zip(MOMENTS[name_of(stage)], state, strict=True):
        assert stage.moment(number, moment) == moment_file(stage.layout, arrays)


# ------------------------------------------------------------------------------------------------- which state goes on


@pytest.mark.parametrize("distant", [False, True])
def test_the_state_goes_from_round_to_round(stage: Stage, distant: bool) -> None:
    """Over four rounds, with a coordinator that is killed after every step; an audit derives the same."""
    stage.blocks.distant = distant
    expected = (stage.genesis, at_first(name_of(stage), stage.layout))
    for _ in range(4):
        number = stage.publish()
        expected = follow(stage, *expected, number)
        check(stage, number, expected)
    assert stage.reproduced()
    assert stage.audit(threads=3).exit_code == 0


def test_a_cancelled_round_leaves_no_trace(stage: Stage) -> None:
    """The next round goes on from the last that was published."""
    first = stage.publish()
    stage.submit()
    stage.cancel()
    third = stage.publish()
    assert third == 3
    start = follow(stage, stage.genesis, at_first(name_of(stage), stage.layout), first)
    check(stage, third, follow(stage, *start, third))
    assert stage.reproduced()


def test_a_rewind_takes_the_state_with_it(stage: Stage) -> None:
    """Back to the base of round 3 is back to the state after round 2; back to that of round 1 is the beginning."""
    beginning = (stage.genesis, at_first(name_of(stage), stage.layout))
    first, second, third = stage.publish(), stage.publish(), stage.publish()
    after_two = follow(stage, *follow(stage, *beginning, first), second)
    stage.rewind(third)
    fifth = stage.publish()
    check(stage, fifth, follow(stage, *after_two, fifth))
    stage.rewind(fifth)  # Which started from there, too.
    again = stage.publish()
    check(stage, again, follow(stage, *after_two, again))
    stage.rewind(first)
    last = stage.publish()
    check(stage, last, follow(stage, *beginning, last))
    assert stage.reproduced()


def test_two_rounds_with_the_same_model_are_told_apart() -> None:
    """A model may be published twice, with another state each time: what counts is where the base came from."""
    stage = Stage(charter_with("fedavgm", momentum="0.5"))
    first = stage.publish()
    root = add(stage.blocks, stage.model(first)).root
    second = stage.forge(lambda manifest: manifest, root)
    third = stage.publish()
    view = stage.ledger.view
    assert view.rounds[second].base == view.rounds[third].base
    state = follow(stage, *follow(stage, stage.genesis, at_first("fedavgm", stage.layout), first), second)[1]
    check(stage, third, follow(stage, stage.model(first), state, third))
    found = stage.audit()
    assert [each.verdict for each in found.rounds] == [Verdict.REPRODUCED, Verdict.DIFFERS, Verdict.REPRODUCED]


actions = st.lists(st.one_of(st.sampled_from(["publish", "cancel", *NAMES, "none"]), st.integers(0, 30)), max_size=10)


@settings(max_examples=40)
@given(st.sampled_from(NAMES), actions)
def test_any_history(name: str, history: list[str | int]) -> None:
    """Rounds, cancellations, rewinds and other charters in any order: the formula's bits, and an audit's."""
    stage = Stage(charter_with(name))
    start: tuple[bytes, str | None, State] = (stage.genesis, None, [])
    bases: dict[int, tuple[bytes, str | None, State]] = {}
    for what in [*history, "publish"]:
        if what == "publish":
            bases[stage.current.number] = start
            number = stage.publish()
            section = stage.charter.optimiser
            if section is None:
                start = (stage.model(number), None, [])
                assert stage.manifest(number).optimiser is None
            else:
                state = start[2] if start[1] == section.name else at_first(section.name, stage.layout)
                model, state = follow(stage, start[0], state, number)
                check(stage, number, (model, state))
                start = (model, section.name, state)
        elif what == "cancel":
            bases[stage.current.number] = start
            stage.cancel()
        elif isinstance(what, int):
            bases[stage.current.number] = start
            earlier = 1 + what % len(stage.ledger.view.rounds)
            stage.rewind(earlier)
            start = bases[earlier]
        else:
            bases[stage.current.number] = start
            stage.amend(charter_with(None if what == "none" else what))
    assert stage.reproduced()


# ------------------------------------------------------------------------------------------------------ other charters


def test_an_optimiser_begins_where_there_was_none() -> None:
    """From a round without an optimiser, or with another, it starts anew; with other parameters it goes on."""
    stage = Stage(charter_with(None))
    first = stage.publish()
    assert stage.manifest(first).optimiser is None
    stage.amend(charter_with("fedadam"))
    second = stage.publish()
    expected = follow(stage, stage.model(first), at_first("fedadam", stage.layout), second)
    check(stage, second, expected)
    stage.amend(charter_with("fedadam", beta1="0.5", tau="0.1", learning_rate="0.01"))
    third = stage.publish()
    expected = follow(stage, *expected, third)
    check(stage, third, expected)
    stage.amend(charter_with("fedyogi"))
    fourth = stage.publish()
    expected = follow(stage, stage.model(third), at_first("fedyogi", stage.layout), fourth)
    check(stage, fourth, expected)
    stage.amend(charter_with(None))
    fifth = stage.publish()
    assert stage.manifest(fifth).optimiser is None
    assert stage.reproduced()


def test_another_layout_is_named() -> None:
    """A charter with another model cannot go on from this one, nor from its state: nothing is derived, nothing lost."""
    stage = Stage(charter_with("fedadam"))
    first = stage.publish()
    swapped = {"bias": {"dtype": "F64", "shape": [3]}, "weighs": {"dtype": "F16", "shape": [3, 4]}}
    other = charter_with("fedadam").model_dump() | {"model": swapped}
    good = stage.layout
    stage.amend(Charter.model_validate(other))
    stage.layout = stage.charter.layout()
    assert stage.layout.size == good.size
    stage.submit()
    with pytest.raises(InvalidStart, match=r"base bafk.*: names, shapes or dtypes are not"):
        stage.step()
    stage.layout = good
    stage.amend(charter_with("fedadam"))
    third = stage.publish()
    start = follow(stage, stage.genesis, at_first("fedadam", good), first)
    check(stage, third, follow(stage, *start, third))
    assert stage.reproduced()


def test_any_rule_can_be_optimised() -> None:
    """The median's step, for one; the rule and the optimiser do not know each other."""
    charter = charter_with("fedavgm", momentum="0", learning_rate="1").model_dump() | {"rule": {"name": "median"}}
    stage = Stage(Charter.model_validate(charter))
    number = stage.publish()
    updates = [stage.layout.decode(random_weights(10 * number + place, stage.layout))["bias"] for place in (1, 2)]
    bias = stage.layout.decode(stage.model(number))["bias"]
    assert np.allclose(bias, np.median(updates, axis=0))
    assert stage.reproduced()


def test_what_is_done_before_a_rule_goes_before_the_optimiser(stage: Stage) -> None:
    """With all updates clipped to almost nothing, only what the moments remember moves the model."""
    first = stage.publish()
    clip = {"name": "norm_clip", "parameters": {"bound": "0." + "0" * 29 + "1"}}
    stage.amend(Charter.model_validate(stage.charter.model_dump() | {"before": clip}))
    second = stage.publish()
    before, state = follow(stage, stage.genesis, at_first(name_of(stage), stage.layout), first)
    step = reference(name_of(stage), PARAMETERS[name_of(stage)])
    bias = stage.layout.decode(before)["bias"]
    expected, _ = step(bias, bias, [moment["bias"] for moment in state])
    assert np.allclose(stage.layout.decode(stage.model(second))["bias"], expected, rtol=1e-12)
    assert stage.reproduced()


# -------------------------------------------------------------------------------------------------- missing and damaged


def test_a_state_that_cannot_be_fetched_is_unchecked(stage: Stage) -> None:
    """The auditor has no verdict on the round that needs it, and a coordinator waits until it is there."""
    first, second = stage.publish(), stage.publish()
    missing = stage.state_root(first, MOMENTS[name_of(stage)][-1])
    stage.blocks.missing.add(missing)
    found = stage.audit()
    assert found.all_findings == []
    assert [each.number for each in found.rounds if str(missing) in each.unchecked] == [first, second]
    assert found.exit_code == 2
    stage.rewind(second)
    stage.submit()
    with pytest.raises(BlockMissing, match=str(missing)):
        stage.step()
    stage.blocks.missing.clear()
    assert isinstance(stage.step(), Aggregate)
    assert stage.reproduced()


def test_a_base_that_cannot_be_fetched_is_unchecked(stage: Stage) -> None:
    """The same for the base model."""
    first, second = stage.publish(), stage.publish()
    base = stage.ledger.view.rounds[second].base
    stage.blocks.missing.add(base)
    found = stage.audit()
    assert found.all_findings == []
    assert [each.number for each in found.rounds if str(base) in each.unchecked] == [first, second]


def test_a_damaged_state_is_named(stage: Stage) -> None:
    """Other bytes in the store, after the last round too, are found, with round and moment."""
    stage.publish()
    last = stage.publish()
    moment = MOMENTS[name_of(stage)][-1]
    root = stage.state_root(last, moment)
    stage.blocks.damaged[root] = b"damaged"
    [finding] = stage.audit().all_findings
    assert (finding.round, finding.what, finding.ledger) == (last, f"state, {moment}, block 0", str(root))
    stage.submit()
    with pytest.raises(InvalidStart, match=f"state, {moment}"):
        stage.step()


def test_below_the_quorum_no_state_is_read(stage: Stage) -> None:
    """A round that cannot be published does not wait for what it does not need."""
    first = stage.publish()
    current = stage.current
    for member in MEMBERS[:2]:
        stage.ledger.send(member, Submit(current.number, Update(stage.ledger.view.base, 1, 0, 1)))
    stage.blocks.missing.update([current.base, stage.state_root(first, MOMENTS[name_of(stage)][0])])
    derived = derive(current, stage.charter, stage.blocks, into=stage.blocks)
    assert derived.model is None
    assert derived.manifest.optimiser is None
    assert isinstance(stage.step(), CancelRound)


# -------------------------------------------------------------------------------------------------------- what is wrong


def with_state(**state: str) -> Callable[[Manifest], Manifest]:
    """A manifest with other addresses of moments."""

    def change(manifest: Manifest) -> Manifest:
        assert manifest.optimiser is not None
        other = manifest.optimiser.model_copy(update={"state": manifest.optimiser.state | state})
        return manifest.model_copy(update={"optimiser": other})

    return change


def test_a_wrong_state_is_found_in_its_own_round() -> None:
    """A good file with other numbers: the round that published it differs, the next follows from it as it is."""
    stage = Stage(charter_with("fedadam"))
    layout = layout_for(stage.layout)
    other = add(stage.blocks, random_weights(99, layout)).root
    first = stage.forge(with_state(first_moment=str(other)))
    second = stage.publish()
    found = stage.audit()
    [finding] = found.all_findings
    derived = derive(stage.ledger.view.rounds[first], stage.charter, stage.blocks, into=stage.blocks).manifest.optimiser
    assert derived is not None
    assert (finding.round, finding.what) == (first, "state, first_moment")
    assert (finding.ledger, finding.derived) == (str(other), derived.state["first_moment"])
    assert found.rounds[second - 1].verdict is Verdict.REPRODUCED


def not_finite(stage: Stage) -> str:
    """A state with a NaN."""
    layout = layout_for(stage.layout)
    arrays = {
        each.name: np.full(each.shape, np.nan, each.dtype.lower().replace("f", "float")) for each in layout.tensors
    }
    return str(add(stage.blocks, layout.encode(arrays)).root)


HOSTILE: dict[str, tuple[Callable[[Stage], str], str]] = {
    "no address": (lambda stage: "/etc/passwd\x1b[2J", "expected 59 characters"),
    "another model's": (lambda stage: str(add(stage.blocks, b"short").root), "another header"),
    "a long file": (lambda stage: str(add(stage.blocks, bytes(3 << 20)).root), "expected 1 leaves"),
    "a NaN": (not_finite, "it has values that are not finite"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_state_that_is_none(case: str) -> None:
    """Its round differs; no honest round can follow, and one that does differs; after a rewind everything goes on."""
    stage = Stage(charter_with("fedadam"))
    first = stage.publish()
    address, says = HOSTILE[case][0](stage), HOSTILE[case][1]
    wrong = stage.forge(with_state(second_moment=address))
    stage.submit()
    with pytest.raises(InvalidStart) as caught:
        stage.step()
    assert "state, second_moment" in str(caught.value) or f"manifest of round {wrong}" in str(caught.value)
    assert says in str(caught.value) or case == "another model's"
    # A coordinator that does not care publishes all the same.
    current = stage.current
    manifest = stage.ledger.view.rounds[first].manifest
    assert manifest is not None
    model = stage.ledger.view.base
    stage.ledger.send(
        COORDINATOR,
        Publish(current.number, current.transcript, model, manifest, stage.charter.terms(stage.ledger.now())),
    )
    found = stage.audit()
    assert [each.verdict for each in found.rounds] == [Verdict.REPRODUCED, Verdict.DIFFERS, Verdict.DIFFERS]
    [named] = found.rounds[1].findings
    assert (named.what, named.ledger) == ("state, second_moment", address)
    [follows] = found.rounds[2].findings
    assert follows.what in ("state, second_moment", f"manifest of round {wrong}")
    stage.rewind(wrong)
    again = stage.publish()
    start = follow(stage, stage.genesis, at_first("fedadam", stage.layout), first)
    check(stage, again, follow(stage, *start, again))
    assert stage.audit().rounds[-1].verdict is Verdict.REPRODUCED


def test_a_manifest_that_is_none_has_no_state() -> None:
    """Bytes that are no manifest: the next round cannot be derived, and says why."""
    stage = Stage(charter_with("fedavgm"))
    wrong = stage.forge(lambda _: b"{}")
    stage.submit()
    with pytest.raises(InvalidStart, match=f"manifest of round {wrong} bafk"):
        stage.step()


def test_a_manifest_without_its_state_differs() -> None:
    """One that leaves the optimiser out, renames it or its moments; what follows from it is said in each case."""
    stage = Stage(charter_with("fedadam"))

    def changed(state: OptimiserState | None) -> Callable[[Manifest], Manifest]:
        return lambda manifest: manifest.model_copy(update={"optimiser": state})

    left_out = stage.forge(changed(None))
    second = stage.publish()
    check(stage, second, follow(stage, stage.model(left_out), at_first("fedadam", stage.layout), second))
    renamed = stage.forge(changed(OptimiserState(name="fedyogi", version=1, state={})))
    fourth = stage.publish()
    check(stage, fourth, follow(stage, stage.model(renamed), at_first("fedadam", stage.layout), fourth))
    other = stage.forge(changed(OptimiserState(name="fedadam", version=1, state={"m": "x", "v": "y"})))
    found = stage.audit()
    assert [(each.round, each.what, each.ledger, each.derived) for each in found.all_findings] == [
        (left_out, "manifest, optimiser", "none", "fedadam 1"),
        (renamed, "manifest, optimiser", "fedyogi 1", "fedadam 1"),
        (other, "manifest, optimiser, moments", "m, v", "first_moment, second_moment"),
    ]
    stage.submit()
    with pytest.raises(InvalidStart, match="expected a state of first_moment, second_moment, found 2 moments"):
        stage.step()


def test_an_optimiser_that_the_charter_does_not_know() -> None:
    """A state where there is none to be differs, too."""
    stage = Stage(charter_with(None))
    state = OptimiserState(name="fedadam", version=1, state={})
    number = stage.forge(lambda manifest: manifest.model_copy(update={"optimiser": state}))
    [finding] = stage.audit().all_findings
    assert (finding.round, finding.what, finding.ledger, finding.derived) == (
        number,
        "manifest, optimiser",
        "fedadam 1",
        "none",
    )


def test_a_base_that_is_no_model() -> None:
    """A published model with a NaN: no step can be made from it, and what is published nevertheless differs."""
    stage = Stage(charter_with("fedyogi"))
    arrays = {name: array.copy() for name, array in stage.layout.decode(stage.genesis).items()}
    arrays["weight"][1, 2] = np.nan
    bad = add(stage.blocks, stage.layout.encode(arrays)).root
    first = stage.forge(lambda manifest: manifest, bad)
    stage.submit()
    with pytest.raises(InvalidStart, match=rf"base {bad}: weight\[1, 2\] is nan"):
        stage.step()
    current = stage.current
    manifest = stage.ledger.view.rounds[first].manifest
    assert manifest is not None
    stage.ledger.send(
        COORDINATOR, Publish(current.number, current.transcript, bad, manifest, stage.charter.terms(stage.ledger.now()))
    )
    found = stage.audit()
    assert [each.verdict for each in found.rounds] == [Verdict.DIFFERS, Verdict.DIFFERS]
    assert [(each.what, each.ledger) for each in found.rounds[1].findings] == [("base", str(bad))]


def test_a_sample_compares_the_state_where_the_sample_is() -> None:
    """An element of a moment that is another is found where its block of the model is drawn, and there alone."""
    model = {"w": {"dtype": "F32", "shape": [600_000]}}
    stage = Stage(Charter.model_validate(charter_with("fedyogi").model_dump() | {"model": model}))
    stage.publish()

    def altered(manifest: Manifest) -> Manifest:
        assert manifest.optimiser is not None
        honest = Cid.parse(manifest.optimiser.state["second_moment"])
        data = bytearray(open_file(stage.blocks, honest, layout_for(stage.layout).size).read())
        data[-4:] = np.float32(7).tobytes()
        return with_state(second_moment=str(add(stage.blocks, bytes(data)).root))(manifest)

    second = stage.forge(altered)
    third = stage.publish()
    scopes = [Scope(share=Decimal("0.3"), seed=seed) for seed in range(6)]
    seen = [2 in (scope.leaves(second, 3) or ()) for scope in scopes]
    assert set(seen) == {True, False}
    for scope, there in zip(scopes, seen, strict=True):
        found = stage.audit(scope=scope)
        wrong = [(second, "state, second_moment", "other values in the blocks looked at")]
        assert [(each.round, each.what, each.derived) for each in found.all_findings] == (wrong if there else [])
        assert found.rounds[third - 1].verdict is Verdict.SAMPLED


# ------------------------------------------------------------------------------------------------------------ the view


def test_the_view_knows_where_a_base_came_from() -> None:
    """Genesis, publication, cancellation, rewind to each of them, on the ledger alone."""
    stage = Stage(charter_with(None))
    view = stage.ledger.view

    def opened() -> Round | None:
        stage.ledger.send(COORDINATOR, OpenRound(view.number + 1, stage.charter.terms(stage.ledger.now())))  # type: ignore[arg-type]
        assert view.open_round is not None
        return view.open_round.origin

    def published(model: bytes) -> Round:
        current = view.open_round
        assert current is not None
        stage.submit()
        stage.ledger.send(
            COORDINATOR,
            Publish(
                current.number,
                current.transcript,
                Cid.of(model),
                Cid.of(b"manifest"),
                stage.charter.terms(stage.ledger.now()),
            ),
        )
        return current

    assert opened() is None
    first = published(b"one")
    assert view.origin is first
    second = published(b"two")
    assert second.origin is first
    third = published(b"one")
    assert third.origin is second
    stage.cancel()
    assert opened() is third
    stage.rewind(3)
    assert opened() is second
    stage.rewind(2)
    assert opened() is first
    stage.rewind(5)  # Which was opened from the third's model, and cancelled.
    assert opened() is third
    stage.rewind(1)
    assert opened() is None
    assert Follower(stage.ledger).refresh().rounds == view.rounds
    assert "origin" not in repr(third)
