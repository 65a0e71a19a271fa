"""What a follower keeps in a file: reorganisations and restarts at any point, and files that are of no use."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import RecordInconsistent
from fedpact.ledger.entry_log import EntryLog
from fedpact.ledger.facts import Address, Identity
from fedpact.ledger.port import Cursor, Follower
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_node import CHAIN_ID, CONTRACT, ScriptedNode

IDENTITY = Identity(CHAIN_ID, CONTRACT)


def _filled(path: Path, *counts: int) -> ScriptedNode:
    """A chain, and a file of all of it."""
    node = ScriptedNode()
    node.grow(*(node.appoint(count) for count in counts))
    Follower(node.ledger(), EntryLog(path)).refresh()
    return node


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.lists(st.integers(0, 2), min_size=1, max_size=90)),
        st.tuples(st.just("reorganise"), st.integers(1, 30), st.integers(0, 2)),
        st.tuples(st.just("refresh")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("tear"), st.integers(1, 5_000)),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_after_any_restarts_and_reorganisations_everything_is_there_once(tmp_path: Path, steps: list[Any]) -> None:
    """Also where the last lines were lost, or one of them half."""
    path = tmp_path / "entries.jsonl"
    path.unlink(missing_ok=True)
    node = ScriptedNode()
    follower = Follower(node.ledger(), EntryLog(path))
    for step in steps:
        match step:
            case ("grow", counts):
                node.grow(*(node.appoint(count) for count in counts))
            case ("reorganise", depth, events):
                depth = min(depth, len(node.blocks) - 2)
                node.drop(depth)
                node.grow(*(node.appoint(events) for _ in range(max(1, depth))))
            case ("tear", lost):
                data = path.read_bytes()
                path.write_bytes(data[: max(data.index(b"\n") + 1, len(data) - lost)])
                follower = Follower(node.ledger(), EntryLog(path))
            case ("restart",):
                follower = Follower(node.ledger(), EntryLog(path))
            case _:
                follower.refresh()
                assert [entry.event for entry in follower.entries] == node.truth
    again = Follower(node.ledger(), EntryLog(path))
    again.refresh()
    fresh = Follower(node.ledger())
    fresh.refresh()
    assert again.entries == fresh.entries
    assert again.view.coordinators == fresh.view.coordinators
    assert [entry.event for entry in fresh.entries] == node.truth


def test_a_second_process_reads_nothing_twice(tmp_path: Path) -> None:
    """It knows the entries before it has asked for one, and asks for a block only to see that it is still there."""
    node = _filled(tmp_path / "entries.jsonl", *range(40))
    node.asked.clear()
    follower = Follower(node.ledger(), EntryLog(tmp_path / "entries.jsonl"))
    assert [entry.event for entry in follower.entries] == node.truth
    follower.refresh()
    assert node.asked == ["eth_chainId", "eth_getCode", "eth_getBlockByNumber"]


def test_blocks_without_entries_do_not_make_the_file_grow(tmp_path: Path) -> None:
    """A chain has a block every few seconds, for weeks."""
    path = tmp_path / "entries.jsonl"
    node = _filled(path, 1)
    follower = Follower(node.ledger(), EntryLog(path))
    follower.refresh()
    before = path.stat().st_size
    for _ in range(640):
        node.grow(())
        follower.refresh()
    lines = path.read_bytes()[before:].splitlines()
    assert len(lines) == 10
    again = Follower(node.ledger(), EntryLog(path))
    node.asked.clear()
    node.drop(100)
    node.grow(*(() for _ in range(105)))
    again.refresh()
    assert again._cursor.next == len(node.blocks)
    assert node.asked.count("eth_getLogs") <= 2


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (0, lambda value: {**value, "chain_id": 8}),
        (0, lambda value: {**value, "contract": "0x" + "ee" * 20}),
        (0, lambda value: {**value, "format": "fedpact-entries/1"}),
        (0, lambda value: [value]),
        (1, lambda value: {**value, "block": -1}),
        (1, lambda value: {**value, "block": 90}),
        (1, lambda value: {**value, "position": "0"}),
        (1, lambda value: {**value, "transaction": "11"}),
        (1, lambda value: {**value, "transaction": None}),
        (1, lambda value: {**value, "words": ""}),
        (1, lambda value: {**value, "words": value["words"][:-2]}),
        (1, lambda value: {**value, "words": "ff" + value["words"][2:]}),
        (2, lambda value: {**value, "time": 5}),
        (-1, lambda value: {**value, "next": "7"}),
        (-1, lambda value: {**value, "next": 1}),
        (-1, lambda value: {**value, "since": None}),
        (-1, lambda value: {**value, "marks": 7}),
        (-1, lambda value: {**value, "marks": [[1, "0x11"]]}),
        (-1, lambda value: {**value, "marks": [["1", "0x" + "11" * 32]]}),
        (-1, lambda value: {**value, "marks": value["marks"][::-1]}),
        (-1, lambda value: {**value, "marks": [[7, None]]}),
    ],
)
def test_a_file_that_is_wrong_is_a_warning_and_the_ledger_is_read_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: int, change: Any
) -> None:
    """And the next process has a good one."""
    path = tmp_path / "entries.jsonl"
    node = _filled(path, 1, 2, 3)
    lines = path.read_bytes().splitlines()
    lines[line] = json.dumps(change(json.loads(lines[line])), sort_keys=True, separators=(",", ":")).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    follower = Follower(node.ledger(), EntryLog(path))
    follower.refresh()
    assert [entry.event for entry in follower.entries] == node.truth
    (warning,) = _warnings(caplog)
    assert warning.startswith(f"{path} is not used, the ledger is read anew: ")
    assert "\n" not in warning
    assert EntryLog(path).recall(IDENTITY)[0] == follower.entries


@pytest.mark.parametrize("data", [b"", b"\n", b"{", b"\xff\xfe\n", b"[" * 60_000 + b"\n", b"x" * 200_000, b"null\n"])
def test_a_file_that_is_something_else_is_no_obstacle(tmp_path: Path, data: bytes) -> None:
    """However it begins."""
    path = tmp_path / "entries.jsonl"
    path.write_bytes(data)
    assert EntryLog(path).recall(IDENTITY) == ([], Cursor())
    node = ScriptedNode()
    follower = Follower(node.ledger(), EntryLog(path))
    follower.refresh()
    assert EntryLog(path).recall(IDENTITY)[0] == follower.entries


def test_entries_that_contradict_one_another_are_read_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file can be well-formed and wrong: here the founding is missing."""
    path = tmp_path / "entries.jsonl"
    node = _filled(path, 1, 1)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], *lines[2:]]) + b"\n")
    follower = Follower(node.ledger(), EntryLog(path))
    assert follower.entries == []
    follower.refresh()
    assert [entry.event for entry in follower.entries] == node.truth
    assert "an entry before or after the founding" in _warnings(caplog)[0]
    assert EntryLog(path).recall(IDENTITY)[0] == follower.entries


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a cache: without it everything works, and takes longer."""
    node = ScriptedNode()
    node.grow(node.appoint())
    follower = Follower(node.ledger(), EntryLog(tmp_path / "absent" / "entries.jsonl"))
    for _ in range(3):
        node.grow(node.appoint())
        follower.refresh()
    assert [entry.event for entry in follower.entries] == node.truth
    assert _warnings(caplog) == [
        f"{tmp_path}/absent/entries.jsonl: what is read of the ledger is not kept: No such file or directory"
    ]


def test_an_entry_that_a_node_withheld_is_not_missing_for_ever(tmp_path: Path) -> None:
    """What follows contradicts; the next refresh reads everything anew, and what was kept is replaced."""
    path = tmp_path / "entries.jsonl"
    node = ScriptedNode()
    founding, node.blocks[1].events = node.blocks[1].events, ()
    follower = Follower(node.ledger(), EntryLog(path))
    follower.refresh()
    node.grow(*(() for _ in range(30)), node.appoint())
    with pytest.raises(RecordInconsistent, match="an entry before or after the founding"):
        follower.refresh()
    node.blocks[1].events = founding
    follower.refresh()
    assert [entry.event for entry in follower.entries] == node.truth
    assert EntryLog(path).recall(IDENTITY)[0] == follower.entries


def test_another_federation_does_not_use_the_file(tmp_path: Path) -> None:
    """Nor its entries."""
    path = tmp_path / "entries.jsonl"
    _filled(path, 1)
    assert EntryLog(path).recall(Identity(CHAIN_ID, Address("0x" + "ab" * 20))) == ([], Cursor())
