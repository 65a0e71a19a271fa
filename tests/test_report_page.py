"""The page about a federation: that it says everything, and that nobody else's text becomes a part of it."""

from __future__ import annotations

import dataclasses
import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from chains import MEMBERS, START, Twins
from fedpact.audit import Audit, Audited, Finding, RoundAudit, Verdict
from fedpact.errors import RecordInconsistent
from fedpact.ledger.actions import Announce
from fedpact.ledger.events import Entry, KeyAnnounced, RoundAttested, RoundCancelled, RoundOpened, RoundPublished
from fedpact.ledger.facts import NO_TERMS, Hash, RoundNumber, Terms
from fedpact.ledger.port import Cursor, Receipt
from fedpact.ledger.record import Record
from fedpact.ledger.view import Round, Status
from fedpact.overview import Times
from fedpact.report import Report, charts, gather, page
from fedpact.report.charts import Series
from fedpact.report.facts import Measured, RoundFacts, Silo, Submitted
from fedpact.report.gas import Gas, by_round
from fedpact.report.markup import MOST_CHARACTERS, Markup, tag
from fedpact.report.run import measured
from fedpact.report.tables import spans
from fedpact.store.cid import Cid
from fedpact.store.memory import MemoryBlocks
from histories import IDENTITY, History
from hypothesis import given
from hypothesis import strategies as st
from pages import GAS, HOSTILE, METRICS, full_history, hostile_history, read, report_of
from runs import Copy, fedpact

