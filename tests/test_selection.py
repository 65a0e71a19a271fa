"""Selection: what follows from the ledger alone, what is never fetched, and what an audit says of another choice."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from chains import COORDINATOR
from charters import small_charter
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Manifest
from fedpact.audit import Audit, Scope, Verdict, audit
from fedpact.audit.progress import ProgressFile
from fedpact.audit.report import report
from fedpact.derivation import derive
from fedpact.ledger.port import Cursor, Follower
from fedpact.ledger.view import Submission
from fedpact.selection import select
from fedpact.store import Cid
from fedpact.store.unixfs import open_file
from fedpact_coordinator.coordinator import Coordinator
from histories import Forge, History
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import BASE, submission
from runs import Copy, fedpact

TRANSCRIPT = b"t" * 28
NAMES = ["best_score", "most_samples", "random"]


def selecting(name: str, count: int, **changes: Any) -> Charter:
    """A charter that selects."""
    return small_charter(selection={"name": name, "count": count}, **changes)


def claims(*pairs: tuple[int, int]) -> list[Submission]:
    """Submissions with these scores and samples, by the members from 1 on."""
    return [
        submission(index, Cid.of(bytes([index])), size=1, score=score, samples=samples)
        for index, (score, samples) in enumerate(pairs, 1)
    ]


# ------------------------------------------------------------------------------------------------- the function alone

few = st.integers(-2, 2)
submissions = st.lists(st.tuples(few, few.map(abs)), max_size=9).map(lambda pairs: claims(*pairs))


@settings(max_examples=100)
@given(submissions, st.sampled_from(NAMES), st.integers(1, 10), st.binary(min_size=28, max_size=28), st.randoms())
def test_the_selection_is_one_whatever_the_order(
    found: list[Submission], name: str, count: int, transcript: bytes, source: random.Random
) -> None:
    """As many as the charter says, or all; each submission is selected or not; the order of submission is no matter."""
    charter = selecting(name, count)
    selection = select(found, charter, BASE, transcript)
    assert len(selection.selected) == min(count, len(found))
    assert sorted([*selection.selected, *selection.not_selected]) == [each.index for each in found]
    source.shuffle(found)
    assert select(found, charter, BASE, transcript) == selection


@settings(max_examples=50)
@given(submissions, st.sampled_from(NAMES), st.integers(1, 9))
def test_a_greater_count_adds_and_takes_nobody_away(found: list[Submission], name: str, count: int) -> None:
    """The order is the same for every count."""
    more = select(found, selecting(name, count + 1), BASE, TRANSCRIPT).selected
    assert more[:count] == select(found, selecting(name, count), BASE, TRANSCRIPT).selected


def test_the_best_scores_are_selected() -> None:
    """Highest first; of equal scores the lower index."""
    found = claims((5, 1), (-7, 9), (8, 2), (5, 3), (-6, 4))
    assert select(found, selecting("best_score", 4), BASE, TRANSCRIPT).selected == (3, 1, 4, 5)
    assert select(found, selecting("best_score", 2), BASE, TRANSCRIPT).selected == (3, 1)


def test_the_most_samples_are_selected() -> None:
    """Most first; of equal numbers the lower index."""
    found = claims((9, 1), (8, 30), (7, 20), (6, 30), (5, 20))
    assert select(found, selecting("most_samples", 3), BASE, TRANSCRIPT).selected == (2, 4, 3)


def test_random_goes_by_the_hash_that_is_documented() -> None:
    """Sha256 of the base's digest, the transcript and four bytes of index: another base or transcript draws anew."""
    found = claims(*[(0, 10)] * 8)
    charter = selecting("random", 8)

    def place(index: int) -> bytes:
        return hashlib.sha256(BASE.digest + TRANSCRIPT + bytes([0, 0, 0, index])).digest()

    expected = tuple(sorted(range(1, 9), key=place))
    assert select(found, charter, BASE, TRANSCRIPT).selected == expected
    assert select(found, charter, Cid.of(b"other"), TRANSCRIPT).selected != expected
    assert select(found, charter, BASE, b"u" * 28).selected != expected


