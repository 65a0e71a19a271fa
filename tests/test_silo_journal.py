"""What a silo remembers: whole lines or nothing, whatever happened to the process, the disk or the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import InputError, StoreError
from fedpact.ledger.facts import Hash, Update
from fedpact.ledger.port import Receipt
from fedpact.store import Cid
from fedpact_client.journal import Journal, Remembered
from hypothesis import given
from hypothesis import strategies as st

BASE, OTHER = Cid.of(b"base"), Cid.of(b"other")
UPDATE = Update(Cid.of(b"update"), 10, -5, 2680)
RECEIPT = Receipt(7, Hash(b"\xab" * 32), 40_600, (), 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "rounds.jsonl"


def filled(path: Path | None) -> Journal:
    """A journal with an entry of each kind."""
    journal = Journal(path)
    journal.failed(1, "round 1: trainer: ValueError: no data")
    journal.trained(1, BASE, UPDATE)
    journal.sent(1, RECEIPT)
    journal.verified(1, OTHER, "differs", "model: …")
    journal.failed(2, "x" * 5000)
    return journal


def test_a_restart_remembers_everything(path: Path) -> None:
    """What was written is what is read; and without a file the same is kept in memory."""
    before = filled(path).rounds
    assert Journal(path).rounds == before == filled(None).rounds
    assert before[1] == Remembered(BASE, UPDATE, "0x" + "ab" * 32, 40_600, "", "differs", "model: …", OTHER)
    assert before[2] == Remembered(failure="x" * 1000)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_update_is_of_its_round_and_base(path: Path) -> None:
    """After a rewind the same round's number never comes again, but its base may be another than was thought."""
    journal = filled(path)
    assert journal.update(1, BASE) == UPDATE
    assert journal.update(1, OTHER) is None
    assert journal.update(3, BASE) is None
    journal.trained(1, OTHER, UPDATE)
    assert Journal(path).update(1, BASE) is None
    assert Journal(path).update(1, OTHER) == UPDATE


def test_a_verdict_is_of_its_model(path: Path) -> None:
    """Of another model nothing is known."""
    journal = filled(path)
    assert (journal.verdict(1, OTHER), journal.verdict(1, BASE), journal.verdict(2, OTHER)) == ("differs", "", "")


def test_a_failure_is_written_once_and_forgotten_when_it_is_over(path: Path) -> None:
    """A trainer that fails every half minute does not fill the disk."""
    journal = Journal(path)
    for _ in range(3):
        journal.failed(1, "no data")
    assert path.read_bytes().count(b"\n") == 1
    journal.failed(1, "no memory")
    assert journal.rounds[1].failure == "no memory"
    journal.trained(1, BASE, UPDATE)
    assert Journal(path).rounds[1].failure == ""


# ---------------------------------------------------------------------------------------------------------- half lines


@pytest.mark.parametrize("end", range(1, 60, 7))
def test_a_line_that_was_never_finished_is_passed_over_and_cut_off(path: Path, end: int) -> None:
    """Its process was killed: nothing was built on it. Reading alone changes nothing."""
    journal = filled(path)
    whole = path.read_bytes()
    journal.trained(3, BASE, UPDATE)
    torn = path.read_bytes()[: len(whole) + end]
    path.write_bytes(torn)
    again = Journal(path)
    assert 3 not in again.rounds
    assert path.read_bytes() == torn
    again.verified(4, BASE, "reproduced", "")
    assert path.read_bytes().startswith(whole + b'{"detail":"","entry":"verified"')
    assert Journal(path).rounds.keys() == {1, 2, 4}


def test_a_torn_first_line_is_an_empty_journal(path: Path) -> None:
    """As if it had never been."""
    path.write_bytes(b'{"base":"ba')
    journal = Journal(path)
    assert journal.rounds == {}
    journal.failed(1, "x")
    assert Journal(path).rounds.keys() == {1}


