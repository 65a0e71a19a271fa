"""Reports of audits: one audit, one document; nothing hostile that passes for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from chains import MEMBERS
from fedpact import audit as audits
from fedpact.artifacts import canonical
from fedpact.artifacts import report as reports
from fedpact.artifacts.report import (
    FORMAT,
    MAX_FINDINGS,
    MAX_TEXT,
    AskedSection,
    FindingSection,
    Report,
    RoundSection,
    Verdict,
)
from fedpact.audit import Audit, Finding, Scope, audit
from fedpact.audit.report import report
from fedpact.errors import InvalidDocument
from fedpact.ledger.actions import Attest
from fedpact.ledger.port import Cursor
from fedpact.store.cid import Cid
from fedpact.store.unixfs import add, address, read_small
from histories import IDENTITY, History, ten_rounds
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import Copy, fedpact

text = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=20)
cids = st.binary(min_size=4, max_size=4).map(lambda seed: str(Cid.of(seed)))
digest = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
counts = st.integers(0, 0xFFFF)
findings = st.lists(
    st.builds(FindingSection, round=st.integers(0, 9), what=text, ledger=text, derived=text), max_size=3
)


@st.composite
def documents(draw: st.DrawFn) -> Report:
    """Reports that do not contradict themselves."""
    first = draw(st.integers(1, 3))
    sample, seed = draw(st.sampled_from([("1", ""), ("0.05", "0"), ("0.5", "18446744073709551615")]))
    agrees: Verdict = "reproduced" if sample == "1" else "sample agrees"
    numbers = sorted(draw(st.sets(st.integers(first, 9), min_size=1, max_size=4)))
    rounds = []
    for number in numbers:
        wrong, unchecked = draw(findings), draw(st.sampled_from(["", "a block"]))
        rounds.append(
            RoundSection(
                round=number,
                charter=draw(cids),
                base=draw(cids),
                transcript=draw(digest)[:58],
                head=draw(digest),
                model=draw(cids),
                manifest=draw(cids),
                included=draw(counts),
                excluded=draw(counts),
                asserted=draw(counts),
                not_selected=draw(st.none() | st.integers(1, 0xFFFF)),
                blocks=3,
                derived={"1": 3, "0.05": 1, "0.5": 2}[sample],
                surveyed=0 if sample == "1" else draw(st.sampled_from([0, 1])),
                verdict="differs" if wrong else "unchecked" if unchecked else agrees,
                findings=wrong,
                unchecked=unchecked,
            )
        )
    wrong, unchecked_things = draw(findings), draw(st.lists(text, max_size=2))
    verdicts = {each.verdict for each in rounds}
    verdict = agrees
    if wrong or "differs" in verdicts:
        verdict = "differs"
    elif unchecked_things or "unchecked" in verdicts:
        verdict = "unchecked"
    return Report(
        format=FORMAT,
        fedpact="0.1.0",
        chain_id=draw(st.integers(0, 2**256 - 1)),
        contract=draw(digest)[:42],
        head=draw(digest),
        anchored=draw(st.sampled_from([0, 1])),
        asked=AskedSection(first=first, last=9, sample=sample, seed=seed),
        published=draw(st.integers(len(rounds), 20)),
        verdict=verdict,
        rounds=rounds,
        findings=wrong,
        unchecked=unchecked_things,
        omitted=0,
    )


@settings(max_examples=80)
@given(documents())
def test_a_report_comes_back_from_its_bytes(document: Report) -> None:
    """Any report is read back as it was written, into the same bytes."""
    data = document.encode()
    assert reports.decode(data) == document
    assert reports.decode(data).encode() == data


# ----------------------------------------------------------------------------------------------------- hostile reports

GOOD_ROUND: dict[str, Any] = {
    "round": 3,
    "charter": str(Cid.of(b"charter")),
    "base": str(Cid.of(b"base")),
    "transcript": "0x" + "ab" * 28,
    "head": "0x" + "cd" * 32,
    "model": str(Cid.of(b"model")),
    "manifest": str(Cid.of(b"manifest")),
    "included": 3,
    "excluded": 1,
    "asserted": 0,
    "blocks": 3,
    "derived": 3,
    "surveyed": 0,
    "verdict": "differs",
    "findings": [{"round": 3, "what": "model", "ledger": "one", "derived": "another"}],
    "unchecked": "",
}
GOOD: dict[str, Any] = {
    "format": FORMAT,
    "fedpact": "0.1.0",
    "chain_id": 1,
    "contract": "0x" + "12" * 20,
    "head": "0x" + "ef" * 32,
    "anchored": 1,
    "asked": {"first": 2, "last": 4, "sample": "1", "seed": ""},
    "published": 9,
    "verdict": "differs",
    "rounds": [GOOD_ROUND],
    "findings": [],
    "unchecked": ["the genesis"],
    "omitted": 0,
}


def changed(**changes: Any) -> bytes:
    """Canonical bytes of the good report with other fields; None takes one out."""
    return canonical.encode({key: each for key, each in (GOOD | changes).items() if each is not None})


def one(**changes: Any) -> bytes:
    """Canonical bytes of the good report with another round; None takes a field out."""
    value = {key: each for key, each in (GOOD_ROUND | changes).items() if each is not None}
    return changed(rounds=[value])


def asked(**changes: Any) -> bytes:
    """Canonical bytes of the good report, asked for something else."""
    return changed(asked={key: each for key, each in (GOOD["asked"] | changes).items() if each is not None})


def sampled(
    sample: str = "0.05", seed: str = "7", *, verdict: str = "sample agrees", whole: str = "", **changes: int
) -> bytes:
    """Canonical bytes of a report of a sample, with one good round, or with one that is changed."""
    return changed(
        asked=GOOD["asked"] | {"sample": sample, "seed": seed},
        rounds=[GOOD_ROUND | {"findings": [], "verdict": verdict, "derived": 3 if sample == "1" else 1} | changes],
        unchecked=[],
        verdict=whole or verdict,
    )


def finding(**changes: Any) -> bytes:
    """Canonical bytes of the good report with another finding."""
    value = {key: each for key, each in (GOOD_ROUND["findings"][0] | changes).items() if each is not None}
    return one(findings=[value])


BAD = {
    "nothing": (b"", "report: not JSON"),
    "a list": (b"[]", "report: "),
    "white space": (changed() + b"\n", "report: not canonical JSON"),
    "deep": (b"[" * 100_000, "report: nested deeper than 32"),
    "a decimal": (changed().replace(b'"published":9', b'"published":9.5'), "report.published: expected"),
    "a truth value": (changed().replace(b'"anchored":1', b'"anchored":true'), "report.anchored: "),
    "another format": (changed(format="fedpact-manifest/1"), "report: format: "),
    "a later version of the format": (changed(format="fedpact-audit/2"), "report: format: "),
    "a version that is none": (changed(fedpact="\x1b[2J"), "report: fedpact: "),
    "a chain that is none": (changed(chain_id=1 << 256), "report: chain_id: "),
    "a negative chain": (changed(chain_id=-1), "report: chain_id: "),
    "a contract in capitals": (changed(contract="0x" + "AB" * 20), "report: contract: "),
    "a contract and a line end": (changed(contract=GOOD["contract"] + "\n"), "report: contract: "),
    "a short head": (changed(head="0x12"), "report: head: "),
    "anchored twice": (changed(anchored=2), "report: anchored: "),
    "a field that no report has": (changed(signature="x"), "report: it has fields that no report has"),
    "a field that no round has": (one(signature="x"), "report: it has fields that no report has"),
    "a field that no finding has": (finding(signature="x"), "report: it has fields that no report has"),
    "rounds that are no list": (changed(rounds={}), "report: rounds: "),
    "a round that is text": (changed(rounds=["x"]), "report: rounds.0: "),
    "round zero": (one(round=0), "report: rounds.0.round: "),
    "a model that is none": (one(model="bafy"), "report: rounds.0.model: 'bafy': expected 59 characters"),
    "a model in another text": (one(model="B" + GOOD_ROUND["model"][1:].upper()), "report: rounds.0.model: "),
    "a short transcript": (one(transcript="0x12"), "report: rounds.0.transcript: "),
    "too many updates": (one(included=0x10000), "report: rounds.0.included: "),
    "a count that is text": (one(excluded="1"), "report: rounds.0.excluded: "),
    "nobody not selected, written out": (one(not_selected=0), "report: rounds.0.not_selected: "),
    "a verdict that is unknown": (one(verdict="fine"), "report: rounds.0.verdict: "),
    "reproduced, and a finding": (one(verdict="reproduced"), "report: rounds.0: verdict: expected differs"),
    "unchecked, and a finding": (one(verdict="unchecked"), "report: rounds.0: verdict: expected differs"),
    "unchecked without a reason": (
        one(verdict="unchecked", findings=[]),
        "report: rounds.0: verdict: expected reproduced",
    ),
    "reproduced, but for a reason": (
        one(verdict="reproduced", findings=[], unchecked="no block"),
        "report: rounds.0: verdict: expected unchecked",
    ),
    "differs without a finding": (one(findings=[]), "report: omitted: expected 1 or more"),
    "a finding that is text": (one(findings=["x"]), "report: rounds.0.findings.0: "),
    "a finding of escapes": (finding(what="\x1b[2J"), "report: rounds.0.findings.0.what: expected printable text"),
    "a finding in two lines": (finding(derived="one\ntwo"), "report: rounds.0.findings.0.derived: expected printable"),
    "a finding in the wrong direction": (finding(ledger="\u202e"), "report: rounds.0.findings.0.ledger: expected"),
    "an endless finding": (finding(ledger="x" * (MAX_TEXT + 1)), "report: rounds.0.findings.0.ledger: "),
    "an endless reason": (one(unchecked="x" * (MAX_TEXT + 1)), "report: rounds.0.unchecked: "),
    "a round twice": (changed(rounds=[GOOD_ROUND, GOOD_ROUND]), "report: rounds: expected each once, in order"),
    "rounds out of order": (
        changed(rounds=[GOOD_ROUND | {"round": 4}, GOOD_ROUND]),
        "report: rounds: expected each once, in order",
    ),
    "a round that was not asked for": (one(round=5), "report: rounds: expected 2 to 4, found 5 to 5"),
    "more rounds than there are": (changed(published=0), "report: rounds: expected those asked for of 0, found 1"),
    "not all rounds, though asked": (asked(first=1, last=0), "report: rounds: expected those asked for of 9, found 1"),
    "a share of nothing": (asked(sample="0.00"), "report: asked.sample: "),
    "a share of more than all": (asked(sample="1.5"), "report: asked.sample: "),
    "a share in another text": (sampled("0.050"), "report: asked.sample: expected a decimal number above 0"),
    "all, in another text": (sampled("1.0"), "report: asked.sample: expected a decimal number above 0"),
    "a share without its zero": (sampled(".5"), "report: asked.sample: expected a decimal number above 0"),
    "a share of too many digits": (sampled("0." + "0" * 18 + "1"), "report: asked.sample: expected a decimal number"),
    "a share in other digits": (sampled("0.\u0665"), "report: asked.sample: expected a decimal number"),
    "a sample without a seed": (sampled(seed=""), "report: asked: seed: expected one where a sample is drawn"),
    "a seed without a sample": (asked(seed="7"), "report: asked: seed: expected one where a sample is drawn"),
    "a seed that is none": (sampled(seed="x"), "report: asked.seed: expected a whole number from 0 to 2^64 - 1"),
    "a seed in another text": (sampled(seed="07"), "report: asked.seed: expected a whole number from 0 to 2^64 - 1"),
    "a seed that is a number": (asked(sample="0.5", seed=7), "report: asked.seed: "),
    "a negative seed": (sampled(seed="-7"), "report: asked.seed: expected a whole number from 0 to 2^64 - 1"),
    "a seed beyond 64 bits": (sampled(seed=str(1 << 64)), "report: asked.seed: expected a whole number from 0"),
    "an endless seed": (sampled(seed="9" * 100_000), "report: asked.seed: expected a whole number from 0"),
    "a sample that is said to be all": (
        sampled(verdict="reproduced"),
        "report: verdict of a round: expected sample agrees, as a sample of 0.05 was asked for",
    ),
    "a sample that is said to be all of the record": (
        sampled(whole="reproduced"),
        "report: verdict: expected sample agrees, which follows from the rest, found reproduced",
    ),
    "all that is said to be a sample": (
        sampled("1", ""),
        "report: verdict of a round: expected reproduced, as a sample of 1 was asked for",
    ),
    "all of the record that is said to be a sample": (
        sampled("1", "", verdict="reproduced", whole="sample agrees"),
        "report: verdict: expected reproduced, which follows from the rest, found sample agrees",
    ),
    "a sample that agrees, and a finding": (
        one(verdict="sample agrees"),
        "report: rounds.0: verdict: expected differs",
    ),
    "a sample that agrees, but for a reason": (
        one(verdict="sample agrees", findings=[], unchecked="no block"),
        "report: rounds.0: verdict: expected unchecked",
    ),
    "a sample of no round that agrees": (
        changed(asked=GOOD["asked"] | {"sample": "0.5", "seed": "7"}, rounds=[], unchecked=[], verdict="sample agrees"),
        "report: verdict: expected unchecked",
    ),
    "a share that is a number": (asked(sample=1), "report: asked.sample: "),
    "no share": (asked(sample=None), "report: asked.sample: expected a value, found nothing"),
    "more blocks than there are": (one(derived=4), "report: rounds.0: derived: expected at most 3, all blocks"),
    "a negative number of blocks": (one(blocks=-1), "report: rounds.0.blocks: "),
    "blocks that are no number": (one(derived="3"), "report: rounds.0.derived: "),
    "a survey that is no number": (one(surveyed="1"), "report: rounds.0.surveyed: "),
    "a survey beyond all": (one(surveyed=1), "report: surveyed, of round 3: expected 0, as no sample was asked for"),
    "fewer blocks than the share": (sampled("0.5"), "report: derived, of round 3: expected 2 of 3 blocks, found 1"),
    "more blocks than the share": (sampled(derived=2), "report: derived, of round 3: expected 1 of 3 blocks, found 2"),
    "a sample of no blocks": (
        sampled(blocks=0, derived=0),
        "report: derived, of round 3: expected 1 of 0 blocks, found 0",
    ),
    "a part that is said to be all": (
        sampled("1", "", verdict="reproduced", derived=2),
        "report: derived, of round 3: expected 3 of 3 blocks, found 2",
    ),
    "a good verdict on bad rounds": (changed(verdict="reproduced"), "report: verdict: expected differs"),
    "a verdict on no round": (
        changed(rounds=[], unchecked=[], verdict="reproduced"),
        "report: verdict: expected unchecked",
    ),
    "a better verdict than what is unchecked": (
        changed(rounds=[GOOD_ROUND | {"verdict": "reproduced", "findings": []}], verdict="reproduced"),
        "report: verdict: expected unchecked",
    ),
    "a negative count": (changed(omitted=-1), "report: omitted: "),
    **{f"no {name}": (changed(**{name: None}), f"report: {name}: expected a value, found nothing") for name in GOOD},
    **{
        f"no {name} of a round": (one(**{name: None}), f"report: rounds.0.{name}: expected a value, found nothing")
        for name in GOOD_ROUND
    },
    **{
        f"no {name} of a finding": (
            finding(**{name: None}),
            f"report: rounds.0.findings.0.{name}: expected a value, found nothing",
        )
        for name in GOOD_ROUND["findings"][0]
    },
}


def test_the_report_that_the_tests_below_damage_is_a_good_one() -> None:
    """As it stands, and where findings had no room."""
    assert reports.decode(changed()).rounds[0].verdict == "differs"
    assert reports.decode(sampled()).verdict == "sample agrees"
    assert reports.decode(sampled("1", "", verdict="reproduced")).verdict == "reproduced"
    assert reports.decode(canonical.encode(GOOD | {"omitted": 1, "rounds": [GOOD_ROUND | {"findings": []}]}))


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_bytes_that_are_no_report_are_refused(data: bytes, message: str) -> None:
    """Every field must be there, of its form, and in keeping with the others; the error is one printable line."""
    with pytest.raises(InvalidDocument) as caught:
        reports.decode(data)
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()


def test_a_report_of_too_many_bytes_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one written."""
    monkeypatch.setattr(reports, "MAX_BYTES", 100)
    with pytest.raises(InvalidDocument, match="expected at most 100 bytes"):
        reports.decode(b"[" * 101)
    with pytest.raises(InvalidDocument, match="ask for fewer rounds"):
        Report.model_validate(GOOD).encode()