# ------------------------------------------------------------------------------------------------------- what it says


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report with everything in it."""
    return report_of(full_history(tmp_path_factory.mktemp("full")), metrics=METRICS, gas=GAS, elsewhere=123_456)


def test_every_address_and_every_head_is_there(full: Report) -> None:
    """In full, so that whoever selects one has all of it."""
    text = read(page(full)).text
    expected = {str(full.genesis), str(full.charter.cid), *(str(each.report) for each in full.attestations)}
    for each in full.rounds:
        expected |= {str(each.round.base), str(each.round.model or ""), str(each.round.manifest or "")}
        expected |= {str(one.update) for one in each.submissions}
        expected |= {"0x" + each.round.transcript.hex(), "0x" + each.round.head.hex()}
    expected |= {"0x" + link.head.hex() for link in full.links} | {silo.address for silo in full.silos}
    assert len(full.rounds) == 6
    assert not [each for each in expected if each not in text]


def test_rounds_say_how_they_ended(full: Report) -> None:
    """Also the one that a rewind disowned, the one that was cancelled, and the one that is open."""
    assert [each.status for each in full.rounds] == ["published"] * 2 + ["cancelled", "disowned", "published", "open"]
    assert [each.what for each in full.links] == [
        "founded",
        "round 1 published",
        "round 2 published",
        "round 4 published",
        "rewound to the base of round 4",
        "round 5 published",
    ]
    assert full.links[-1].head == full.head


def test_silos_have_their_weight(full: Report) -> None:
    """The shares of each published round add up to one; who is left out of it has none."""
    for each in full.published:
        assert sum(one.share for one in each.submissions) == pytest.approx(1)
        assert all((one.share > 0) == (one.decision == "included") for one in each.submissions)
    assert sum(each.share for each in full.silos) == pytest.approx(1)
    first = full.silos[0]
    assert first.submitted == 5
    mine = [one for each in full.rounds for one in each.submissions if one.index == 1]
    assert first.decisions["included"] == sum(one.decision == "included" for one in mine)


def test_updates_left_out_are_named_with_the_reason(full: Report) -> None:
    """As the manifests say it, in words."""
    text = read(page(full)).text
    decided = {one.decision for each in full.rounds for one in each.submissions}
    assert decided == {"included", "excluded", "not_selected", None}
    for words in (
        "left aside by the charter's selection",
        "random: place",
        "not as many bytes as the charter's model has",
    ):
        assert words in text


def test_charts_have_their_numbers_in_tables(full: Report) -> None:
    """Scores, gas and bytes."""
    text = read(page(full)).text
    for each in full.rounds:
        assert f"{METRICS[each.number]['loss']:.4f}" in text
        assert f"{GAS[each.number].total:,}" in text
        assert f"{each.submitted_bytes:,}" in text
    assert "123,456 gas" in text


def test_the_same_report_is_the_same_page(full: Report) -> None:
    """It says nothing of when or where it was made."""
    assert page(full) == page(full)


def test_without_an_audit_it_says_so(tmp_path: Path) -> None:
    """Plainly, in place of a verdict."""
    text = read(page(report_of(full_history(tmp_path), audited=False))).text
    assert "No audit was made" in text
    assert "derived again, bit for bit" not in text


def test_verdicts_are_what_the_audit_says(full: Report) -> None:
    """What differs is never shown as reproduced."""
    assert full.audited is not None
    model = Cid.of(b"")
    differs = RoundAudit(1, model, findings=[Finding(1, "model, block 3", "this", HOSTILE)])
    for audited, words in (
        (full.audited, "4 models derived again, bit for bit"),
        (_audited(differs), "Something differs"),
        (_audited(RoundAudit(1, model, unchecked="no such block")), "Not everything could be checked"),
    ):
        findings = list(map(str, audited.audit.all_findings))
        text = read(page(dataclasses.replace(full, audited=audited, verdict="", findings=findings))).text
        assert words in text
        assert all(
            other not in text for other in ("Something differs", "bit for bit", "be checked") if other not in words
        )
        assert all(line[:40] in text for line in findings)
    assert full.audited.audit.verdict is Verdict.REPRODUCED


def _audited(each: RoundAudit) -> Audited:
    published = Round(RoundNumber(1), MEMBERS[0], each.model, each.model, NO_TERMS, 0, Hash(b""), Hash(b""))
    return Audited(Audit(rounds=[each], published=[published]), IDENTITY)


def test_what_cannot_be_read_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    """A store without charter and manifests leaves the ledger."""
    found = report_of(full_history(tmp_path), blocks=MemoryBlocks())
    text = read(page(found)).text
    assert str(found.charter.cid) in text
    assert "What could not be read" in text
    assert "Not everything could be checked" in text
    assert all(str(each.round.model) in text for each in found.published)


def test_what_no_contract_can_have_written_ends_the_record(tmp_path: Path) -> None:
    """What stands before it is shown, and where it ends is said; without a founding there is nothing to show."""
    history = full_history(tmp_path)
    record = history.ledger.read(Cursor()).entries
    first = next(place for place, each in enumerate(record) if isinstance(each.event, RoundPublished))
    entries = (*record[: first + 1], *record[first + 3 :])
    found = gather(Record(IDENTITY, "test", entries), history.blocks, is_record=True, measured=Measured())
    assert [each.number for each in found.published] == [1]
    assert "ledger: what follows is not shown, as the contract cannot have written it: entry" in read(page(found)).text
    with pytest.raises(RecordInconsistent, match="before or after the founding"):
        gather(Record(IDENTITY, "test", entries[1:]), history.blocks, is_record=True, measured=Measured())


def test_only_what_is_included_has_weight(tmp_path: Path) -> None:
    """Whatever a manifest says that the weight of an excluded update is."""
    found = report_of(hostile_history(tmp_path))
    assert [one.share for one in found.rounds[1].submissions] == [0, 0]
    assert sum(each.share for each in found.silos) == pytest.approx(1 / 2)


def test_a_federation_that_has_only_begun(tmp_path: Path) -> None:
    """No round, no score, no chart: a page all the same."""
    text = read(page(report_of(History(tmp_path)))).text
    assert "There is no model to derive yet" in text
    assert text.count("No round was opened yet.") == 2


# -------------------------------------------------------------------------------------------------------- hostile text


def test_nobody_elses_text_becomes_markup(tmp_path: Path) -> None:
    """Names, reasons and details are shown as they are, without what would change how a page is read."""
    html = page(report_of(hostile_history(tmp_path), metrics={1: {HOSTILE: 0.5}}, notes=[HOSTILE]))
    found = read(html)  # It knows of no script and no image.
    assert found.text.count("<script>alert(1)</script>") > 8
    assert not set("\u202e\x00") & set(html)
    assert "<script" not in html
    assert html.count("</style>") == 1


@given(st.text(), st.text(max_size=5))
def test_text_comes_out_as_it_went_in(value: str, other: str) -> None:
    """For any text, as content and as an attribute, but for what cannot be printed."""
    shown = "".join(each if each.isprintable() else "?" for each in value)
    made = tag("p", value, tag("b", other), title=value)
    inner = made.removeprefix('<p title="').removesuffix("</b></p>")
    attribute, content = inner.split('">', 1)
    assert unescape(attribute) == shown
    assert unescape(content.split("<b>")[0]) == shown
    assert not set("<>\"'") & set(attribute)


def test_long_text_is_cut() -> None:
    """A name of a megabyte is none."""
    assert len(tag("p", "x" * 10**6)) < MOST_CHARACTERS + 10
    assert len(tag("p", Markup("x" * 10**6))) > 10**6


# ---------------------------------------------------------------------------------------------------------------- size


def test_a_thousand_rounds_of_a_hundred_silos_are_a_few_megabytes(full: Report) -> None:
    """What is not shown is counted."""
    html = page(_large(full, rounds=1000, silos=100))
    assert 1_000_000 < len(html.encode()) < 4_000_000
    assert "Shown are the last 40 of 1,000 rounds submission by submission" in html
    assert "Round 1000<" in html
    assert "Round 960<" not in html


def test_more_of_anything_does_not_make_it_larger(full: Report) -> None:
    """Every table ends somewhere: a hostile record may be of any length."""
    html = page(_large(full, rounds=3000, silos=20, every=5))
    assert len(html.encode()) < 5_000_000
    assert "Shown are the last 1,000 of 3,000 rows" in html
    html = page(_large(full, rounds=2, silos=2500))
    assert len(html.encode()) < 2_000_000
    assert "Shown are the first 300 of 2,500 silos" in html


def _large(report: Report, *, rounds: int, silos: int, every: int = 1) -> Report:
    """So many rounds of so many silos, each of which is excluded now and then."""
    cid, kinds = Cid.of(b"any"), ("included", "included", "not_selected", "excluded")

    def one(number: int, index: int) -> Submitted:
        decision = kinds[(number + index) % 4]
        reason, detail = ("not_finite", f"weight[{number}] is nan") if decision == "excluded" else ("", "")
        member, share = MEMBERS[index % 4], 2 / silos if decision == "included" else 0.0
        return Submitted(index, member, cid, 1000, 900_000, 1 << 20, decision, share, reason, detail)

    made = []
    for number in range(1, rounds + 1):
        current = Round(
            RoundNumber(number), MEMBERS[0], cid, cid, Terms(0, 0, 1, 2, 3), silos, Hash(b"t" * 28), Hash(b"h" * 32)
        )
        current.status, current.model, current.manifest = Status.PUBLISHED, cid, cid
        submissions = tuple(one(number, index) for index in range(1, silos + 1)) if number % every == 0 else ()
        metrics = {"accuracy": 1 - 1 / number}
        made.append(
            RoundFacts(
                current, "published", Times(START, START), "fedavg 1", submissions, 0.9, metrics, Gas(1, 2, 3), None
            )
        )
    members = [
        Silo(index, MEMBERS[0], 1, None, rounds, {"included": rounds}, 10**6, 1 / silos)
        for index in range(1, silos + 1)
    ]
    return dataclasses.replace(report, rounds=made, silos=members, links=[report.links[-1]] * (rounds + 1))


# ----------------------------------------------------------------------------------------------------- parts of a page

figures = st.one_of(st.none(), st.floats(-1e12, 1e12), st.integers(0, 10**18), st.floats(0, 1e-9))


@given(st.lists(figures, min_size=1, max_size=400).filter(lambda each: any(value is not None for value in each)))
def test_charts_stay_within_their_frame(values: list[float | None]) -> None:
    """For any figures, and any number of rounds."""
    rounds = list(range(1, len(values) + 1))
    drawn = charts.lines("key", "title", "words", rounds, [Series("one", "a", values)])
    assert all(0 <= at <= charts.WIDTH for at in _places(drawn, "cx"))
    assert all(0 <= at <= charts.HEIGHT for at in _places(drawn, "cy"))
    assert 2 <= drawn.count('text-anchor="end"') <= 12
    tall = [abs(value or 0) for value in values]
    assert "nan" not in charts.columns("key", "title", "words", rounds, [Series("one", "a", tall)] * 2)


def _places(drawn: str, name: str) -> list[float]:
    return [float(each.split('"')[0]) for each in drawn.split(f'{name}="')[1:]]


@given(st.sets(st.integers(1, 60)).map(sorted))
def test_rounds_are_named_in_stretches(numbers: list[int]) -> None:
    """Each once, unless there are too many stretches to read."""
    said = spans(numbers)
    more = " and " in said
    found: list[int] = []
    for part in said.split(" and ")[0].split(", ") if said else []:
        first, _, last = part.partition(" to ")
        found += range(int(first), int(last or first) + 1)
    assert found == numbers[: len(found)]
    assert more or found == numbers


# ------------------------------------------------------------------------------------------------- what rounds cost

_cid, _member = Cid.of(b"any"), MEMBERS[0]
events = st.one_of(
    st.integers(1, 3).map(lambda n: RoundOpened(RoundNumber(n), _member, _cid, NO_TERMS, 0, Hash(bytes(28)))),
    st.integers(1, 3).map(lambda n: RoundPublished(RoundNumber(n), _member, Hash(b""), _cid, _cid, Hash(b""))),
    st.integers(1, 3).map(lambda n: RoundCancelled(RoundNumber(n), _member)),
    st.integers(1, 3).map(lambda n: RoundAttested(RoundNumber(n), _member, True, _cid)),
    st.just(KeyAnnounced(_member, Hash(b""))),
)


@given(st.lists(st.tuples(st.integers(0, 9), events)), st.dictionaries(st.integers(0, 9), st.integers(1, 10**6)))
def test_all_gas_is_counted_once(found: list[tuple[int, Any]], cost: dict[int, int]) -> None:
    """Whatever shares a transaction."""
    entries = [Entry(1, 1, Hash(bytes([transaction])), 0, event) for transaction, event in found]
    rounds, elsewhere = by_round(entries, {Hash(bytes([number])): gas for number, gas in cost.items()})
    there = {transaction for transaction, _ in found}
    assert sum(each.total for each in rounds.values()) + elsewhere == sum(cost.get(each, 0) for each in there)


def test_what_publishes_a_round_and_opens_the_next_is_the_first_ones() -> None:
    """As the contract allows in one transaction."""
    entries = [
        Entry(1, 1, Hash(b"a"), 0, RoundPublished(RoundNumber(1), _member, Hash(b""), _cid, _cid, Hash(b""))),
        Entry(1, 1, Hash(b"a"), 1, RoundOpened(RoundNumber(2), _member, _cid, NO_TERMS, 0, Hash(bytes(28)))),
        Entry(2, 2, Hash(b"b"), 0, RoundAttested(RoundNumber(1), _member, True, _cid)),
    ]
    assert by_round(entries, {Hash(b"a"): 7, Hash(b"b"): 5}) == ({1: Gas(publication=7)}, 5)


def test_a_chain_says_what_transactions_cost(twins: Twins) -> None:
    """As their receipts did; what it does not know is missing."""
    receipts = [twins.do(MEMBERS[0], Announce(Hash(bytes([number]) * 32))) for number in (1, 2)]
    known = {each.transaction: each.gas for each in receipts if isinstance(each, Receipt)}
    assert len(known) == 2
    assert twins.chain.gas([*known, Hash(b"\x07" * 32)]) == known


RESULT = {"rounds": [{"round": 1, "metrics": {"accuracy": 0.5}, "gas": {"open": 1, "submit": [2, 3], "publish": 4}}]}


def test_a_run_says_what_it_measured(tmp_path: Path) -> None:
    """A run that was cut off says nothing; a dry run has no gas."""
    assert measured(tmp_path) == Measured()
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    assert measured(tmp_path) == Measured(metrics={1: {"accuracy": 0.5}}, gas={1: Gas(1, 5, 4)})
    (tmp_path / "result.json").write_text(json.dumps(RESULT).replace(': 1, "submit', ': null, "submit'))
    assert measured(tmp_path).gas == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.5", '"0.5e"'), ("[2, 3]", "[-2]"), ("[2, 3]", "7"), ('"rounds"', '"other"'), ("1", "true")],
)
def test_a_result_that_is_none_is_named(tmp_path: Path, old: str, new: str) -> None:
    """And nothing of it is shown."""
    (tmp_path / "result.json").write_text(json.dumps(RESULT).replace(old, new))
    found = measured(tmp_path)
    assert (found.metrics, found.gas, len(found.notes)) == ({}, {}, 1)
    assert found.notes[0].startswith("result.json: ")


def test_a_figure_that_cannot_be_drawn_takes_nothing_with_it(tmp_path: Path) -> None:
    """A model that diverged: gas and other figures are shown, and it is said that one is not."""
    (tmp_path / "result.json").write_text(json.dumps(RESULT).replace("0.5", '0.5, "loss": 1e300'))
    found = measured(tmp_path)
    assert (found.metrics, found.gas) == ({1: {"accuracy": 0.5}}, {1: Gas(1, 5, 4)})
    assert found.notes == ["result.json: figures beyond 1e+12, or that are no numbers, are not shown"]


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the record of a federation."""
    directory = tmp_path_factory.mktemp("run") / "record"
    directory.mkdir()
    full_history(directory).save()
    return directory