def test_random_favours_nobody() -> None:
    """Over many transcripts each of ten members is selected about half of the time."""
    found, charter = claims(*[(0, 10)] * 10), selecting("random", 5)
    times = [0] * 11
    for number in range(1000):
        for index in select(found, charter, BASE, number.to_bytes(28)).selected:
            times[index] += 1
    assert all(420 < each < 580 for each in times[1:])


def test_all_are_selected_where_the_charter_selects_nothing() -> None:
    """By index, and nobody is left aside."""
    selection = select(reversed(claims((1, 1), (2, 2), (3, 3))), small_charter(), BASE, TRANSCRIPT)
    assert (selection.selected, selection.not_selected) == ((1, 2, 3), {})


def test_who_is_not_selected_has_a_place() -> None:
    """In words, as the manifest has it."""
    selection = select(claims((1, 1), (3, 1), (2, 1)), selecting("best_score", 2), BASE, TRANSCRIPT)
    assert selection.not_selected == {1: "best_score: place 3 of 3, 2 selected"}


# ----------------------------------------------------------------------------------------------------------- the audit


class Selecting(History):
    """A federation of four members that selects the two with the most samples: of three, members 2 and 3."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        super().__init__(directory, selection={"name": "most_samples", "count": 2}, **changes)

    def selected_otherwise(self, name: str = "best_score") -> Forge:
        """Publishes what follows where the charter selects in another way: by score, so members 1 and 2."""

        def forge(_: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
            current = self.view.rounds[manifest.round]
            other = self.charter.model_validate(self.charter.model_dump() | {"selection": {"name": name, "count": 2}})
            derived = derive(current, other, self.blocks, into=self.blocks)
            assert derived.model is not None
            return derived.model.root, derived.manifest

        return forge

    def forget(self, number: int, index: int) -> None:
        """Removes a member's update from the store."""
        [update] = [each.update.cid for each in self.view.rounds[number].submissions if each.index == index]
        [path] = self.directory.glob(f"store/blocks/*/{update}")
        path.unlink()

    def audit(self, **options: Any) -> Audit:
        """What an auditor finds."""
        entries = self.ledger.read(Cursor()).entries
        return audit(self.ledger.identity, entries, self.blocks, **options)


def in_words(found: Audit) -> list[str]:
    """The findings on decisions."""
    return [str(each) for each in found.all_findings if each.what.endswith("decision")]


def test_an_audit_needs_no_update_that_was_not_selected(tmp_path: Path) -> None:
    """The round is reproduced without it; it counts as not selected, not as excluded."""
    history = Selecting(tmp_path / "run")
    history.publish(1.0, 2.0, 3.0)
    history.forget(1, 1)
    found = history.audit()
    [said] = found.rounds
    assert found.verdict is Verdict.REPRODUCED
    assert (said.included, said.rejected, said.asserted, said.not_selected) == (2, [], [], 1)
    [section] = report(history.ledger.identity, found).rounds
    assert (section.included, section.excluded, section.asserted, section.not_selected) == (2, 0, 0, 1)


@pytest.mark.parametrize("share", [None, "0.5"])
def test_an_audit_finds_another_selection(tmp_path: Path, share: str | None) -> None:
    """A manifest and a model that follow from each other, but not from the charter; whole or a sample."""
    history = Selecting(tmp_path / "run")
    history.publish(1.0, 2.0, 3.0, forge=history.selected_otherwise())
    found = history.audit(scope=Scope(share=None if share is None else Decimal(share)))
    assert found.verdict is Verdict.DIFFERS
    assert in_words(found) == [
        "round 1: manifest, submission of member 1, decision: the ledger says included, found not_selected",
        "round 1: manifest, submission of member 3, decision: the ledger says not_selected, found included",
    ]


