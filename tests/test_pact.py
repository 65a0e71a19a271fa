"""The contract's rules in Python, where the contract would be slow: limits, replay, the record file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from chains import CHARTER, COORDINATOR, GENESIS, LIMITS, MEMBERS, OWNER, START
from fedpact.errors import RecordDamaged, RecordInconsistent
from fedpact.ledger import pact, record, rejections
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish, Remove, Submit
from fedpact.ledger.events import Entry, MemberAdmitted, RoundOpened, RoundPublished, UpdateSubmitted
from fedpact.ledger.facts import LAST_ROUND, Hash, Identity, Terms, Update, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.ledger.record import Record
from fedpact.ledger.view import View
from fedpact.store.cid import Cid

IDENTITY = Identity(1, address("0x" + "11" * 20))


@pytest.fixture
def ledger() -> MemoryLedger:
    """A federation in memory with two published rounds and a third that is open."""
    ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=IDENTITY, now=START)
    ledger.send(OWNER, Admit(tuple(MEMBERS)))
    ledger.send(OWNER, Appoint(COORDINATOR))
    ledger.send(COORDINATOR, OpenRound(1, _terms(ledger)))
    for number in (1, 2):
        for member in MEMBERS:
            ledger.send(member, Submit(number, Update(Cid.of(f"{number}{member}".encode()), 144, -5, 2680)))
        transcript = ledger.view.rounds[number].transcript
        model, manifest = Cid.of(b"model %d" % number), Cid.of(b"manifest %d" % number)
        ledger.send(COORDINATOR, Publish(number, transcript, model, manifest, _terms(ledger)))
    return ledger


def _terms(ledger: MemoryLedger) -> Terms:
    return Terms(0, 0, ledger.now() + 100, ledger.now() + 200, 2)


def _replayed(entries: Sequence[Entry]) -> View:
    view = View(IDENTITY)
    for entry in entries:
        pact.replay(view, entry)
    return view


def test_a_federation_has_at_most_65_535_members() -> None:
    """One more is refused, whether it comes alone or with others."""
    ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=IDENTITY, now=START)
    crowd = tuple(address(f"0x{number:040x}") for number in range(1, 0xFFFF + 2))
    with pytest.raises(rejections.FederationFull):
        ledger.send(OWNER, Admit(crowd))
    ledger.send(OWNER, Admit(crowd[:-1]))
    with pytest.raises(rejections.FederationFull, match="at most 65535 members, not 65536"):
        ledger.send(OWNER, Admit(crowd[-1:]))
    ledger.send(OWNER, Remove(crowd[0]))
    ledger.send(OWNER, Admit(crowd[-1:]))


def test_round_numbers_end_in_a_refusal(ledger: MemoryLedger) -> None:
    """After the last number no round is opened, instead of one that means something else."""
    ledger.view.open_round.status = type(ledger.view.open_round.status).CANCELLED  # type: ignore[union-attr]  # It is open.
    ledger.view.number = LAST_ROUND
    with pytest.raises(rejections.WrongRound):
        ledger.send(COORDINATOR, OpenRound(LAST_ROUND + 1, _terms(ledger)))


def test_an_untouched_record_replays(ledger: MemoryLedger) -> None:
    """What the rules wrote, they would have written."""
    entries = ledger.read(Cursor()).entries
    assert _replayed(entries).head == ledger.view.head


def test_no_entry_but_the_last_can_be_left_out(ledger: MemoryLedger) -> None:
    """A record without one of its entries contradicts itself."""
    entries = list(ledger.read(Cursor()).entries)
    for index in range(len(entries) - 1):
        with pytest.raises(RecordInconsistent):
            _replayed(entries[:index] + entries[index + 1 :])


def test_entries_cannot_change_places(ledger: MemoryLedger) -> None:
    """A record with two neighbouring submissions swapped does not lead to the published head."""
    entries = list(ledger.read(Cursor()).entries)
    first = next(index for index, entry in enumerate(entries) if isinstance(entry.event, RoundOpened))
    for index in range(first + 1, len(entries)):
        swapped = [*entries[: index - 1], entries[index], entries[index - 1], *entries[index + 1 :]]
        with pytest.raises(RecordInconsistent):
            _replayed(swapped)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (UpdateSubmitted, {"update": Update(Cid.of(b"forged"), 144, -5, 2680)}),
        (UpdateSubmitted, {"member": OWNER}),
        (RoundPublished, {"model": Cid.of(b"forged")}),
        (RoundPublished, {"manifest": Cid.of(b"forged")}),
        (RoundPublished, {"head": Hash(bytes(32))}),
        (RoundPublished, {"coordinator": OWNER}),
        (RoundOpened, {"base": CHARTER}),
        (RoundOpened, {"expected": 3}),
        (MemberAdmitted, {"index": 7}),
        (MemberAdmitted, {"since": 2}),
    ],
)
def test_no_field_can_be_altered(ledger: MemoryLedger, kind: type, change: dict[str, object]) -> None:
    """A record in which one value is another contradicts itself."""
    entries = list(ledger.read(Cursor()).entries)
    index = next(index for index, entry in enumerate(entries) if isinstance(entry.event, kind))
    entries[index] = replace(entries[index], event=replace(entries[index].event, **change))
    with pytest.raises(RecordInconsistent):
        _replayed(entries)


def test_a_submission_outside_its_phase_is_no_record(ledger: MemoryLedger) -> None:
    """An entry with a time at which the contract refuses it is found."""
    entries = list(ledger.read(Cursor()).entries)
    index = next(index for index, entry in enumerate(entries) if isinstance(entry.event, UpdateSubmitted))
    entries[index] = replace(entries[index], time=entries[index].time + 10_000)
    with pytest.raises(RecordInconsistent, match=r"the contract refuses it: phase: expected submission"):
        _replayed(entries)


def test_a_record_is_read_as_it_was_written(ledger: MemoryLedger, tmp_path: Path) -> None:
    """Entries survive the file, every field of them."""
    written = Record(IDENTITY, "memory", tuple(ledger.read(Cursor()).entries))
    record.write(tmp_path / "ledger.jsonl", written)
    assert record.read(tmp_path / "ledger.jsonl") == written
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.jsonl"]


def _lines(ledger: MemoryLedger, path: Path) -> list[str]:
    record.write(path, Record(IDENTITY, "memory", tuple(ledger.read(Cursor()).entries)))
    return path.read_text("utf-8").splitlines()


@pytest.mark.parametrize("line", [0, 1, 5, -2, -1])
def test_a_line_that_is_missing_or_repeated_is_noticed(ledger: MemoryLedger, tmp_path: Path, line: int) -> None:
    """Also the first and the last."""
    path = tmp_path / "ledger.jsonl"
    lines = _lines(ledger, path)
    for changed in (lines[:line] + lines[line:][1:], [*lines[:line], lines[line], *lines[line:]]):
        path.write_text("\n".join(changed) + "\n", "utf-8")
        with pytest.raises((RecordDamaged, RecordInconsistent)):
            record.read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block", -1),
        ("block", "1"),
        ("event", "Nothing"),
        ("event", 3),
        ("fields", {}),
        ("fields", []),
        ("transaction", "0x12"),
        ("transaction", "zz" * 33),
        ("time", None),
        ("entry", 2),
    ],
)
def test_a_damaged_line_is_named(ledger: MemoryLedger, tmp_path: Path, field: str, value: object) -> None:
    """The error says which line, and is an error of this package."""
    path = tmp_path / "ledger.jsonl"
    lines = _lines(ledger, path)
    changed = json.loads(lines[4])
    changed[field] = value
    lines[4] = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.raises((RecordDamaged, RecordInconsistent), match="line 5"):
        record.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{}\n", b"[1]\n", b"[" * 100_000, b'{"format":"fedpact-ledger/1"}\n']
)
def test_a_file_that_is_no_record_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Whatever it holds, reading it ends in one error."""
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(content)
    with pytest.raises((RecordDamaged, RecordInconsistent)):
        record.read(path)
