"""A part of the rounds, several at once, and what an audit shows meanwhile."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fedpact.audit import Audit, Scope, audit
from fedpact.errors import InputError
from fedpact.ledger import record
from fedpact.ledger.facts import LAST_ROUND
from fedpact.ledger.port import Cursor
from fedpact.store import DirectoryBlocks
from fedpact.workdir import audit_directory
from histories import History, ten_rounds
from runs import FEDPACT, fedpact

PUBLISHED = [1, 2, 3, 5, 6, 7, 8, 9, 10]


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Nine published rounds."""
    return ten_rounds(tmp_path / "run")


def _audited(history: History, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = fedpact("audit", history.directory, "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _break(history: History, number: int) -> None:
    """Takes away an update of a round, and a bit of its model."""
    current = history.view.rounds[number]
    manifest = current.manifest
    assert manifest is not None
    (path,) = history.directory.glob(f"store/blocks/*/{manifest}")
    path.write_bytes(b"{}")


# -------------------------------------------------------------------------------------------------------------- a range


@pytest.mark.parametrize(
    ("options", "derived"),
    [
        (("--from", "3", "--to", "5"), [3, 5]),
        (("--from", "9"), [9, 10]),
        (("--to", "2"), [1, 2]),
        (("--from", "8", "--to", "8"), [8]),
        (("--from", "7", "--to", "4294967293"), [7, 8, 9, 10]),
    ],
)
def test_only_the_rounds_asked_for_are_derived(history: History, options: tuple[str, ...], derived: list[int]) -> None:
    """Damage elsewhere does not show; the counts say how little was looked at."""
    for number in PUBLISHED:
        if number not in derived:
            _break(history, number)
    said = _audited(history, *options)
    assert (said["rounds"], said["asked"], said["reproduced"]) == (9, len(derived), len(derived))
    shown = fedpact("audit", history.directory, *options).stdout
    assert f"audit: ok: {len(derived)} of {len(derived)} models reproduced bit for bit" in shown
    assert f"{len(derived)} of 9 published rounds, the others were not derived" in shown
    assert shown.count("  reproduced") == len(derived)


def test_damage_within_the_range_shows(history: History) -> None:
    """With one round less in the range it does not."""
    _break(history, 6)
    said = _audited(history, "--from", "5", "--to", "6", code=1)
    assert (said["reproduced"], said["verdict"], [each["round"] for each in said["findings"]]) == (1, "differs", [6])
    assert _audited(history, "--from", "5", "--to", "5")["verdict"] == "reproduced"


def test_the_whole_record_is_checked_whatever_the_range(history: History) -> None:
    """A missing entry far from the range, a broken first model, another head: all are found."""
    head = history.head()
    assert _audited(history, "--from", "9", "--head", head)["anchored"]
    said = _audited(history, "--from", "9", "--head", "0x" + "1" * 64, code=1)
    assert said["findings"][0]["what"] == "head"
    (path,) = history.directory.glob(f"store/blocks/*/{history.view.genesis}")
    path.write_bytes(b"")
    assert [each["what"] for each in _audited(history, "--from", "9", code=1)["findings"]] == ["genesis"]


def test_a_broken_record_is_a_finding_even_where_the_range_is_beyond_the_break(history: History) -> None:
    """That the rounds asked for are not there is the least of what is wrong."""
    read = record.read(history.directory / "ledger.jsonl")
    entries = (*read.entries[:7], *read.entries[8:])
    record.write(history.directory / "ledger.jsonl", record.Record(read.identity, read.kind, entries))
    said = _audited(history, "--from", "9", code=1)
    assert (said["asked"], said["findings"][0]["what"]) == (0, "record")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--from", "4", "--to", "4"), "round 4: expected a published round among them; the last is round 10"),
        (("--from", "11"), "rounds from 11 on: expected a published round among them; the last is round 10"),
        (("--from", "5", "--to", "4"), f"to: expected a round, 5 to {LAST_ROUND}, found 4"),
        (("--from", "0"), f"from: expected a round, 1 to {LAST_ROUND}, found 0"),
        (("--from", "-1"), f"from: expected a round, 1 to {LAST_ROUND}, found -1"),
        (("--to", str(10**30)), f"to: expected a round, 1 to {LAST_ROUND}, found {10**30}"),
        (("--to", "x"), "audit: --to: expected a whole number, found 'x'"),
        (("--jobs", "0"), "jobs: expected 1 to 1024, found 0"),
        (("--jobs", "1025"), "jobs: expected 1 to 1024, found 1025"),
        (("--threads", "0"), "threads: expected 1 to 1024, found 0"),
    ],
)
def test_a_range_without_rounds_is_bad_input(history: History, options: tuple[str, ...], says: str) -> None:
    """Exit code 2 and one line; nothing is said to be reproduced."""
    done = fedpact("audit", history.directory, *options)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert says in done.stderr