def test_another_selection_is_found_without_the_updates(tmp_path: Path) -> None:
    """Whoever should have been selected, and whose update was never fetched, needs not be in the store for that."""
    history = Selecting(tmp_path / "run")
    history.publish(1.0, 2.0, 3.0, forge=history.selected_otherwise())
    history.forget(1, 3)
    found = history.audit()
    assert found.verdict is Verdict.DIFFERS
    assert in_words(found) == [
        "round 1: manifest, submission of member 1, decision: the ledger says included, found not_selected",
        "round 1: manifest, submission of member 3, decision: the ledger says not_selected, found selected",
    ]
    assert len(found.all_unchecked) == 1


def test_an_update_out_of_the_running_is_not_one_that_was_not_selected(tmp_path: Path) -> None:
    """What the ledger excludes is no candidate: a manifest that calls it not selected differs, whatever is missing."""
    history = Selecting(tmp_path / "run", limits={"max_samples": 11})  # Member 3 claims 12.

    def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        lines = list(manifest.submissions)
        assert [line.decision for line in lines] == ["included", "included", "excluded"]
        lines[2] = lines[2].model_copy(update={"decision": "not_selected", "reason": ""})
        return model, manifest.model_copy(update={"submissions": lines})

    history.publish(1.0, 2.0, 3.0, forge=forge)
    history.forget(1, 2)
    expected = "round 1: manifest, submission of member 3, decision: the ledger says not_selected, found no candidate"
    assert in_words(history.audit()) == [expected]


def test_an_audit_that_goes_on_counts_as_the_one_before(tmp_path: Path) -> None:
    """The counts of a remembered round are those of the round that was derived."""
    history = Selecting(tmp_path / "run")
    history.publish(1.0, 2.0, 3.0)
    reports = []
    for _ in range(2):
        file = ProgressFile(tmp_path / "progress")
        found = history.audit(memory=file)
        file.close()
        reports.append(report(history.ledger.identity, found).encode())
    assert found.remembered == 1
    assert reports[0] == reports[1]


# --------------------------------------------------------------------------------------------------- a whole federation


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Ten silos, of which five are drawn in each of three rounds; what the command said."""
    directory = tmp_path_factory.mktemp("selection")
    own = resources.files("fedpact_simulation") / "charters" / "diabetes.toml"
    charter = directory / "charter.toml"
    charter.write_text(own.read_text("utf-8") + '\n[selection]\nname = "random"\ncount = 5\n', "utf-8")
    options = ("--silos", "10", "--rounds", "3", "--threads", "1", "--ledger", "memory", "--json")
    done = fedpact("simulate", "diabetes", *options, "--charter", charter, "--workdir", directory / "run")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return directory / "run", said


def test_a_federation_that_draws_five_of_ten_is_audited(simulated: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Every round has ten submissions, of which five make the model; the audit needs none of the others."""
    directory, said = simulated
    assert (said["audit"]["rounds"], said["audit"]["reproduced"], said["audit"]["ok"]) == (3, 3, True)
    copy = Copy(directory, tmp_path / "copy")
    drawn = set()
    for each in said["rounds"]:
        assert (each["submissions"], each["excluded"], len(each["not_selected"])) == (10, [], 5)
        manifest = copy.manifest(each["round"])
        assert [line.index for line in manifest.not_selected] == each["not_selected"]
        assert len(manifest.included) == 5
        drawn.add(tuple(each["not_selected"]))
        for line in manifest.not_selected:
            root = Cid.parse(line.update)
            for cid in {root, *open_file(copy.blocks, root, line.size).leaves}:
                copy.file(cid).unlink()
    assert len(drawn) > 1
    done = fedpact("audit", copy.path)
    assert done.returncode == 0, done.stdout
    _, first, *_ = done.stdout.splitlines()
    assert first.split()[:6] == ["1", "5", "of", "10", "0", "0"]
    assert "submissions that the charter did not select: 15" in done.stdout


def test_a_coordinator_says_how_many_it_left_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for the round, which is no warning."""
    history = Selecting(tmp_path / "run")
    history.submit(history.open(), 1.0, 2.0, 3.0)
    with caplog.at_level(logging.INFO):
        Coordinator(history.ledger, COORDINATOR, history.blocks, Follower(history.ledger)).step()
    assert "round 1: 1 of 3 submissions not selected: of member 1" in caplog.messages
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
