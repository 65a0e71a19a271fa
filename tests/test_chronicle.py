"""The record entry by entry: everything that can happen is told, and each hash is built on the one that it names."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from chains import ACCOUNTS, CHARTER, COORDINATOR, GENESIS, LIMITS, MEMBERS, OWNER, START, STRANGER
from fedpact.chronicle import Step, chronicle
from fedpact.cli.application import application
from fedpact.errors import InputError, RecordInconsistent, StoreError
from fedpact.ledger import events, hashes
from fedpact.ledger.actions import (
    AcceptOwnership,
    Action,
    Admit,
    AmendCharter,
    Announce,
    Appoint,
    Attest,
    CancelRound,
    Commit,
    Dismiss,
    OpenRound,
    Publish,
    Register,
    Remove,
    Reveal,
    Rewind,
    Submit,
    TransferOwnership,
)
from fedpact.ledger.events import EVENTS, Entry, RoundPublished, UpdateSubmitted
from fedpact.ledger.facts import NO_HASH, NO_TERMS, ZERO_ADDRESS, Address, Hash, RoundNumber, Terms, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.store.cid import Cid
from histories import IDENTITY, History, ten_rounds
from runs import fedpact

UPDATE = Update(Cid.of(b"update"), 144, 912_500, 2680)
KEY, SALT = Hash(b"\x11" * 32), Hash(b"\x22" * 32)
SUCCESSOR = ACCOUNTS[6]


def everything() -> list[Entry]:
    """The entries of a federation to which everything happens that the contract can log."""
    ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=IDENTITY, now=START)

    def do(sender: Address, *actions: Action) -> None:
        for action in actions:
            ledger.send(sender, action)

    do(OWNER, Admit(tuple(MEMBERS)), Remove(MEMBERS[3]), Appoint(COORDINATOR), Appoint(STRANGER), Dismiss(STRANGER))
    do(OWNER, TransferOwnership(STRANGER), TransferOwnership(ZERO_ADDRESS), TransferOwnership(SUCCESSOR))
    do(SUCCESSOR, AcceptOwnership(), AmendCharter(Cid.of(b"amended"), LIMITS))
    do(MEMBERS[0], Announce(KEY))
    one, two = RoundNumber(1), RoundNumber(2)
    now = ledger.now()
    do(COORDINATOR, OpenRound(one, Terms(now + 50, now + 100, now + 200, now + 300, 1)))
    do(MEMBERS[1], Register(one))
    ledger.advance(now + 51)
    do(MEMBERS[1], Commit(one, hashes.commitment(IDENTITY, 1, MEMBERS[1], UPDATE, SALT)), Reveal(one, UPDATE, SALT))
    publication = Publish(one, ledger.view.last_transcript, Cid.of(b"model"), Cid.of(b"manifest"), NO_TERMS)
    do(COORDINATOR, publication)
    do(MEMBERS[1], Attest(one, False, Cid.of(b"report")))
    now = ledger.now()
    do(COORDINATOR, OpenRound(two, Terms(0, 0, now + 200, now + 300, 1)))
    do(MEMBERS[2], Submit(two, UPDATE))
    do(SUCCESSOR, CancelRound(two), Rewind(one, GENESIS))
    return list(ledger.read(Cursor()).entries)


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    """All of that, told."""
    return list(chronicle(IDENTITY, everything(), lambda cid: str(cid)[-6:]))


def test_everything_that_the_contract_can_log_is_told(steps: list[Step]) -> None:
    """Who did it, as what, in which round, and in which words."""
    assert {type(step.entry.event).__name__ for step in steps} == set(EVENTS)
    told = [(step.round, step.who, step.what) for step in steps]
    model, report, manifest = (str(Cid.of(name))[-6:] for name in (b"model", b"report", b"manifest"))
    update, base, amended = (str(cid)[-6:] for cid in (UPDATE.cid, GENESIS, Cid.of(b"amended")))
    limits = "quorum at least 1, phases of at least 10 s, rounds of at most 1000 s"
    assert told == [
        (None, "owner", f"founded the federation: charter {str(CHARTER)[-6:]}, first model {base}, {limits}"),
        *((None, "owner", f"admitted {each} as member {n}, from round 1 on") for n, each in enumerate(MEMBERS, 1)),
        (None, "owner", f"removed {MEMBERS[3]}, member 4, from round 1 on"),
        (None, "owner", f"appointed {COORDINATOR} as coordinator"),
        (None, "owner", f"appointed {STRANGER} as coordinator"),
        (None, "owner", f"dismissed {STRANGER} as coordinator"),
        (None, "owner", f"offered the ownership to {STRANGER}"),
        (None, "owner", "took the offer of the ownership back"),
        (None, "owner", f"offered the ownership to {SUCCESSOR}"),
        (None, "owner", f"took the ownership over from {OWNER}"),
        (None, "owner", f"amended the charter: {amended}, {limits}"),
        (None, "member 1", "announced its public key 0x" + "11" * 32),
        (1, "coordinator", f"opened: base {base}, members register first, quorum 1, 200 s to submit"),
        (1, "member 2", "registered"),
        (1, "member 2", "committed to an update, 0x" + _commitment().hex()),
        (1, "member 2", f"revealed: update {update}, 144 samples, score 0.912500, 2,680 bytes"),
        (1, "coordinator", f"published: model {model}, manifest {manifest}"),
        (1, "member 2", f"attested: the model was NOT REPRODUCED, report {report}"),
        (2, "coordinator", f"opened: base {model}, 3 members expected, quorum 1, 200 s to submit"),
        (2, "member 3", f"submitted: update {update}, 144 samples, score 0.912500, 2,680 bytes"),
        (2, "owner", "cancelled"),
        (1, "owner", f"rewound to the base of round 1: {base}"),
    ]
    assert [step.index for step in steps] == list(range(len(steps)))
    accounts = {step.who: step.account for step in steps[12:]}
    assert accounts == {
        "owner": SUCCESSOR,
        "coordinator": COORDINATOR,
        "member 1": MEMBERS[0],
        "member 2": MEMBERS[1],
        "member 3": MEMBERS[2],
    }


def _commitment() -> Hash:
    return hashes.commitment(IDENTITY, 1, MEMBERS[1], UPDATE, SALT)


def test_a_key_is_taken_back_and_anyone_cancels_what_nothing_can_come_of() -> None:
    """Whoever it was is named by what he is in the federation, and `anyone` is nobody in it."""
    ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=IDENTITY, now=START)
    for sender, action in ((OWNER, Admit(tuple(MEMBERS))), (OWNER, Appoint(COORDINATOR)), (MEMBERS[0], Announce(KEY))):
        ledger.send(sender, action)
    ledger.send(MEMBERS[0], Announce(NO_HASH))
    for number, sender in enumerate((COORDINATOR, MEMBERS[1], STRANGER), 1):
        now = ledger.now()
        ledger.send(COORDINATOR, OpenRound(RoundNumber(number), Terms(0, 0, now + 20, now + 40, 1)))
        ledger.advance(now + 21)
        ledger.send(sender, CancelRound(RoundNumber(number)))
    steps = list(chronicle(IDENTITY, ledger.read(Cursor()).entries))
    assert "took its public key back" in [step.what for step in steps]
    assert [step.who for step in steps if step.what == "cancelled"] == ["coordinator", "member 2", "anyone"]


def test_each_hash_is_made_of_the_one_that_it_names(steps: list[Step]) -> None:
    """Computed again here from what the entries say: a head on a head, a transcript on the head or on a transcript."""
    made = {step.hash for step in steps}
    for step in steps:
        match step.entry.event:
            case UpdateSubmitted(_, member, update) | events.UpdateRevealed(_, member, update, _):
                assert step.previous is not None
                assert step.hash == hashes.next_transcript(step.previous, member, update)
            case RoundPublished(number, _, transcript, model, manifest, head):
                assert step.previous is not None
                derived = hashes.published_head(step.previous, number, transcript, model, manifest)
                assert step.hash == head == derived
            case events.Rewound(number, base, head):
                assert step.previous is not None
                assert step.hash == head == hashes.rewound_head(step.previous, number, base)
            case events.RoundOpened(transcript=transcript):
                assert step.hash == transcript
            case events.Founded(head=head):
                assert (step.previous, step.hash) == (None, head)
            case _:
                assert (step.previous, step.hash) == (None, None)
        assert step.previous is None or step.previous in made


def test_what_cannot_follow_ends_it() -> None:
    """What came before was told."""
    entries = everything()
    told = chronicle(IDENTITY, [*entries[:6], entries[0]])
    assert [next(told).entry for _ in range(6)] == entries[:6]
    with pytest.raises(RecordInconsistent, match=r"^entry 6 \(Founded\): an entry before or after the founding$"):
        next(told)


def record(*arguments: str | Path) -> str:
    """What `fedpact record` prints; within this process, as starting one takes longer than what it does."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        application()(["record", *map(str, arguments)], prog_name="fedpact", standalone_mode=False)
    return printed.getvalue()