HOSTILE = {
    "a list of things that are no rounds": changed(rounds=[0] * 50_000),
    "a list of things that are no findings": one(findings=[0] * 50_000),
    "many fields that no report has": changed(**{str(number): 0 for number in range(20_000)}),
    "many fields that no round has": one(**{str(number): 0 for number in range(20_000)}),
    "text where a number should be": changed(published="x" * 1_000_000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_report_costs_little_more_than_its_size(data: bytes) -> None:
    """It is refused at its first fault."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidDocument):
            reports.decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(data)


# ------------------------------------------------------------------------------------------------------ from an audit


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Nine published rounds, of which the sixth excludes an update."""
    return ten_rounds(tmp_path / "run")


def _report(history: History, **options: Any) -> Report:
    entries = history.ledger.read(Cursor()).entries
    return report(history.ledger.identity, audit(history.ledger.identity, entries, history.blocks, **options))


def test_it_says_what_was_asked_and_what_was_found(history: History) -> None:
    """Which federation, which rounds, where they stand on the ledger, what became of them."""
    manifest = history.view.rounds[7].manifest
    (path,) = history.directory.glob(f"store/blocks/*/{manifest}")
    path.write_bytes(b"{}")
    update = history.view.rounds[5].submissions[0].update.cid
    (path,) = history.directory.glob(f"store/blocks/*/{update}")
    path.unlink()
    said = _report(history, scope=Scope(3, 7), trusted_head=history.view.head)
    assert (said.chain_id, said.contract) == (history.ledger.identity.chain_id, history.ledger.identity.contract)
    assert (said.head, said.anchored, said.published) == (history.head(), 1, 9)
    assert said.asked == AskedSection(first=3, last=7, sample="1", seed="")
    assert [(each.round, each.verdict) for each in said.rounds] == [
        (3, "reproduced"),
        (5, "unchecked"),
        (6, "reproduced"),
        (7, "differs"),
    ]
    sixth = said.rounds[2]
    current = history.view.rounds[6]
    assert (sixth.model, sixth.manifest, sixth.base) == (str(current.model), str(current.manifest), str(current.base))
    assert (sixth.charter, sixth.transcript) == (str(current.charter), "0x" + current.transcript.hex())
    assert sixth.head == "0x" + current.head.hex()
    assert (sixth.included, sixth.excluded, sixth.asserted) == (2, 1, 0)
    assert str(update) in said.rounds[1].unchecked
    assert said.rounds[3].findings[0].what == "manifest"
    assert said.verdict == "differs"
    assert reports.decode(said.encode()) == said
    assert {each.value for each in audits.Verdict} == set(get_args(Verdict))


def test_it_says_what_was_drawn(history: History) -> None:
    """Share and seed; and of no round that it was reproduced."""
    said = _report(history, scope=Scope(2, 7, Decimal("0.050"), 1 << 63))
    assert said.asked == AskedSection(first=2, last=7, sample="0.05", seed="9223372036854775808")
    assert {each.verdict for each in said.rounds} == {said.verdict} == {"sample agrees"}
    assert [(each.included, each.excluded) for each in said.rounds if each.round == 6] == [(2, 1)]
    assert reports.decode(said.encode()) == said


def test_the_same_audit_gives_the_same_bytes(tmp_path: Path, history: History) -> None:
    """Somewhere else, with other jobs and threads, and where an earlier audit had done a part."""
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    first = fedpact("audit", history.directory, "--report", whole, "--threads", "1")
    elsewhere = Copy(history.directory, tmp_path / "elsewhere").path
    assert fedpact("audit", elsewhere, "--resume", tmp_path / "p", "--to", "5", "--report", parts).returncode == 0
    assert parts.read_bytes() != whole.read_bytes()
    options = ("--resume", tmp_path / "p", "--jobs", "3", "--threads", "2", "--report", parts)
    second = fedpact("audit", elsewhere, *options)
    assert parts.read_bytes() == whole.read_bytes()
    cid = address(whole.read_bytes())
    assert f"report: {cid}\n" in first.stdout
    assert f"report: {cid}\n" in second.stdout
    said = json.loads(fedpact("audit", elsewhere, "--json", "--report", parts).stdout)
    assert said["report"] == str(cid)
    assert "report" not in json.loads(fedpact("audit", elsewhere, "--json").stdout)


def test_a_member_can_attest_with_it(history: History) -> None:
    """In the store under the printed address, it is what the attestation on the ledger points to."""
    data = _report(history).encode()
    cid = add(history.blocks, data).root
    history.ledger.send(MEMBERS[0], Attest(history.view.number, True, cid))
    (word,) = history.view.attestations
    assert reports.decode(read_small(history.blocks, word.report, reports.MAX_BYTES)).verdict == "reproduced"


def test_what_a_hostile_record_says_is_tamed(history: History) -> None:
    """Escapes, endless text, text that is no Unicode, any number of findings: the report is one, and counts."""
    entries = history.ledger.read(Cursor()).entries
    found = audit(history.ledger.identity, entries, history.blocks)
    hostile = Finding(1, "\x1b[2J", "x" * 10_000, "\ud800")
    found.findings += [hostile] * 3
    found.unchecked += ["\x1b" * 600] * 2
    found.rounds[0].findings += [hostile] * (2 * MAX_FINDINGS)
    found.rounds[1].findings += [hostile]
    found.rounds[2].unchecked = "\r\n" * 1000
    said = report(history.ledger.identity, found)
    assert reports.decode(said.encode()) == said
    assert said.findings[0] == FindingSection(round=1, what="?[2J", ledger="x" * MAX_TEXT, derived="?")
    assert (len(said.rounds[0].findings), said.rounds[1].findings) == (MAX_FINDINGS - 5, [])
    assert said.omitted == MAX_FINDINGS + 6
    assert [each.verdict for each in said.rounds[:4]] == ["differs", "differs", "unchecked", "reproduced"]


def test_a_record_that_is_none_has_a_report_all_the_same(tmp_path: Path, history: History) -> None:
    """Of which federation it claims to be is on its first line."""
    path = history.directory / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (lines[:-1], [*lines[:3], *lines[4:]], [lines[0], b'{"entries":0}\n']):
        path.write_bytes(b"".join(broken))
        done = fedpact("audit", history.directory, "--report", tmp_path / "report.json")
        assert (done.returncode, done.stderr) == (1, "")
        said = reports.decode((tmp_path / "report.json").read_bytes())
        assert (said.verdict, said.rounds, said.published) == ("differs", [], 0)
        assert (said.chain_id, said.findings[0].what) == (history.ledger.identity.chain_id, "record")


def test_an_empty_audit_is_a_report_too() -> None:
    """With no rounds there is nothing to differ."""
    said = report(IDENTITY, Audit())
    assert reports.decode(said.encode()).verdict == "reproduced"


# ------------------------------------------------------------------------------------------------- where it is written


def test_what_is_no_report_is_not_written_over(tmp_path: Path, history: History) -> None:
    """Before anything is audited, in one line; an earlier report makes way."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes").write_text("precious")
    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 1 << 40)
    for path, says in (
        ("pipe", "found something that is no file"),
        ("link", "a link that leads nowhere"),
        ("notes", "expected an earlier report, or no file; found another: report: not JSON"),
        ("big", "expected at most"),
        ("run/ledger.jsonl", "expected an earlier report, or no file; found another"),
    ):
        done = fedpact("audit", history.directory, "--report", tmp_path / path, timeout=60)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), (path, done.stderr)
        assert says in done.stderr
    assert (tmp_path / "notes").read_text() == "precious"
    both = ("--report", tmp_path / "both", "--resume", tmp_path / "both")
    assert "expected another file than that of --resume" in fedpact("audit", history.directory, *both).stderr


def test_an_answer_is_given_even_where_the_report_cannot_be_written(tmp_path: Path, history: History) -> None:
    """The audit is done: what it found is shown, then the one line, and the exit code is 2."""
    place = tmp_path / "place"
    place.mkdir()
    script = (
        "import pathlib, sys\n"
        "import fedpact.files as files\n"
        "def fails(path, data): raise OSError(28, 'No space left on device')\n"
        "files.write_atomically = fails\n"
        "from fedpact.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script, "audit", str(history.directory), "--report", str(place / "report.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot be written: No space left on device" in done.stderr
    assert "9 of 9 models reproduced" in done.stdout
    assert list(place.iterdir()) == []
