"""Where a model file comes from: which round published it, and whether it was disowned since."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from chains import COORDINATOR, MEMBERS, OWNER, START
from charters import small_charter
from fedpact.audit.origin import Disowning, Publication, origin
from fedpact.errors import RecordInconsistent
from fedpact.ledger import record
from fedpact.ledger.actions import Admit, Appoint, CancelRound, OpenRound, Publish, Rewind, Submit
from fedpact.ledger.facts import NO_TERMS, RoundNumber, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.ledger.record import Record
from fedpact.store.cid import Cid
from fedpact.store.unixfs import LEAF, add, open_file
from fedpact.workdir import address_of
from histories import IDENTITY, History
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import fedpact

CHARTER = small_charter(stop={"rounds": 100})
MODELS = [Cid.of(b"model %d" % number) for number in range(3)]
GENESIS = Cid.of(b"genesis")


# ------------------------------------------------------------------------------------------------------- any history


def _ledger() -> MemoryLedger:
    ledger = MemoryLedger(OWNER, Cid.of(b"charter"), GENESIS, CHARTER.contract_limits(), identity=IDENTITY, now=START)
    ledger.send(OWNER, Admit(tuple(MEMBERS[:1])))
    ledger.send(OWNER, Appoint(COORDINATOR))
    return ledger


def _open(ledger: MemoryLedger) -> RoundNumber:
    number = RoundNumber(ledger.view.number + 1)
    ledger.send(COORDINATOR, OpenRound(number, CHARTER.terms(ledger.now())))
    return number


def _publish(ledger: MemoryLedger, model: Cid) -> RoundNumber:
    number = _open(ledger)
    ledger.send(MEMBERS[0], Submit(number, Update(Cid.of(b"update %d" % number), 1, 0, 1)))
    ledger.send(COORDINATOR, Publish(number, ledger.view.last_transcript, model, Cid.of(b"manifest"), NO_TERMS))
    return number


def _rewind(ledger: MemoryLedger, number: int) -> None:
    ledger.send(OWNER, Rewind(RoundNumber(number), ledger.view.rounds[number].base))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, len(MODELS) - 1)),
        st.tuples(st.just("cancel"), st.just(0)),
        st.tuples(st.just("rewind"), st.integers(1, 9)),
    ),
    max_size=14,
)


@settings(max_examples=200)
@given(steps)
def test_what_stands_is_what_the_next_round_descends_from(history: list[tuple[str, int]]) -> None:
    """Of any history: the line of each round is kept as a list, and a rewind disowns what falls out of the line."""
    ledger = _ledger()
    line: list[int] = []
    lines: dict[int, list[int]] = {}
    models: dict[int, Cid] = {}
    disowned: dict[int, Disowning] = {}
    for step, number in history:
        if step == "publish":
            lines[ledger.view.number + 1] = line
            published = _publish(ledger, MODELS[number])
            models[published] = MODELS[number]
            line = [*line, published]
        elif step == "cancel":
            lines[ledger.view.number + 1] = line
            ledger.send(OWNER, CancelRound(_open(ledger)))
        elif number <= ledger.view.number:
            _rewind(ledger, number)
            for each in set(line) - set(lines[number]):
                disowned[each] = Disowning(number, ledger.view.number + 1)
            line = lines[number]
            for each in line:
                disowned.pop(each, None)
    entries = ledger.read(Cursor()).entries
    for model in MODELS:
        found = origin(IDENTITY, entries, model)
        expected = [Publication(number, disowned.get(number)) for number, each in models.items() if each == model]
        assert list(found.publications) == expected
        assert found.stands == any(each.disowned is None for each in expected)
        assert (found.genesis, found.submissions, found.head) == (False, (), ledger.view.head)


def test_a_long_history_of_rewinds_takes_no_longer_than_any() -> None:
    """Two thousand rewinds between the ends of two long lines, and every round published the same."""
    ledger = _ledger()
    for _ in range(500):
        last = _publish(ledger, MODELS[0])
    _rewind(ledger, 1)
    for _ in range(500):
        other = _publish(ledger, MODELS[0])
    for _ in range(1000):
        _rewind(ledger, last)
        _rewind(ledger, other)
    entries = ledger.read(Cursor()).entries
    found = origin(IDENTITY, entries, MODELS[0])
    standing = [each.round for each in found.publications if each.disowned is None]
    assert standing == list(range(501, 1000))
    assert found.publications[0].disowned == Disowning(1000, 1001)
    assert found.publications[-1].disowned == Disowning(last, 1001)


def test_a_rewind_to_what_was_never_a_base_is_no_sound_record() -> None:
    """The contract does not check it; an audit does, and no line can be followed from there."""
    ledger = _ledger()
    _publish(ledger, MODELS[0])
    ledger.send(OWNER, Rewind(RoundNumber(1), MODELS[1]))
    entries = ledger.read(Cursor()).entries
    with pytest.raises(RecordInconsistent, match=f"rewind to round 1: expected its base {GENESIS}, found {MODELS[1]}"):
        origin(IDENTITY, entries, MODELS[0])


def test_a_record_without_a_federation_is_none() -> None:
    """Nothing can be said of a file."""
    with pytest.raises(RecordInconsistent):
        origin(IDENTITY, [], MODELS[0])


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Rounds 1 to 3; back to the base of round 2; round 4 publishes what round 2 did, round 5 something new."""
    history = History(tmp_path_factory.mktemp("verify") / "run", elements=(LEAF >> 2) + 1)
    history.publish(1.0, 2.0, 3.0)
    history.publish(4.0, 5.0, 6.0)
    history.publish(7.0, 8.0, 9.0)
    history.rewind(2)
    history.publish(4.0, 5.0, 6.0)
    history.publish(10.0, 11.0, 12.0)
    history.save()
    return history