@pytest.mark.parametrize("where", ["open", "write", "half a write", "sync"])
def test_a_full_disk_is_an_error_and_damages_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """What was there is there, what failed is not remembered, and once there is room it goes on."""
    journal = filled(path)

    def no_space(*_: object, **__: object) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if where == "half a write":
            real = os.pwrite
            patch.setattr(os, "pwrite", lambda descriptor, data, at: real(descriptor, data[: len(data) // 2], at))
        else:
            patch.setattr(os, {"open": "open", "write": "pwrite", "sync": "fsync"}[where], no_space)
        with pytest.raises(StoreError, match=f"^journal {path}: No space left on device$"):
            journal.trained(3, BASE, UPDATE)
    assert 3 not in journal.rounds
    assert Journal(path).rounds.keys() >= {1, 2}
    journal.trained(4, BASE, UPDATE)
    assert Journal(path).rounds == journal.rounds
    assert journal.rounds.keys() == {1, 2, 4}


def test_a_file_that_was_taken_away_begins_anew(path: Path) -> None:
    """It is not filled up with zeros."""
    journal = filled(path)
    path.unlink()
    journal.verified(4, BASE, "reproduced", "")
    assert Journal(path).rounds.keys() == {4}


@given(st.lists(st.tuples(st.integers(1, 3), st.text(max_size=1100)), max_size=8), st.integers(0, 4000))
def test_whatever_is_left_of_it_can_be_read(tmp_path_factory: pytest.TempPathFactory, lines: Any, size: int) -> None:
    """Cut anywhere, it holds the lines before the cut, and goes on from there."""
    path = tmp_path_factory.mktemp("journal") / "rounds.jsonl"
    journal = Journal(path)
    for number, why in lines:
        journal.failed(number, why)
    data = path.read_bytes() if path.exists() else b""
    path.write_bytes(data[:size])
    again = Journal(path)
    again.trained(9, BASE, UPDATE)
    assert path.read_bytes().startswith(data[: data[:size].rfind(b"\n") + 1])
    assert Journal(path).rounds == again.rounds


# ------------------------------------------------------------------------------------------------------- damaged files

GOOD = b'{"entry":"failed","round":1,"why":"x"}'
DAMAGED = {
    "no JSON": (b"x", "line 2: a line: "),
    "nothing": (b"", "line 2: a line: "),
    "a list": (b"[]", "line 2: "),
    "no entry": (b'{"round":1}', "line 2: "),
    "another entry": (b'{"entry":"other","round":1}', "line 2: "),
    "no round": (b'{"entry":"failed","why":"x"}', "line 2: failed.round: expected a value, found nothing"),
    "a round as text": (b'{"entry":"failed","round":"1","why":"x"}', "line 2: failed.round: expected a whole number"),
    "round 0": (
        b'{"entry":"failed","round":0,"why":"x"}',
        "line 2: failed.round: expected at least 1, found the number 0",
    ),
    "one key too many": (b'{"entry":"failed","more":1,"round":1,"why":"x"}', "line 2: failed.more: "),
    "not canonical": (b'{"entry": "failed","round":1,"why":"x"}', "line 2: a line: "),
    "no address": (b'{"detail":"","entry":"verified","model":"baf","round":1,"verdict":""}', "line 2: "),
    "samples out of range": (
        b'{"base":"%s","entry":"trained","round":1,"samples":-1,"score":0,"size":1,"update":"%s"}'
        % (str(BASE).encode(), str(BASE).encode()),
        "line 2: samples: ",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_line_is_named(path: Path, kind: str) -> None:
    """A file that somebody edited, or a disk that forgets: its owner decides."""
    line, said = DAMAGED[kind]
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        Journal(path)
    assert str(caught.value).startswith(f"journal {path}: {said}")
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("what", ["a directory", "a file above", "not readable"])
def test_what_is_no_file_is_one_line(path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is waited for."""
    if what == "a directory":
        path.mkdir()
    elif what == "a file above":
        path.write_bytes(b"")
        path = path / "below"
    else:
        path.write_bytes(b"")

        def refuse(_: Path) -> bytes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(Path, "read_bytes", refuse)
    if what == "a file above":
        with pytest.raises(StoreError, match=f"^journal {path}: Not a directory$"):
            Journal(path).failed(1, "x")
        return
    with pytest.raises(InputError, match=f"^journal {path}: "):
        Journal(path)
