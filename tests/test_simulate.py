"""`fedpact simulate` as its users meet it: results, the same bits again, hostile silos, bad input, interruption."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import FedpactError
from fedpact.ledger import record
from fedpact.ledger.events import Founded
from fedpact.store.unixfs import address
from fedpact_simulation import tasks
from runs import FEDPACT, Copy, fedpact, simulate
from sklearn.linear_model import LinearRegression


def _simulate(tmp_path: Path, *arguments: str, name: str = "run") -> dict[str, Any]:
    done = fedpact("simulate", *arguments, "--workdir", tmp_path / name, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The demonstration, once."""
    directory = tmp_path_factory.mktemp("digits")
    return directory / "run", _simulate(directory, "digits", "--silos", "10", "--rounds", "20")


def test_ten_silos_learn_the_digits(digits: tuple[Path, dict[str, Any]]) -> None:
    """Accuracy at least 0.93, every model reproduced, every submission a transaction of at most 41,500 gas."""
    _, said = digits
    assert said["metrics"]["accuracy"] >= 0.93
    assert (said["audit"]["rounds"], said["audit"]["reproduced"], said["audit"]["ok"]) == (20, 20, True)
    assert [each["round"] for each in said["rounds"]] == list(range(1, 21))
    for each in said["rounds"]:
        assert (each["submissions"], each["excluded"], len(each["gas"]["submit"])) == (10, [], 10)
    assert max(gas for each in said["rounds"][1:] for gas in each["gas"]["submit"]) <= 41_500
    assert said["rounds"][0]["gas"]["open"] > 0
    assert all(each["gas"]["publish"] <= 75_000 for each in said["rounds"][1:])


def test_what_a_run_leaves(digits: tuple[Path, dict[str, Any]]) -> None:
    """The store, the ledger, the first model and the last, the result, and nothing else."""
    directory, said = digits
    names = {path.name for path in directory.iterdir()}
    assert names == {"store", "ledger.jsonl", "genesis.safetensors", "model.safetensors", "result.json"}
    first = record.read(directory / "ledger.jsonl").entries[0].event
    assert isinstance(first, Founded)
    assert address((directory / "genesis.safetensors").read_bytes()) == first.genesis
    assert {path.name for path in (directory / "store").iterdir()} == {"blocks", "pins"}
    assert str(address((directory / "model.safetensors").read_bytes())) == said["model"] == said["rounds"][-1]["model"]
    assert json.loads((directory / "result.json").read_bytes()) == said
    assert {"task", "silos", "seed", "ledger", "rounds", "model", "metrics", "audit", "seconds"} <= set(said)


def test_the_same_seed_gives_the_same_record(tmp_path: Path) -> None:
    """The same models in every run, for any number of threads and on either ledger; on a chain the very same record."""
    arguments = ("breast_cancer", "--silos", "3", "--rounds", "3", "--seed", "7")
    one = _simulate(tmp_path, *arguments, "--threads", "1", name="one")
    two = _simulate(tmp_path, *arguments, "--threads", "2", name="two")
    seven = _simulate(tmp_path, *arguments, "--threads", "7", name="seven")
    memory = _simulate(tmp_path, *arguments, "--ledger", "memory", name="memory")
    assert [each["model"] for each in memory["rounds"]] == [each["model"] for each in one["rounds"]]
    assert one["head"] == two["head"] == seven["head"] != memory["head"]
    records = [(tmp_path / name / "ledger.jsonl").read_bytes() for name in ("one", "two", "seven")]
    assert records[0] == records[1] == records[2]
    other = _simulate(tmp_path, *arguments[:-1], "8", "--ledger", "memory", name="other")
    assert other["model"] != one["model"]


