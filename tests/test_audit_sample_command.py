"""Audits of a sample, by the command."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fedpact.artifacts import report as reports
from fedpact.artifacts.manifest import Manifest
from fedpact.audit import Scope, audit
from fedpact.audit.progress import ProgressFile
from fedpact.errors import InputError
from fedpact.ledger.port import Cursor
from fedpact.store import Cid
from fedpact.store.unixfs import add, open_file
from histories import IDENTITY, History, ten_rounds
from runs import Copy, fedpact
from sampled import (
    KINDS,
    PUBLISHED,
    altered,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Nine published rounds, of which the sixth excludes an update."""
    return ten_rounds(tmp_path_factory.mktemp("made") / "run", elements=300_000)  # Two leaves.


@pytest.fixture
def history(made: History, tmp_path: Path) -> History:
    """The same for every test."""
    return made.copied(tmp_path / "run")


def _said(history: History, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = fedpact("audit", history.directory, "--json", *arguments)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_answer_says_what_was_looked_at(history: History) -> None:
    """How many blocks, which share, and how to draw them again; nothing is said to be reproduced."""
    done = fedpact("audit", history.directory, "--sample", "0.050", "--seed", "7", "--head", history.head())
    assert (done.returncode, done.stderr) == (0, "")
    *table, verdict, head = done.stdout.splitlines()
    assert verdict == (
        "audit: ok: a sample of 9 of 9 models agrees bit for bit; 9 of 18 blocks derived, "
        "at least a share of 0.05 of each; "
        "--seed 7 draws them again; the run did not finish; the record ends with the trusted head"
    )
    assert head == f"head: {history.head()}"
    assert [line.split()[0] for line in table if line.rstrip().endswith("sample agrees")] == [
        str(each) for each in PUBLISHED
    ]
    assert "reproduced" not in done.stdout


def test_a_program_reads_what_was_looked_at(history: History) -> None:
    """Share and seed as text, which no program rounds; a full audit has neither."""
    said = _said(history, "--sample", ".5", "--seed", str((1 << 64) - 1))
    assert (said["sample"], said["seed"]) == ("0.5", "18446744073709551615")
    assert (said["ok"], said["verdict"], said["agreeing"], said["reproduced"]) == (True, "sample agrees", 9, 0)
    said = _said(history)
    assert (said["sample"], said["seed"], said["verdict"], said["agreeing"]) == (None, None, "reproduced", 0)


def test_a_seed_that_was_printed_draws_the_same_blocks_again(history: History, tmp_path: Path) -> None:
    """Without one, every audit draws its own."""
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    first = _said(history, "--sample", "0.5", "--report", one)
    second = _said(history, "--sample", "0.50", "--report", other, "--seed", first["seed"], "--jobs", "3")
    assert first == second
    assert one.read_bytes() == other.read_bytes()
    assert reports.decode(one.read_bytes()).asked.seed == first["seed"]
    assert _said(history, "--sample", "0.5")["seed"] != first["seed"]


def test_an_altered_block_is_named_by_the_command(history: History) -> None:
    """Exit code 1 where it is drawn, 0 where it is not."""

    def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        data = altered(open_file(history.blocks, model, history.layout.size).read(), 1)
        other = add(history.blocks, data).root
        return other, manifest.model_copy(update={"model": str(other)})

    history.publish(1.0, 2.0, 3.0, forge=forge)
    history.save()
    codes = set()
    for seed in range(5):
        there = Scope(share=Decimal("0.5"), seed=seed).leaves(11, 2) == [1]
        done = fedpact("audit", history.directory, "--sample", "0.5", "--seed", str(seed))
        assert done.returncode == int(there)
        assert ("- round 11: model, block 1: the ledger says " in done.stdout) == there
        assert "reproduced" not in done.stdout
        codes.add(done.returncode)
        if there:
            assert (
                "audit: DIFFERS: a sample of 9 of 10 models agrees bit for bit; 10 of 20 blocks derived" in done.stdout
            )
    assert codes == {0, 1}


def test_a_share_of_one_is_a_full_audit(history: History, tmp_path: Path) -> None:
    """With or without a seed, which draws nothing then."""
    full = _said(history, "--report", tmp_path / "full.json")
    for options in (("--sample", "1"), ("--sample", "1.00"), ("--sample", "1", "--seed", "5")):
        assert _said(history, "--report", tmp_path / "other.json", *options) == full
        assert (tmp_path / "other.json").read_bytes() == (tmp_path / "full.json").read_bytes()
    done = fedpact("audit", history.directory, "--sample", "1", "--resume", tmp_path / "mine")
    assert done.returncode == 0
    assert "9 of 9 models reproduced bit for bit" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sample", "0"), "sample: expected a decimal number above 0, at most 1, found '0'"),
        (("--sample", "0.000"), "sample: expected a decimal number above 0, at most 1, found '0.000'"),
        (("--sample", "1.5"), "at most 1, found '1.5'"),
        (("--sample", "2"), "at most 1, found '2'"),
        (("--sample", "-0.5"), "at most 1, found '-0.5'"),
        (("--sample", "5%"), "at most 1, found '5%'"),
        (("--sample", "1e-3"), "at most 1, found '1e-3'"),
        (("--sample", "nan"), "at most 1, found 'nan'"),
        (("--sample", "\u0660.\u0665"), "at most 1, found '\u0660.\u0665'"),
        (("--sample", "0.5\n"), "at most 1, found '0.5\\n'"),
        (("--sample", ""), "at most 1, found ''"),
        (("--sample", "0." + "0" * 18 + "1"), "at most 1, found '0.0000000000000000001'"),
        (("--sample", "9" * 10_000), "at most 1, found '" + "9" * 80 + "'"),
        (("--sample", "0.5", "--seed", "-1"), "seed: expected a whole number from 0 to 2^64 - 1, found -1"),
        (("--sample", "0.5", "--seed", str(1 << 64)), "seed: expected a whole number from 0 to 2^64 - 1, found 18446"),
        (("--sample", "0.5", "--seed", "x"), "audit: --seed: expected a whole number, found 'x'"),
        (("--seed", "5"), "seed: expected with --sample, whose blocks it draws"),
    ],
)
def test_a_share_or_a_seed_that_is_none_is_bad_input(history: History, options: tuple[str, ...], says: str) -> None:
    """Exit code 2 and one line; nothing is said to agree."""
    done = fedpact("audit", history.directory, *options)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert says in done.stderr