def test_the_command_prints_the_record_of_a_directory(tmp_path: Path) -> None:
    """One line an entry, for people with addresses cut, for programs with all of them."""
    history = ten_rounds(tmp_path / "run")
    entries = history.ledger.read(Cursor()).entries
    lines = record(tmp_path / "run").splitlines()
    assert len(lines) == 1 + len(entries)
    assert lines[0].split() == ["entry", "block", "time", "round", "who", "previous", "hash", "what"]
    assert lines[1].split()[:5] == ["0", "1", "2100-01-01", "00:00:00Z", "-"]
    objects = [json.loads(line) for line in record(tmp_path / "run", "--json").splitlines()]
    assert [each["entry"] for each in objects] == list(range(len(entries)))
    last = objects[-1]
    assert (last["event"], last["round"], last["who"], last["account"]) == (
        *("RoundPublished", 10, "coordinator"),
        COORDINATOR,
    )
    heads = [each for each in objects if each["event"] in ("Founded", "RoundPublished")]
    assert [each["previous"] for each in heads] == [None, *(each["hash"] for each in heads[:-1])]
    assert (last["hash"], last["fields"]["model"]) == (history.head(), str(history.view.base))
    assert str(history.view.base) in last["what"]


def test_a_record_that_was_altered_is_printed_as_far_as_it_holds(tmp_path: Path) -> None:
    """Exit code 1 and one line, after the entries before it."""
    history = History(tmp_path)
    history.publish(1.0, 2.0)
    history.save()
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace('"samples":11', '"samples":12'))
    done = fedpact("record", tmp_path, "--json")
    assert (done.returncode, done.stderr.count("\n"), len(done.stdout.splitlines())) == (1, 1, 9)
    assert done.stderr.startswith("fedpact: error: entry 9 (RoundPublished): transcript: the ledger says 0x")
    with pytest.raises(RecordInconsistent, match=r"^entry 9 "):
        record(tmp_path, "-o", tmp_path / "kept.jsonl")
    assert not (tmp_path / "kept.jsonl").exists()