def test_a_dry_run_says_that_it_is_no_record(tmp_path: Path) -> None:
    """In words, in its result and in its audit."""
    done = fedpact(
        "simulate", "diabetes", "--silos", "2", "--rounds", "2", "--ledger", "memory", "--workdir", tmp_path / "run"
    )
    assert "no record" in done.stdout
    said = json.loads((tmp_path / "run/result.json").read_bytes())
    assert (said["record"], said["rounds"][0]["gas"]["publish"]) == (False, None)
    assert "no record" in fedpact("audit", tmp_path / "run").stdout


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_two_silos_regress_as_well_as_one_with_all_data(tmp_path: Path, seed: str) -> None:
    """R2 within 0.02 of the same regression on the pooled data."""
    said = _simulate(tmp_path, "diabetes", "--silos", "2", "--rounds", "20", "--seed", seed, "--ledger", "memory")
    pooled = tasks.held_out(tasks.split(tasks.load("diabetes"), 2, int(seed), None))
    central = LinearRegression().fit(pooled.features, pooled.targets)
    score = central.score(pooled.held_out_features, pooled.held_out_targets)
    assert abs(said["metrics"]["r2"] - score) <= 0.02


@pytest.mark.parametrize("task", ["digits", "breast_cancer", "diabetes"])
@pytest.mark.parametrize("skew", [None, 0.1, 5.0])
def test_data_are_dealt_out_once_and_to_everyone(task: str, skew: float | None) -> None:
    """Every sample belongs to one silo, and each silo has something to train on and something held out."""
    loaded = tasks.load(task)
    shares = tasks.split(loaded, 20, 3, skew)
    assert sum(len(each.targets) + len(each.held_out_targets) for each in shares) == len(loaded.targets)
    assert all(len(each.targets) and len(each.held_out_targets) for each in shares)


HOSTILE = {
    "samples-huge": ("excluded", "too_many_samples", "expected at most 100000 samples, found 1000000000000"),
    "samples-negative": ("refused", "samples: expected 0 to 18446744073709551615, found -900", ""),
    "nan": ("excluded", "not_finite", "is nan"),
    "shape": ("excluded", "wrong_size", "bytes, found"),
}


@pytest.mark.parametrize("ledger", ["eth-tester", "memory"])
@pytest.mark.parametrize("kind", list(HOSTILE))
def test_one_hostile_silo_does_not_stop_the_others(tmp_path: Path, kind: str, ledger: str) -> None:
    """It is refused or excluded by name in every round, and the others' rounds go on."""
    said = _simulate(tmp_path, "digits", "--silos", "3", "--rounds", "2", "--hostile", kind, "--ledger", ledger)
    how, reason, detail = HOSTILE[kind]
    assert len(said["rounds"]) == 2
    for each in said["rounds"]:
        if how == "refused":
            assert each["refused"] == [f"silo 3: {reason}"]
            assert (each["submissions"], each["excluded"]) == (2, [])
        else:
            (line,) = each["excluded"]
            assert (line["silo"], line["reason"]) == (3, reason)
            assert detail in line["detail"]
    assert said["audit"]["ok"]


@pytest.mark.parametrize(
    "rule",
    [
        ("median",),
        ("trimmed_mean", "--param", "share=0.34"),
        ("centered_clipping", "--param", "radius=1", "--param", "iterations=2"),
        ("fedavg", "--before", "norm_clip", "--before-param", "bound=1"),
    ],
)
def test_other_rules_make_models_that_an_audit_reproduces(tmp_path: Path, rule: tuple[str, ...]) -> None:
    """On either ledger and any number of threads the same, and not the mean's."""
    options = ("digits", "--silos", "3", "--rounds", "2", "--ledger", "memory")
    mean = _simulate(tmp_path / "mean", *options)
    models = [
        _simulate(tmp_path / threads, *options, "--rule", *rule, "--threads", threads)["model"]
        for threads in ("1", "2")
    ]
    assert models[0] == models[1] != mean["model"]