def test_nothing_is_kept_of_a_sample(history: History, tmp_path: Path) -> None:
    """A round of which a sample agrees is none that was reproduced."""
    file = tmp_path / "mine"
    done = fedpact("audit", history.directory, "--sample", "0.5", "--resume", file)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "resume: expected without --sample, of which nothing is kept" in done.stderr
    assert not file.exists()
    entries = history.ledger.read(Cursor()).entries
    with pytest.raises(InputError, match="resume: expected without --sample"):
        audit(IDENTITY, entries, history.blocks, scope=Scope(share=Decimal("0.5")), memory=ProgressFile(file))


def test_an_interrupted_sample_is_not_told_to_resume(history: History) -> None:
    """One line, without advice that would be refused."""
    script = (
        "import os, signal, fedpact.audit.walk as walk\n"
        "derive, rounds = walk.audit_round, []\n"
        "def cut_off(current, *arguments, **options):\n"
        "    rounds.append(current)\n"
        "    if len(rounds) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return derive(current, *arguments, **options)\n"
        "walk.audit_round = cut_off\n"
        "from fedpact.cli import main\n"
        "main()\n"
    )
    options = ("audit", str(history.directory), "--sample", "0.5", "--threads", "1")
    done = subprocess.run(
        [sys.executable, "-c", script, *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "fedpact: error: interrupted after 2 of 9 rounds\n"


def test_a_sample_of_some_rounds(history: History) -> None:
    """The range is said as ever; damage beyond it does not show."""
    (path,) = history.directory.glob(f"store/blocks/*/{history.view.rounds[2].manifest}")
    path.write_bytes(b"{}")
    options = ("--from", "3", "--to", "6", "--sample", "0.5", "--seed", "1")
    done = fedpact("audit", history.directory, *options)
    assert done.returncode == 0
    assert (
        "audit: ok: a sample of 3 of 3 models agrees bit for bit; 3 of 6 blocks derived, "
        "at least a share of 0.5 of each; "
        "--seed 1 draws them again; rounds 3 to 6 asked for: 3 of 9 published rounds, the others were not derived"
    ) in done.stdout
    said = _said(history, *options)
    assert (said["asked"], said["agreeing"], said["from"], said["to"]) == (3, 3, 3, 6)
    assert _said(history, "--sample", "0.5", code=1)["agreeing"] == 8


def test_what_a_rule_surveys_is_said_to_be_read_in_full(tmp_path: Path) -> None:
    """Of the rounds whose rule surveys."""
    history = History(tmp_path / "run", **KINDS["krum"])
    history.publish(1.0, 2.0, 3.0)
    history.save()
    done = fedpact("audit", history.directory, "--sample", "0.5", "--seed", "1")
    assert (
        "a sample of 1 of 1 models agrees bit for bit; 1 of 1 blocks derived, at least a share of 0.5 of each; "
        "--seed 1 draws them again; what the rule surveys was read in full for 1 of them"
    ) in done.stdout


def test_what_is_wrong_with_the_record_shows_with_any_sample(history: History) -> None:
    """Entries, heads and charters are checked as a whole."""
    assert _said(history, "--sample", "0.5", "--head", "0x" + "1" * 64, code=1)["findings"][0]["what"] == "head"
    copy = Copy(history.directory, history.directory.parent / "copy")
    copy.rewrite(lambda entries: entries[:7] + entries[8:])
    done = fedpact("audit", copy.path, "--sample", "0.5")
    assert done.returncode == 1
    assert "a sample of 0 of 0 models agrees" in done.stdout
    lines = (copy.path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (copy.path / "ledger.jsonl").write_bytes(b"".join([*lines[:5], *lines[6:]]))
    done = fedpact("audit", copy.path, "--sample", "0.5", "--report", copy.path / "report.json")
    assert (done.returncode, done.stderr) == (1, "")
    assert reports.decode((copy.path / "report.json").read_bytes()).verdict == "differs"


def test_the_smallest_share_has_a_report(history: History, tmp_path: Path) -> None:
    """Which says it without an exponent."""
    share = "0." + "0" * 17 + "1"
    said = _said(history, "--sample", share, "--report", tmp_path / "report.json")
    assert said["sample"] == share
    told = reports.decode((tmp_path / "report.json").read_bytes())
    assert (told.asked.sample, told.asked.seed) == (share, said["seed"])
    assert (told.verdict, {each.verdict for each in told.rounds}) == ("sample agrees", {"sample agrees"})


def test_the_same_audit_of_a_run_with_its_model(history: History) -> None:
    """An exported model is read as a whole: what people would take away is no sample."""
    model = history.view.rounds[10].model
    assert model is not None
    data = open_file(history.blocks, model, history.layout.size).read()
    path = history.directory / "model.safetensors"
    path.write_bytes(data)
    assert _said(history, "--sample", "0.5")["ok"]
    path.write_bytes(altered(data, 1))
    assert [each["what"] for each in _said(history, "--sample", "0.5", code=1)["findings"]] == ["model.safetensors"]