def test_a_dry_run_is_said_to_be_none(tmp_path: Path) -> None:
    """As everywhere; and a directory that holds nothing is refused."""
    History(tmp_path / "run").save("memory")
    assert record(tmp_path / "run").splitlines()[-1] == "note: no record: a dry run within one process"
    with pytest.raises(InputError, match=r"nowhere: expected a directory that a simulation left, found none$"):
        record(tmp_path / "nowhere")


def test_a_record_is_kept_in_a_file(tmp_path: Path) -> None:
    """It is what the ledger had, and it only grows: nothing else is written over it, not even less of the same."""
    history = History(tmp_path / "run")
    kept = tmp_path / "kept.jsonl"
    for _ in range(2):
        history.publish(1.0, 2.0)
        history.save()
        assert record(tmp_path / "run", "-o", kept) == f"{kept}: {history.view.entries} entries\n"
        assert kept.read_bytes() == (tmp_path / "run" / "ledger.jsonl").read_bytes()
    shorter = History(tmp_path / "shorter")
    shorter.publish(1.0, 2.0)
    shorter.save()
    History(tmp_path / "other", identity=replace(IDENTITY, chain_id=5)).save()
    (tmp_path / "text").write_text("not a record\n")
    for run, path, why in (
        ("shorter", kept, "expected an earlier state of this record, found another record"),
        ("other", kept, "expected an earlier state of this record, found another record"),
        (
            "run",
            tmp_path / "text",
            f"expected an earlier state of this record, or no file: {tmp_path / 'text'}: line 1: ",
        ),
    ):
        before = path.read_bytes()
        with pytest.raises(InputError, match=f"^{re.escape(f'output {path}: {why}')}"):
            record(tmp_path / run, "-o", path)
        assert path.read_bytes() == before
    with pytest.raises(StoreError, match=r"cannot be written: No such file or directory$"):
        record(tmp_path / "run", "-o", tmp_path / "nowhere" / "ledger.jsonl")
    with pytest.raises(InputError, match=r"^output: expected without --json"):
        record(tmp_path / "run", "-o", kept, "--json")
