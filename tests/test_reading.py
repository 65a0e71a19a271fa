"""Reading a chain that changes its mind: reorganisations, late nodes, limits, times; scripted, and on anvil."""

from __future__ import annotations

from typing import Any

from fedpact.ledger.port import Follower
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_node import ScriptedNode


def _events(follower: Follower) -> list[Any]:
    return [entry.event for entry in follower.entries]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.lists(st.integers(0, 3), min_size=1, max_size=30)),
        st.tuples(st.just("reorganise"), st.integers(1, 40), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("late"), st.integers(1, 12)),
        st.tuples(st.just("refresh")),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    st.one_of(st.integers(0, 20), st.sampled_from(["safe", "finalized"])),
    st.sampled_from([None, 1, 7, 50]),
    st.booleans(),
)
def test_after_any_reorganisations_a_follower_has_what_a_fresh_reading_finds(
    steps: list[Any], confirmations: Any, most_range: int | None, batches: bool
) -> None:
    """And a node that is late takes nothing back."""
    node = ScriptedNode(most_range=most_range, batches=batches)
    options = {"confirmations": confirmations}
    follower = Follower(node.ledger(**options))
    for step in steps:
        match step:
            case ("grow", counts):
                node.grow(*(node.appoint(count) for count in counts))
            case ("reorganise", depth, shorter, empty):
                depth = min(depth, len(node.blocks) - 2)
                node.drop(depth)
                node.grow(*(() if empty else node.appoint() for _ in range(max(1, depth - shorter))))
            case ("late", behind):
                follower.refresh()
                node.behind = min(behind, len(node.blocks) - 2)
                before = list(follower.entries)
                follower.refresh()
                assert follower.entries == before
                node.behind = 0
            case _:
                follower.refresh()
                assert _events(follower) == node.truth
    view = follower.refresh()
    fresh = Follower(node.ledger(**options))
    assert fresh.refresh().coordinators == view.coordinators
    assert follower.entries == fresh.entries
    assert _events(follower) == node.truth
    assert follower.confirmed == fresh.confirmed
