"""Audits that are cut off and go on: what is kept, and what is never believed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fedpact.artifacts import canonical
from fedpact.audit import Audit, Scope, audit, progress
from fedpact.audit.progress import FORMAT, ProgressFile, place
from fedpact.errors import InputError, StoreError
from fedpact.ledger.facts import Identity
from fedpact.ledger.port import Cursor
from histories import History, ten_rounds
from runs import FEDPACT, fedpact

PUBLISHED = [1, 2, 3, 5, 6, 7, 8, 9, 10]
FIRST_LINE = b'{"format":"fedpact-audit-progress/1"}\n'


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Nine published rounds, of which the sixth excludes an update."""
    return ten_rounds(tmp_path / "run")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where progress is kept."""
    return tmp_path / "progress.jsonl"


def _audit(history: History, file: Path, **options: Any) -> Audit:
    """An audit that keeps its progress."""
    entries = history.ledger.read(Cursor()).entries
    memory = ProgressFile(file)
    try:
        return audit(history.ledger.identity, entries, history.blocks, memory=memory, **options)
    finally:
        memory.close()


def _derived(found: Audit) -> list[int]:
    """The rounds that it did not take from the file."""
    return [each.number for each in found.rounds if not each.remembered]


def _damage(history: History, cid: object, data: bytes | None = None) -> bytes:
    """Takes a block away, or puts other bytes in its place; returns what was there."""
    (path,) = history.directory.glob(f"store/blocks/*/{cid}")
    before = path.read_bytes()
    path.unlink() if data is None else path.write_bytes(data)
    return before


# ------------------------------------------------------------------------------------------------------- what is kept


def test_what_was_reproduced_is_not_derived_again(history: History, file: Path) -> None:
    """The second audit says the same of every round, and that it took it from the file."""
    first = _audit(history, file)
    second = _audit(history, file)
    assert (_derived(first), _derived(second)) == (PUBLISHED, [])
    assert [replace(each, remembered=False) for each in second.rounds] == first.rounds
    assert second.rounds[4].rejected == [3]
    assert (second.exit_code, second.remembered) == (0, 9)


def test_an_audit_says_what_it_did_not_derive_itself(history: History, file: Path) -> None:
    """In its verdict, its table and its JSON."""
    assert "earlier audit" not in fedpact("audit", history.directory, "--resume", file).stdout
    shown = fedpact("audit", history.directory, "--resume", file)
    assert "9 of 9 models reproduced bit for bit; 9 of them by an earlier audit, not derived again" in shown.stdout
    assert shown.stdout.count("reproduced before") == 9
    said = json.loads(fedpact("audit", history.directory, "--resume", file, "--json").stdout)
    assert (said["remembered"], said["asked"], said["reproduced"]) == (9, 9, 9)


def test_parts_add_up(history: History, file: Path) -> None:
    """Several audits of some rounds each are one of all."""
    assert _derived(_audit(history, file, scope=Scope(2, 5))) == [2, 3, 5]
    assert _derived(_audit(history, file, scope=Scope(3, 7), jobs=3)) == [6, 7]
    assert _derived(_audit(history, file)) == [1, 8, 9, 10]
    assert len(file.read_bytes().splitlines()) == 10


@pytest.mark.parametrize("damage", ["differs", "unchecked"])
def test_only_what_was_reproduced_is_kept(history: History, file: Path, damage: str) -> None:
    """A round that differed, or could not be checked, is looked at again, and then kept."""
    manifest = history.view.rounds[3].manifest
    before = _damage(history, manifest, b"{}" if damage == "differs" else None)
    assert _audit(history, file).exit_code == {"differs": 1, "unchecked": 2}[damage]
    again = _audit(history, file)
    assert (again.exit_code, _derived(again)) == ({"differs": 1, "unchecked": 2}[damage], [3])
    history.blocks.put(manifest, before)  # type: ignore[arg-type]  # It was published.
    assert (_audit(history, file).exit_code, _audit(history, file).remembered) == (0, 9)


def test_the_record_is_checked_although_all_rounds_are_kept(history: History, file: Path) -> None:
    """A file can spare the auditor rounds, not the record."""
    _audit(history, file)
    _damage(history, history.view.genesis)
    assert _audit(history, file).exit_code == 2


def test_every_round_is_kept_before_the_next_one_is_done(history: History, file: Path) -> None:
    """Whenever it is cut off, no finished round is lost."""
    lines = []

    def look(done: int, total: int) -> None:
        lines.append(len(file.read_bytes().splitlines()) - 1 if file.exists() else 0)

    _audit(history, file, progress=look)
    assert lines == list(range(10))


# ------------------------------------------------------------------------------------------------- what is not believed


def test_another_federation_is_another_place(tmp_path: Path, history: History, file: Path) -> None:
    """The same rounds on another chain are derived again; the file keeps both."""
    _audit(history, file)
    other = ten_rounds(tmp_path / "other", identity=Identity(1, history.ledger.identity.contract))
    assert _derived(_audit(other, file)) == PUBLISHED
    assert _derived(_audit(history, file)) == _derived(_audit(other, file)) == []


def test_another_version_derives_again(history: History, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older fedpact reproduced, a newer one might not."""
    _audit(history, file)
    monkeypatch.setattr(progress, "fedpact_version", lambda: "0.0.9")
    assert _derived(_audit(history, file)) == PUBLISHED