def test_the_page_is_written_and_the_audit_passed(run: Path, tmp_path: Path) -> None:
    """Exit code 0; an earlier page is replaced."""
    (tmp_path / "report.html").write_text("<!DOCTYPE html>\n<html lang=en>")
    done = fedpact("report", run, "-o", tmp_path / "report.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "4 models derived again, bit for bit" in read((tmp_path / "report.html").read_text("utf-8")).text


def test_the_page_is_written_and_the_audit_failed(run: Path, tmp_path: Path) -> None:
    """Exit code 1, and the page says so; without an audit there is nothing to fail."""
    copy = Copy(run, tmp_path / "copy")
    copy.flip(copy.view.rounds[1].submissions[0].update.cid)
    done = fedpact("report", copy.path, "-o", "-")
    assert done.returncode == 1
    assert "Something differs" in read(done.stdout).text
    done = fedpact("report", copy.path, "--no-audit", "-o", "-")
    assert done.returncode == 0
    assert "No audit was made" in read(done.stdout).text


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["no-such-directory"], "no-such-directory: expected a directory that a simulation left, found none"),
        (["{run}", "--no-audit", "--head", "0x" + "00" * 32], "head: expected without --no-audit"),
    ],
)
def test_nothing_is_written(run: Path, tmp_path: Path, arguments: list[str], error: str) -> None:
    """Exit code 2, with one line that says why."""
    asked = [each.format(run=run) for each in arguments]
    done = fedpact("report", *asked, "-o", "report.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fedpact: error: {error}")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_page_is_not_written_over(run: Path, tmp_path: Path) -> None:
    """A slip in a file's name must not cost a model."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    done = fedpact("report", run, "-o", tmp_path / "model.safetensors")
    assert done.returncode == 2
    assert "expected an earlier page, or no file; found something else" in done.stderr
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