def _file(history: History, cid: Cid | None, path: Path) -> Path:
    assert cid is not None
    path.write_bytes(open_file(history.blocks, cid, history.layout.size).read())
    return path


def _asked(file: Path, history: History, *arguments: str, code: int) -> tuple[str, dict[str, Any]]:
    """What the command says, in words and as JSON."""
    done = fedpact("verify-model", file, history.directory, *arguments)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    answer = fedpact("verify-model", file, history.directory, "--json", *arguments)
    assert (answer.returncode, answer.stderr, len(answer.stdout.splitlines())) == (code, "", 1)
    said: dict[str, Any] = json.loads(answer.stdout)
    assert (said["ok"], said["head"]) == (code == 0, history.head())
    return done.stdout, said


def test_a_published_model_is_found(history: History, tmp_path: Path) -> None:
    """With the round, the record's head, and how to derive it."""
    file = _file(history, history.view.rounds[5].model, tmp_path / "model")
    shown, said = _asked(file, history, code=0)
    assert "- published in round 5\n" in shown
    assert "verify-model: ok: published in round 5; the record is consistent in itself; --head would anchor" in shown
    assert f"fedpact audit {history.directory} --from 5 --to 5" in shown
    assert said["published"] == [{"round": 5, "disowned": None}]
    assert (said["model"], said["anchored"], said["record"]) == (str(history.view.rounds[5].model), False, True)
    shown, said = _asked(file, history, "--head", history.head(), code=0)
    assert "the record ends with the trusted head" in shown
    assert said["anchored"]


def test_a_disowned_model_is_not_one_to_use(history: History, tmp_path: Path) -> None:
    """It was published, and is named with the rewind; the exit code is not that of a model that stands."""
    shown, said = _asked(_file(history, history.view.rounds[3].model, tmp_path / "model"), history, code=1)
    assert "- published in round 3, and disowned by the rewind to round 2's base before round 4\n" in shown
    assert "verify-model: DISOWNED: published, and taken back by a rewind" in shown
    assert said["published"] == [{"round": 3, "disowned": {"base_of": 2, "before": 4}}]


def test_all_rounds_that_published_it_are_named(history: History, tmp_path: Path) -> None:
    """One was disowned, another stands: the model stands."""
    shown, said = _asked(_file(history, history.view.rounds[2].model, tmp_path / "model"), history, code=0)
    assert "- published in round 2, and disowned by the rewind to round 2's base before round 4\n" in shown
    assert "- published in round 4\n" in shown
    assert "ok: published in round 4" in shown
    assert [each["round"] for each in said["published"]] == [2, 4]


def test_an_update_is_no_model(history: History, tmp_path: Path) -> None:
    """Who submitted it and when is named."""
    update = history.view.rounds[4].submissions[1]
    shown, said = _asked(_file(history, update.update.cid, tmp_path / "update"), history, code=1)
    for number in (2, 4):
        line = f"- an update in round {number}, submitted by member 2 ({update.member}): not a model\n"
        assert line in shown
    assert "NOT PUBLISHED" in shown
    assert said["submitted"] == [{"round": number, "index": 2, "member": update.member} for number in (2, 4)]


def test_the_first_model_is_named_as_such(history: History, tmp_path: Path) -> None:
    """No round published it."""
    shown, said = _asked(_file(history, history.view.genesis, tmp_path / "genesis"), history, code=1)
    assert "- the genesis: the model that the federation started from, which no round published\n" in shown
    assert (said["genesis"], said["published"]) == (True, [])