def test_a_record_without_published_rounds_has_none_to_ask_for(tmp_path: Path) -> None:
    """Audited as a whole it passes; there is no first round to ask for."""
    history = History(tmp_path / "run")
    history.cancel()
    history.save()
    assert _audited(history)["rounds"] == 0
    done = fedpact("audit", history.directory, "--from", "2")
    assert "the record has none" in done.stderr


def test_a_scope_knows_its_rounds() -> None:
    """In words and in numbers."""
    assert [str(each) for each in (Scope(), Scope(2), Scope(2, 5), Scope(5, 5), Scope(1, 9))] == [
        "all rounds",
        "rounds from 2 on",
        "rounds 2 to 5",
        "round 5",
        "rounds 1 to 9",
    ]
    assert [number for number in range(10) if number in Scope(2, 5)] == [2, 3, 4, 5]
    assert [each.is_everything for each in (Scope(), Scope(2), Scope(1, LAST_ROUND))] == [True, False, False]
    with pytest.raises(InputError):
        Scope(LAST_ROUND + 1)


# ------------------------------------------------------------------------------------------------------ several at once


def test_the_result_does_not_depend_on_the_rounds_that_are_done_at_once(history: History) -> None:
    """One by one or all together, the same findings in the same order; the rounds come in theirs."""
    _break(history, 3)
    (path,) = history.directory.glob(f"store/blocks/*/{history.view.rounds[8].submissions[1].update.cid}")
    path.unlink()
    answers = [
        audit_directory(history.directory, jobs=jobs, threads=threads).audit
        for jobs, threads in ((1, 1), (2, 1), (3, 2), (64, 1))
    ]
    assert [each.number for each in answers[0].rounds] == PUBLISHED
    assert {each.verdict.value for each in answers[0].rounds} == {"differs", "unchecked"}
    assert all(each == answers[0] for each in answers)


def test_what_goes_wrong_in_one_of_them_is_not_lost(history: History) -> None:
    """An error that nobody expected ends the audit, whichever thread it comes from."""

    class Broken(DirectoryBlocks):
        def get(self, cid: Any) -> bytes:
            if cid == history.view.rounds[9].manifest:
                raise RuntimeError("a bug")
            return super().get(cid)

    entries = history.ledger.read(Cursor()).entries
    for jobs in (1, 4):
        with pytest.raises(RuntimeError, match="a bug"):
            audit(history.ledger.identity, entries, Broken(history.directory / "store"), jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 4])
def test_progress_counts_every_round_once(history: History, jobs: int) -> None:
    """From none to all, in steps of one."""
    seen: list[tuple[int, int]] = []
    entries = history.ledger.read(Cursor()).entries
    found: Audit = audit(
        history.ledger.identity,
        entries,
        history.blocks,
        scope=Scope(2, 7),
        jobs=jobs,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 5) for done in range(6)]
    assert [each.number for each in found.rounds] == [2, 3, 5, 6, 7]


# ----------------------------------------------------------------------------------------------------- the progress bar


def _with_terminal(*arguments: str | Path) -> tuple[str, str]:
    """Standard output (a pipe) and standard error (a terminal) of the command."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("FORCE_COLOR", None)
    process = subprocess.Popen(
        [FEDPACT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # The terminal has gone: the process has ended.
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    return output, shown.decode()


def test_a_terminal_shows_how_far_it_is_and_a_pipe_does_not(history: History) -> None:
    """The bar goes to standard error; standard output is the same with and without."""
    plain = fedpact("audit", history.directory)
    output, shown = _with_terminal("audit", history.directory)
    assert (output, plain.stderr) == (plain.stdout, "")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "round" in text
    assert "left:" in text
    assert "9/9" in text


def test_json_comes_without_a_bar(history: History) -> None:
    """Even where somebody would see it."""
    output, shown = _with_terminal("audit", history.directory, "--json")
    assert json.loads(output)["ok"]
    assert shown == ""


def test_a_closed_standard_error_does_not_stop_an_audit(history: History) -> None:
    """There is nobody to show a bar to."""
    command = ["sh", "-c", '"$0" audit "$1" 2>&-', FEDPACT, str(history.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "9 of 9 models reproduced" in done.stdout


def test_forced_colours_do_not_bring_the_bar_into_a_pipe(history: History) -> None:
    """FORCE_COLOR makes rich believe in a terminal; the bar asks the system."""
    environment = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run(
        [FEDPACT, "audit", str(history.directory)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