def test_every_fact_of_a_round_counts(history: History) -> None:
    """Change one, and the line is of another place; the order of the submissions and their indexes count too."""
    identity, current = history.ledger.identity, history.view.rounds[6]
    first, *rest = current.submissions
    other = history.view.rounds[5]
    changed = [
        replace(current, number=current.number + 1),
        *(replace(current, **{name: getattr(other, name)}) for name in ("transcript", "head", "manifest", "model")),
        replace(current, charter=other.base),
        replace(current, base=other.charter),
        replace(current, terms=replace(current.terms, quorum=3)),
        replace(current, submissions=[*rest, first]),
        replace(current, submissions=[replace(first, index=4), *rest]),
        replace(current, submissions=[replace(first, member=rest[0].member), *rest]),
        *(
            replace(current, submissions=[replace(first, update=replace(first.update, **change)), *rest])
            for change in ({"cid": current.base}, {"samples": 1}, {"score": 1}, {"size": 1})
        ),
    ]
    assert len({place(identity, each) for each in (current, *changed)}) == len(changed) + 1
    assert place(replace(identity, chain_id=2), current) != place(identity, current)
    assert place(identity, current) == place(identity, replace(current))


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_a_line_that_was_cut_off_does_not_count(history: History, file: Path, cut: int) -> None:
    """Its round is derived again, and the file is whole afterwards."""
    _audit(history, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    lost = 1 if cut < 150 else 2
    assert _derived(_audit(history, file)) == PUBLISHED[-lost:]
    assert file.read_bytes() == whole
    assert _derived(_audit(history, file)) == []


@pytest.mark.parametrize("left", range(len(FIRST_LINE) + 1))
def test_a_file_that_was_cut_off_in_its_first_line_is_begun_anew(history: History, file: Path, left: int) -> None:
    """An empty file too."""
    file.write_bytes(FIRST_LINE[:left])
    assert _derived(_audit(history, file, scope=Scope(9))) == [9, 10]
    assert _derived(_audit(history, file, scope=Scope(9))) == []


def _line(history: History, number: int = 2, **changes: Any) -> bytes:
    """A line that says that a round was reproduced; None takes a field out."""
    value = {
        "asserted": [],
        "included": 3,
        "place": place(history.ledger.identity, history.view.rounds[number]),
        "present": [],
        "rejected": [],
        "round": number,
    } | changes
    return canonical.encode({key: each for key, each in value.items() if each is not None}) + b"\n"


def test_the_line_that_the_tests_below_damage_is_a_good_one(history: History, file: Path) -> None:
    """It spares one round."""
    file.write_bytes(FIRST_LINE + _line(history))
    assert 2 not in _derived(_audit(history, file))


@pytest.mark.parametrize("changes", [{"round": 3}, {"place": "0" * 64}], ids=["another round", "another place"])
def test_a_line_of_another_place_spares_nothing(history: History, file: Path, changes: dict[str, Any]) -> None:
    """It is well formed, and passed over."""
    file.write_bytes(FIRST_LINE + _line(history, **changes))
    assert _derived(_audit(history, file)) == PUBLISHED


HOSTILE: dict[str, Callable[[History], bytes]] = {
    "something else": lambda history: b"precious notes\n",
    "a ledger": lambda history: (history.directory / "ledger.jsonl").read_bytes(),
    "another format": lambda history: FIRST_LINE.replace(b"/1", b"/2") + _line(history),
    "no first line": _line,
    "a first line with white space": lambda history: b" " + FIRST_LINE + _line(history),
    "no line end but more text": lambda history: FIRST_LINE[:-1] + b" " * 100,
    "a line that is no JSON": lambda history: FIRST_LINE + b"x\n" + _line(history),
    "an empty line": lambda history: FIRST_LINE + b"\n",
    "a line that is a list": lambda history: FIRST_LINE + b"[]\n",
    "white space in a line": lambda history: FIRST_LINE + b" " + _line(history),
    "deep JSON": lambda history: FIRST_LINE + b"[" * 200_000 + b"\n",
    "a line without an end": lambda history: FIRST_LINE + b'"' + b"x" * (3 << 20),
    "two lines in one": lambda history: FIRST_LINE + _line(history)[:-1] + _line(history),
    "a field too many": lambda history: FIRST_LINE + _line(history, model="x"),
    "a key twice": lambda history: FIRST_LINE + _line(history).replace(b"{", b'{"asserted":[],', 1),
    "no place": lambda history: FIRST_LINE + _line(history, place=None),
    "a place that is none": lambda history: FIRST_LINE + _line(history, place="z" * 64),
    "a place with a line end": lambda history: FIRST_LINE + _line(history, place="0" * 64 + "\n"),
    "a round that is none": lambda history: FIRST_LINE + _line(history, round=0),
    "too many updates": lambda history: FIRST_LINE + _line(history, included=1 << 16),
    "a truth value": lambda history: FIRST_LINE + _line(history).replace(b'"included":3', b'"included":true'),
    "an index that is none": lambda history: FIRST_LINE + _line(history, rejected=[0]),
    "indexes that are text": lambda history: FIRST_LINE + _line(history, present=["\x1b[2J"] * 100_000),
    "what a terminal would obey": lambda history: FIRST_LINE + _line(history, **{"\x1b[2J": 1, "place": "\x1b[2J"}),
    "zeros": lambda history: bytes(1 << 16),
    "zeros after the first line": lambda history: FIRST_LINE + bytes(1 << 16) + b"\n",
    "a number of many digits": lambda history: FIRST_LINE + b'{"round":' + b"9" * 100_000 + b"}\n",
}


@pytest.mark.parametrize("what", list(HOSTILE))
def test_a_file_that_is_something_else_is_refused(history: History, file: Path, what: str) -> None:
    """One line, exit code 2, and the file is what it was."""
    data = HOSTILE[what](history)
    file.write_bytes(data)
    with pytest.raises(InputError) as caught:
        _audit(history, file)
    assert str(caught.value).startswith(f"resume {file}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert file.read_bytes() == data


def test_a_huge_file_is_refused_at_once(history: History, file: Path) -> None:
    """A terabyte of nothing is not read, with the right first line or without."""
    for first in (b"", FIRST_LINE):
        file.write_bytes(first)
        os.truncate(file, 1 << 40)
        started = time.monotonic()
        with pytest.raises(InputError, match="expected at most 1073741824 bytes"):
            _audit(history, file)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pipe", "found something that is no file"),
        ("directory", "Is a directory"),
        ("link", "a link that leads nowhere"),
        ("none/progress", "no directory"),
        ("notes/progress", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("/dev/null", "found something that is no file"),
    ],
)
def test_a_place_where_no_file_can_be_is_refused_at_once(
    history: History, tmp_path: Path, name: str, says: str
) -> None:
    """Before a round is derived, and nothing is waited for or made."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes").write_text("precious")
    before = sorted(tmp_path.iterdir())
    seen: list[int] = []
    with pytest.raises(InputError, match=says):
        _audit(history, tmp_path / name, progress=lambda done, total: seen.append(done))
    assert (seen, sorted(tmp_path.iterdir())) == ([], before)


def test_a_file_in_the_audited_directory_is_refused(history: History, tmp_path: Path) -> None:
    """Whoever handed the directory over may have put it there; a link from elsewhere does not help."""
    (history.directory / "progress").write_bytes(FIRST_LINE)
    (tmp_path / "inside").symlink_to(history.directory / "progress")
    for path in ("run/progress", "run/store/new", "inside"):
        done = fedpact("audit", history.directory, "--resume", tmp_path / path, timeout=60)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), (path, done.stderr)
        assert "expected a file outside" in done.stderr
    assert (history.directory / "progress").read_bytes() == FIRST_LINE


def test_what_is_not_ours_is_refused_by_the_command_in_one_line(history: History, file: Path) -> None:
    """With exit code 2, and it is left as it is."""
    file.write_text("precious")
    done = fedpact("audit", history.directory, "--resume", file)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert f"in format {FORMAT}; found another" in done.stderr
    assert file.read_text() == "precious"


def test_bad_input_makes_no_file(history: History, file: Path) -> None:
    """Neither does an audit that reproduces nothing."""
    assert fedpact("audit", history.directory, "--resume", file, "--from", "99").returncode == 2
    assert not file.exists()
    shutil.rmtree(history.directory / "store")
    assert fedpact("audit", history.directory, "--resume", file).returncode == 2
    assert not file.exists()


def test_two_audits_cannot_have_one_file(history: History, file: Path) -> None:
    """The second is refused, and the first goes on."""
    _audit(history, file, scope=Scope(1, 2))
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = fedpact("audit", history.directory, "--resume", file)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "another audit is writing to it" in done.stderr
    assert fedpact("audit", history.directory, "--resume", file).returncode == 0


def test_a_file_that_appears_meanwhile_is_not_written_to(history: History, file: Path) -> None:
    """Somebody else's file is somebody else's, whenever it came."""
    with pytest.raises(StoreError, match="File exists"):
        _audit(history, file, progress=lambda done, total: done or file.write_text("precious"))
    assert file.read_text() == "precious"


def test_a_disk_that_takes_no_more_ends_in_one_line(history: History, file: Path) -> None:
    """What could not be kept ends the audit (exit code 2); what was kept before counts."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # noqa: E731  # Three lines and a half.
    command = [FEDPACT, "audit", str(history.directory), "--resume", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limit, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert "File too large" in done.stderr
    assert len(file.read_bytes()) == 500
    assert _derived(_audit(history, file)) == PUBLISHED[3:]


def test_an_error_of_the_disk_is_not_taken_for_success(
    history: History, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that could not be synced may not be there tomorrow."""

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreError, match="Input/output error"):
        _audit(history, file)


# ---------------------------------------------------------------------------------------------------------- interrupted


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A record whose audit takes seconds: sixty rounds with three updates of 2 MiB."""
    history = History(tmp_path_factory.mktemp("long") / "run", elements=1 << 19)
    for number in range(60):
        history.publish(10.0 + number % 4, 2.0, 3.0)
    history.save()
    return history


def _start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FEDPACT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=-1
    )


def _kept(file: Path) -> int:
    """Rounds that a file keeps."""
    return max(0, file.read_bytes().count(b"\n") - 1) if file.exists() else 0


def _has_read(process: subprocess.Popen[str]) -> int:
    """Bytes that a process has read so far; a whole audit of `long` reads 480 MiB."""
    return int(Path(f"/proc/{process.pid}/io").read_text().split()[1])


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.01)  # Polling another process; bounded above.


@pytest.mark.parametrize("jobs", ["1", "3"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_audit_goes_on_where_it_was(
    long: History, file: Path, jobs: str, number: signal.Signals
) -> None:
    """One line says how far it came and how to go on; the next audit derives the rest, and no more."""
    process = _start("audit", long.directory, "--resume", file, "--jobs", jobs, "--threads", "1")
    _wait_for(lambda: _kept(file) >= 3, process)
    process.send_signal(number)
    sent = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    assert (process.returncode, output, len(errors.splitlines())) == (128 + number, "", 1), errors
    kept = _kept(file)
    assert 3 <= kept < 60
    assert f"of 60 rounds; what was reproduced is in {file}: the same command goes on" in errors
    said = json.loads(fedpact("audit", long.directory, "--resume", file, "--to", "12", "--json").stdout)
    with_jobs = range(min(kept, 12) - 2, min(kept, 12) + 1)  # They need not be the first that were kept.
    assert (said["remembered"] in with_jobs, said["reproduced"], said["ok"]) == (True, 12, True)


def test_a_killed_audit_goes_on_where_it_was(long: History, file: Path) -> None:
    """Every line that is whole counts."""
    process = _start("audit", long.directory, "--resume", file, "--threads", "1")
    _wait_for(lambda: _kept(file) >= 3, process)
    process.kill()
    process.communicate(timeout=60)
    kept = _kept(file)
    said = json.loads(fedpact("audit", long.directory, "--resume", file, "--to", "12", "--json").stdout)
    assert said["remembered"] == min(kept, 12)


def test_an_interrupt_without_a_file_says_what_would_have_helped(long: History) -> None:
    """Nothing is kept, and nothing is left."""
    before = hashlib.sha256("".join(sorted(map(str, long.directory.rglob("*")))).encode()).digest()
    process = _start("audit", long.directory, "--jobs", "2")
    _wait_for(lambda: _has_read(process) > 150 << 20, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, len(errors.splitlines())) == (130, 1), errors
    assert "of 60 rounds; with --resume FILE the next audit would not start anew" in errors
    assert hashlib.sha256("".join(sorted(map(str, long.directory.rglob("*")))).encode()).digest() == before