@pytest.mark.parametrize("change", ["a bit", "a byte more", "a byte less", "nothing at all"])
def test_any_other_file_was_never_published(history: History, tmp_path: Path, change: str) -> None:
    """However little it differs."""
    file = _file(history, history.view.rounds[5].model, tmp_path / "model")
    data = bytearray(file.read_bytes())
    if change == "a bit":
        data[LEAF + 1] ^= 1
    file.write_bytes({"a byte more": data + b"\0", "a byte less": data[:-1], "nothing at all": b""}.get(change, data))
    shown, said = _asked(file, history, code=1)
    assert "NOT PUBLISHED: no round published this file" in shown
    assert (said["published"], said["genesis"], said["submitted"]) == ([], False, [])


def test_many_lines_are_cut(tmp_path: Path) -> None:
    """A model that every round publishes is named so often; JSON has them all."""
    history = History(tmp_path / "run")
    for _ in range(30):
        history.publish(1.0, 2.0, 3.0)
    history.save()
    shown, said = _asked(_file(history, history.view.base, tmp_path / "model"), history, code=0)
    assert "- published in round 20\n- and 10 more\n" in shown
    assert len(said["published"]) == 30


def test_a_dry_run_is_no_record(tmp_path: Path) -> None:
    """As in an audit."""
    history = History(tmp_path / "run")
    history.publish(1.0, 2.0, 3.0)
    history.save(record.DRY_RUN)
    shown, said = _asked(_file(history, history.view.base, tmp_path / "model"), history, code=0)
    assert "no record: a dry run within one process" in shown
    assert not said["record"]


def _refused(*arguments: str | Path) -> str:
    done = fedpact("verify-model", *arguments, timeout=60)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    return done.stderr


def test_what_is_no_file_cannot_be_checked(history: History, tmp_path: Path) -> None:
    """Exit code 2 and one line; nothing is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert f"{path}: not a file" in _refused(path, history.directory)
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"not a file|File name too long"):
            address_of(path)


def test_a_record_that_is_broken_cannot_be_asked(history: History, tmp_path: Path) -> None:
    """Exit code 2 whatever is wrong with it, even where the round is before the break."""
    file = _file(history, history.view.rounds[1].model, tmp_path / "model")
    directory = tmp_path / "copy"
    directory.mkdir()
    ledger = directory / "ledger.jsonl"
    good = (history.directory / "ledger.jsonl").read_bytes()
    assert "empty" in _refused(file, directory)
    assert "expected a directory that a simulation left, found none" in _refused(file, directory / "none")
    entries = history.ledger.read(Cursor()).entries
    shorter = Record(IDENTITY, "test", (*entries[:-2], entries[-1]))
    record.write(ledger, shorter)
    assert f"entry {len(entries) - 2} (RoundPublished)" in _refused(file, directory)
    for data in (good[:-20], b"[" * 100_000):
        ledger.write_bytes(data)
        _refused(file, directory)
    ledger.write_bytes(good)
    assert "head: expected 0x and 64 hexadecimal digits" in _refused(file, directory, "--head", "0x1")
    says = _refused(file, directory, "--head", "0x" + "1" * 64)
    assert f"head: expected 0x{'1' * 64} (trusted), found {history.head()}" in says


def test_a_ledger_without_end_is_refused_at_its_first_line(history: History, tmp_path: Path) -> None:
    """A terabyte of zeros in its place is not read."""
    (tmp_path / "ledger.jsonl").touch()
    os.truncate(tmp_path / "ledger.jsonl", 1 << 40)
    assert "line 1: not JSON" in _refused(history.directory / "ledger.jsonl", tmp_path)


def test_an_address_needs_little_memory(tmp_path: Path) -> None:
    """A file is read in pieces: of 64 MiB never more than two of 1 MiB are there at once."""
    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 64 * LEAF)
    tracemalloc.start()
    try:
        address_of(tmp_path / "big")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * LEAF


def test_a_file_that_grows_or_shrinks_meanwhile_has_no_address(tmp_path: Path) -> None:
    """What was read belongs to no one moment; files of /proc have no size at all."""
    with pytest.raises(OSError, match="expected 0 bytes, found more"):
        address_of(Path("/proc/self/status"))


def test_the_address_is_that_of_the_store(tmp_path: Path, history: History) -> None:
    """At the sizes where leaves end."""
    for size in (0, 1, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF):
        data = bytes(size)
        (tmp_path / "file").write_bytes(data)
        assert address_of(tmp_path / "file") == add(history.blocks, data).root