def test_with_fewer_honest_silos_than_the_quorum_a_federation_ends_without_a_model(tmp_path: Path) -> None:
    """Three cancelled rounds in a row end it, and one line says why."""
    options = ("--silos", "4", "--hostile", "nan", "--hostile-silos", "3", "--workdir", tmp_path / "run")
    done = fedpact("simulate", "diabetes", *options)
    assert done.returncode == 1
    assert "no model was published: 3 cancelled rounds in a row" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_charter_takes_the_place_of_the_tasks_own(tmp_path: Path) -> None:
    """Its trainer, quorum and stopping rule hold: a perceptron, until there is no progress."""
    charter = tmp_path / "mlp.toml"
    charter.write_text(CHARTER)
    said = _simulate(tmp_path, "digits", "--silos", "4", "--charter", str(charter))
    assert said["ended"].startswith("no progress in 2 rounds")
    assert 3 <= len(said["rounds"]) < 50
    assert said["metrics"]["accuracy"] > 0.85
    assert Copy(tmp_path / "run", tmp_path / "copy").view.rounds[1].terms.quorum == 3


def test_a_target_score_ends_a_federation(tmp_path: Path) -> None:
    """Once the members' mean score has reached it."""
    charter = tmp_path / "target.toml"
    charter.write_text(CHARTER.replace("patience = 2", 'target_score = "0.8"'))
    said = _simulate(tmp_path, "digits", "--silos", "4", "--charter", str(charter))
    assert "reached the target 0.8" in said["ended"]
    assert len(said["rounds"]) < 50


def test_what_a_failed_run_says_reaches_a_pipe(tmp_path: Path) -> None:
    """No model, exit code 1, and still the whole JSON object on standard output."""
    charter = tmp_path / "mlp.toml"
    charter.write_text(CHARTER.replace("quorum = 3", "quorum = 4"))
    options = ("--silos", "4", "--hostile", "nan", "--ledger", "memory", "--charter", charter, "--json")
    done = fedpact("simulate", "digits", *options, "--workdir", tmp_path / "run")
    assert done.returncode == 1
    assert json.loads(done.stdout)["rounds"] == []
    assert "no model was published" in done.stderr


def test_a_closed_standard_error_is_no_failure() -> None:
    """The shell may have closed it."""
    command = ["sh", "-c", '"$0" --version 2>&-', FEDPACT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.strip()


CHARTER = """
format = "fedpact-charter/1"
score = "accuracy"
name = "perceptron"
[model]
coef0 = { dtype = "F32", shape = [64, 16] }
intercept0 = { dtype = "F32", shape = [16] }
coef1 = { dtype = "F32", shape = [16, 10] }
intercept1 = { dtype = "F32", shape = [10] }
[trainer]
name = "perceptron"
hidden = 16
epochs = 5
batch_size = 16
learning_rate = "0.3"
seed = 1
[rule]
name = "fedavg"
[rounds]
quorum = 3
submission_seconds = 600
publication_seconds = 600
[limits]
max_samples = 10000
min_score = "0"
[stop]
rounds = 50
patience = 2
min_improvement = "0.02"
"""

BAD_INPUT = {
    "unknown task": (
        ["mnist"],
        "task: expected one of digits, breast_cancer, diabetes, or a project's folder, as fedpact new makes one, "
        "found 'mnist'",
    ),
    "no silos": (["digits", "--silos", "0"], "silos: expected 1 to 65535, found 0"),
    "negative silos": (["digits", "--silos", "-3"], "silos: expected 1 to 65535, found -3"),
    "words for silos": (["digits", "--silos", "many"], "simulate: --silos: expected a whole number, found 'many'"),
    "more silos than samples": (["diabetes", "--silos", "500"], "expected at most 221 (diabetes has 442 samples"),
    "no rounds": (["digits", "--rounds", "0"], "rounds: expected 1 to 1000000000, found 0"),
    "negative seed": (["digits", "--seed", "-1"], "seed: expected 0 to"),
    "no threads": (["digits", "--threads", "0"], "threads: expected 1 to 1024, found 0"),
    "unknown ledger": (
        ["digits", "--ledger", "bitcoin"],
        "ledger: expected one of eth-tester, memory, found 'bitcoin'",
    ),
    "unknown rule": (["digits", "--rule", "mean"], "rule: expected one of fedavg, median, trimmed_mean, krum, "),
    "a rule without what it needs": (
        ["digits", "--rule", "trimmed_mean"],
        "charter: rule.parameters: trimmed_mean: expected either share or count, found neither",
    ),
    "a parameter of no rule": (["digits", "--param", "share=0.1"], "param share=0.1: expected a rule that has it"),
    "a parameter without a value": (
        ["digits", "--rule", "trimmed_mean", "--param", "share"],
        "param: expected KEY=VALUE, each key once, found 'share'",
    ),
    "something unknown before the rule": (
        ["digits", "--before", "krum"],
        "before: expected one of norm_clip, found 'krum'",
    ),
    "norm clipping without a bound": (
        ["digits", "--before", "norm_clip"],
        "charter: before.parameters.bound: expected median or a decimal number greater than 0 and below 10^9 as text",
    ),
    "a bound of nothing": (
        ["digits", "--before-param", "bound=1"],
        "before-param bound=1: expected something that has",
    ),
    "a rule that needs more": (
        ["digits", "--silos", "4", "--rule", "trimmed_mean", "--param", "count=2"],
        "silos: trimmed_mean with count 2 needs at least 5, found 4",
    ),
    "unknown hostility": (["digits", "--hostile", "rude"], "hostile: expected one of samples-huge"),
    "no hostile silos": (
        ["digits", "--hostile", "zero", "--hostile-silos", "0"],
        "hostile-silos: expected 1 or more, and fewer than all 10, found 0",
    ),
    "nobody honest": (
        ["digits", "--silos", "3", "--hostile", "zero", "--hostile-silos", "3"],
        "hostile-silos: expected 1 or more, and fewer than all 3, found 3",
    ),
    "hostile silos without hostility": (
        ["digits", "--hostile-silos", "2"],
        "hostile-silos 2: expected what they do (--hostile), found nothing",
    ),
    "no skew": (["digits", "--skew", "0"], "skew: expected a positive number, found 0.0"),
    "skew not a number": (["digits", "--skew", "nan"], "skew: expected a positive number, found nan"),
    "no such charter": (["digits", "--charter", "none.toml"], "charter none.toml: No such file or directory"),
    "no such option": (["digits", "--silo", "3"], "simulate: option --silo: unknown; did you mean --silos?"),
    "no task": ([], "simulate: expected TASK, found none"),
}


@pytest.mark.parametrize("case", list(BAD_INPUT))
def test_bad_input_is_one_clear_line(tmp_path: Path, case: str) -> None:
    """It names the thing, what was expected and what was found; the exit code is 2, and nothing is written."""
    arguments, says = BAD_INPUT[case]
    done = fedpact("simulate", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("quorum = 3", "quorum = 9"), "rounds.quorum: expected at most 4 (the silos), found 9"),
        (("[64, 16]", "[64, 17]"), "charter, model: expected what perceptron learns on digits: coef0 F32 [64, 16]"),
        (('name = "perceptron"\nhidden', 'name = "transformer"\nhidden'), "trainer.name: expected one of"),
        (('"0.3"', '"fast"'), "trainer.learning_rate: expected a positive decimal as text, found 'fast'"),
        (("quorum = 3", "quorum = 3\nquorom = 4"), "rounds.quorom"),
        (("fedavg", "magic"), "rule.name: expected one of fedavg, median, trimmed_mean, krum, "),
        (("[rule]", "[rule"), "mlp.toml"),
    ],
)
def test_a_bad_charter_is_one_clear_line(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    """It names the file or the setting; nothing is written."""
    charter = tmp_path / "mlp.toml"
    charter.write_text(CHARTER.replace(*change))
    done = fedpact("simulate", "digits", "--silos", "4", "--charter", charter, "--workdir", tmp_path / "run")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert says in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """A finished run, somebody's files: what is there is said, and untouched."""
    simulate(tmp_path / "finished", "--ledger", "memory")
    (tmp_path / "files").mkdir()
    (tmp_path / "files/thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("x")
    for name, says in (
        ("finished", "holds a finished simulation of 3 rounds"),
        ("files", "thesis.tex"),
        ("file", "expected a directory, found a file"),
        ("file/below", "Not a directory"),
    ):
        before = sorted(tmp_path.rglob("*"))
        done = fedpact("simulate", "diabetes", "--workdir", tmp_path / name)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert says in done.stderr
        assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Where the system allows no new files, for root either."""
    done = fedpact("simulate", "diabetes", "--workdir", "/proc/fedpact")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "workdir /proc/fedpact: cannot be written: No such file or directory" in done.stderr


def test_a_disk_that_takes_no_more_ends_in_one_line(tmp_path: Path) -> None:
    """The system refuses to write a whole block: one line, exit code 1, and no half-written file."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # noqa: E731  # A model has 2,744 bytes.
    done = subprocess.run(
        [FEDPACT, "simulate", "digits", "--silos", "2", "--workdir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "File too large" in done.stderr
    assert not (tmp_path / "run").exists()


def _start(workdir: Path) -> subprocess.Popen[str]:
    command = [FEDPACT, "simulate", "digits", "--rounds", "500", "--threads", "2", "--workdir", str(workdir)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell lets what it starts in the background ignore it, these tests among them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)  # Polling another process; bounded above.


def _members(group: int) -> list[str]:
    """The processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            found.append(path.parent.name)
    return found


def _gone(process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 10
    while _members(process.pid):
        assert time.monotonic() < end, f"still running: {_members(process.pid)}"
        time.sleep(0.05)  # As above.


MOMENTS = {
    "at once": lambda workdir: True,
    "when the directory appears": lambda workdir: workdir.exists(),
    "when the store appears": lambda workdir: (workdir / "store").exists(),
    "in a round": lambda workdir: (workdir / "ledger.jsonl").exists(),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_an_interrupted_run_leaves_nothing_unfinished(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    """No process and no temporary file remains, the exit code is the signal's, and what was done can be audited."""
    workdir = tmp_path / "run"
    process = _start(workdir)
    _wait_for(lambda: MOMENTS[moment](workdir), process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    _gone(process)
    if moment == "at once" and process.returncode < 0:
        return  # Python itself had not started.
    assert process.returncode == 128 + number, errors
    assert len(errors.splitlines()) == 1, errors
    assert "interrupted" in errors
    left = [path.name for path in workdir.rglob("*")] if workdir.exists() else []
    assert not [name for name in left if "partial" in name or name.startswith(".")]
    if "ledger.jsonl" in left:
        audit = fedpact("audit", workdir)
        assert audit.returncode == 0, audit.stdout + audit.stderr
        again = fedpact("simulate", "digits", "--workdir", workdir)
        assert "cut off after round" in again.stderr
    else:
        assert left == []


@pytest.mark.parametrize("moment", list(MOMENTS)[2:])
def test_a_killed_run_leaves_no_half_written_file(tmp_path: Path, moment: str) -> None:
    """Every file under its final name is whole, no process remains, and the next run says what it found."""
    workdir = tmp_path / "run"
    process = _start(workdir)
    _wait_for(lambda: MOMENTS[moment](workdir), process)
    process.kill()
    process.communicate(timeout=60)
    _gone(process)
    for path in workdir.glob("store/blocks/*/*"):
        assert str(address(path.read_bytes())) == path.name
    if (workdir / "ledger.jsonl").exists():
        assert fedpact("audit", workdir).returncode == 0
    again = fedpact("simulate", "digits", "--workdir", workdir)
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert "cut off" in again.stderr


def test_runs_that_are_not_told_where_do_not_disturb_one_another(tmp_path: Path) -> None:
    """Each takes the next free number."""
    for number in (1, 2):
        done = fedpact(
            "simulate",
            "diabetes",
            "--silos",
            "2",
            "--rounds",
            "1",
            "--ledger",
            "memory",
            "--threads",
            "1",
            cwd=tmp_path,
        )
        assert f"files: fedpact-runs/diabetes-{number}\n" in done.stdout


def test_help_answers_at_once() -> None:
    """Nothing heavy is imported until it is needed: under 0.4 s of processor time, the best of five."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = fedpact("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
        assert "simulate" in done.stdout
        assert "audit" in done.stdout
    assert min(seconds) < 0.4


def test_every_error_has_an_exit_code() -> None:
    """No expected failure ends with success."""
    kinds = [FedpactError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.exit_code != 0
