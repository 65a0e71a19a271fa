"""`fedpact aggregate`: any rule on any files, the ledger's bits, and nothing half written."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from charters import TOLD
from fedpact import offline
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.errors import InputError
from fedpact.offline import TooFew, aggregate_files
from fedpact.rules import RULES, FedAvg, Median, make, make_before
from fedpact.rules.arrays import combine
from fedpact.rules.rule import Combination, Plan, Rule
from fedpact.store.unixfs import LEAF, address
from fedpact.weights_file import WeightsFile
from packages import Installed
from runs import FEDPACT, fedpact
from test_header import file_of

Arrays = dict[str, np.ndarray[Any, Any]]

LAYOUT = Layout(
    [
        Tensor("double", "F64", (40_000,)),
        Tensor("single", "F32", (400, 1_000)),
        Tensor("brain", "BF16", (1000, 3)),
        Tensor("half", "F16", (300_000,)),
        Tensor("steps", "I64", ()),
        Tensor("table", "U8", (999,)),
    ]
)
"""Three leaves of every kind of numbers."""
SAMPLES = [3, 1, 2**40, 77, 12, 5]


def weights(seed: int, layout: Layout = LAYOUT) -> Arrays:
    """Tensors of a layout."""
    source = np.random.default_rng(seed)
    made: Arrays = {}
    for tensor in layout.tensors:
        if tensor.dtype in ("I64", "U8"):
            made[tensor.name] = source.integers(0, 200, tensor.shape).astype({"I64": "<i8", "U8": "u1"}[tensor.dtype])
        else:
            dtype = {"F64": "<f8", "F32": "<f4", "BF16": "<f4", "F16": "<f2"}[tensor.dtype]
            made[tensor.name] = source.standard_normal(tensor.shape).astype(dtype)
    # What bfloat16 holds.
    return LAYOUT.decode(LAYOUT.encode(made)) if layout is LAYOUT else made


def put(directory: Path, number: int) -> list[Path]:
    """Files of good updates."""
    paths = [directory / f"update{place}.safetensors" for place in range(number)]
    for seed, path in enumerate(paths):
        path.write_bytes(LAYOUT.encode(weights(seed)))
    return paths


def run(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, answer, and what was said on standard error."""
    done = fedpact("aggregate", *arguments, "--json")
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def expected(rule: Rule, seeds: Sequence[int], samples: Sequence[int]) -> bytes:
    """The model as it is made of whole arrays in memory, for rules that look at each element alone."""
    every = [weights(seed) for seed in seeds]
    return LAYOUT.encode({name: combine(rule, [each[name] for each in every], samples) for name in every[0]})


# ----------------------------------------------------------------------------------------- updates that are excluded


def as_bytes(change: Callable[[Arrays], None]) -> bytes:
    """A good file with other values."""
    arrays = {name: array.copy() for name, array in weights(0).items()}
    change(arrays)
    return LAYOUT.encode(arrays)


def with_nan(arrays: Arrays) -> None:
    arrays["half"][299_999] = np.nan


def with_infinity(arrays: Arrays) -> None:
    arrays["brain"][1, 2] = -np.inf


def saved(arrays: Arrays) -> bytes:
    """What the library writes for the tensors that numpy has."""
    return safetensors.numpy.save({name: array for name, array in arrays.items() if name != "brain"})


GOOD = weights(0)
BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "malformed", "header: expected at least 8 bytes, found 0"),
    "a pickle": (b"\x80\x04\x95" + bytes(100), "malformed", "header: expected a length of 2 to 95 bytes, found 9"),
    "cut short": (LAYOUT.encode(GOOD)[:-1], "malformed", f"expected {LAYOUT.size} bytes, as its header says, found"),
    "too long": (LAYOUT.encode(GOOD) + b"\0", "malformed", f"expected {LAYOUT.size} bytes, as its header says, found"),
    "not finite": (as_bytes(with_nan), "not_finite", "half[299999] is nan"),
    "infinite": (as_bytes(with_infinity), "not_finite", "brain[1, 2] is -inf"),
    "a tensor less": (saved(GOOD), "wrong_header", "tensor brain: expected BF16 [1000, 3], found none"),
    "another shape": (
        LAYOUT.encode(GOOD).replace(b"[400,1000]", b"[1000,400]"),
        "wrong_header",
        "tensor single: expected F32 [400, 1000], found F32 [1000, 400]",
    ),
    "another dtype": (
        LAYOUT.encode(GOOD).replace(b'"F16"', b'"I16"'),
        "wrong_header",
        "tensor half: expected F16 [300000], found I16 [300000]",
    ),
    "no dtype of ours": (LAYOUT.encode(GOOD).replace(b'"U8"', b'"B8"'), "malformed", "tensor table: dtype: expected"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_update_is_named_and_the_others_make_the_model(tmp_path: Path, case: str) -> None:
    """With the reason; wherever it stands among the others."""
    data, reason, detail = BAD[case]
    paths = put(tmp_path, 3)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(data)
    model = tmp_path / "model.safetensors"
    made = aggregate_files(FedAvg(), [paths[0], bad, *paths[1:]], [3, 9, 1, 77], model)
    decision = made.decisions[1]
    assert decision.fault is not None
    assert (decision.path, decision.weight, decision.fault.reason) == (bad, 0, reason)
    assert detail in decision.fault.detail
    assert [each.weight for each in made.decisions] == [3, 0, 1, 77]
    assert model.read_bytes() == expected(FedAvg(), [0, 1, 2], [3, 1, 77])
    assert made.model == address(model.read_bytes())


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    """A missing one, a directory, a pipe that nobody writes to, a socket, a device, a link to nowhere, a bad name."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere")
    names = ["missing", "directory", "pipe", "loop", "lost", "/dev/zero", "a" * 300]
    (tmp_path / "m").touch()
    code, answer, errors = run(
        "--rule", "fedavg", *put(tmp_path, 1), *(tmp_path / name for name in names), "-o", tmp_path / "m"
    )
    assert (code, errors) == (0, "")
    assert [(each["decision"], each["reason"]) for each in answer["updates"][1:]] == [("excluded", "unreadable")] * 7
    assert [each["detail"] for each in answer["updates"][1:]] == [
        "No such file or directory",
        "expected a regular file, found a directory",
        "expected a regular file, found a pipe",
        "Too many levels of symbolic links",
        "No such file or directory",
        "expected a regular file, found a device",
        "File name too long",
    ]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        made = aggregate_files(FedAvg(), [*put(tmp_path, 1), tmp_path / "s", Path("a\0b")], [1, 1, 1], tmp_path / "m")
    assert [each.fault.detail for each in made.decisions if each.fault] == [
        "No such device or address",
        "no name that a file can have",
    ]


def test_an_update_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the system says, which root would not hear."""
    first, second = put(tmp_path, 2)
    opened = os.open

    def refused(path: Any, *given: Any, **options: Any) -> int:
        if Path(path) == first:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *given, **options)

    monkeypatch.setattr(os, "open", refused)
    made = aggregate_files(FedAvg(), [first, second], [1, 1], tmp_path / "model")
    assert made.decisions[0].fault is not None
    assert made.decisions[0].fault.detail == "Permission denied"


def test_names_that_are_no_text_are_shown_all_the_same(tmp_path: Path) -> None:
    """As text without what a terminal would obey, as JSON exactly."""
    (path,) = put(tmp_path, 1)
    odd = path.rename(tmp_path / os.fsdecode(b"\xff\x1b[31m\n.safetensors"))
    done = fedpact("aggregate", "--rule", "fedavg", odd, "-o", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert "\x1b" not in done.stdout
    assert run("--rule", "fedavg", odd, "-o", tmp_path / "model")[1]["updates"][0]["file"] == str(odd)


class Meddling(FedAvg):
    """Calls something before any update is read for a model."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self._meddle = meddle

    def plan(self, samples: Sequence[int]) -> Plan:
        self._meddle()
        return super().plan(samples)


def rewrite(path: Path) -> None:
    """Writes the same bytes again, a second later."""
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def replace(path: Path) -> None:
    """Puts a new file with the same bytes in its place."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "written again": (rewrite, "changed"),
    "cut short": (lambda path: os.truncate(path, 2 * LEAF), "changed"),
    "another file": (replace, "changed"),
    "gone": (Path.unlink, "unreadable"),
}


@pytest.mark.parametrize("case", list(CHANGES))
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_changes_while_it_is_read_is_excluded(tmp_path: Path, case: str, threads: int) -> None:
    """Nobody could say later which bytes went into the model."""
    change, reason = CHANGES[case]
    paths = put(tmp_path, 3)
    done: list[int] = []

    def once() -> None:
        if not done:
            done.append(1)
            change(paths[1])

    rule = Meddling(once)
    made = aggregate_files(rule, paths, [3, 1, 77], tmp_path / "model", threads=threads)
    faults = [each.fault.reason if each.fault else "" for each in made.decisions]
    assert faults == ["", reason, ""]
    assert (tmp_path / "model").read_bytes() == expected(FedAvg(), [0, 2], [3, 77])


def test_a_file_that_changes_after_it_was_read_is_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at once more at the end."""
    paths = put(tmp_path, 3)
    aggregate = offline.aggregate

    def meddling(*arguments: Any, **options: Any) -> Any:
        outcome = aggregate(*arguments, **options)
        if len(arguments[2]) == 3:
            rewrite(paths[0])
        return outcome

    monkeypatch.setattr(offline, "aggregate", meddling)
    made = aggregate_files(FedAvg(), paths, [3, 1, 77], tmp_path / "model")
    assert [each.weight for each in made.decisions] == [0, 1, 77]
    assert (tmp_path / "model").read_bytes() == expected(FedAvg(), [1, 2], [1, 77])


# ------------------------------------------------------------------------------------------------------ no model at all


def test_too_few_updates_make_no_model(tmp_path: Path) -> None:
    """The answer names every update all the same; what was at the output stays; exit code 1."""
    paths = put(tmp_path, 5)
    paths[2].write_bytes(BAD["not finite"][0])
    paths[3].write_bytes(b"")
    output = tmp_path / "model"
    output.write_bytes(b"before")
    arguments = ("--rule", "krum", "--param", "byzantine=1", *paths, "-o", output)
    code, answer, errors = run(*arguments)
    says = "updates: krum needs at least 5, found 4 that can be used; nothing is written"
    assert (code, errors) == (1, f"fedpact: error: {says}\n")
    assert (answer["model"], answer["output"], answer["bytes"]) == (None, None, 0)
    assert [each["decision"] for each in answer["updates"]] == ["usable", "usable", "usable", "excluded", "usable"]
    done = fedpact("aggregate", *arguments)
    assert (done.returncode, len(done.stdout.splitlines()), says in done.stderr) == (1, 6, True)
    assert f"{paths[3]}: excluded (malformed): header: expected at least 8 bytes, found 0" in done.stdout
    put(tmp_path, 4)
    code, answer, errors = run(*arguments[:-2], "-o", tmp_path / "other")
    assert code == 0
    paths[2].write_bytes(BAD["not finite"][0])
    code, answer, errors = run(*arguments)
    assert (code, answer["updates"][2]["reason"]) == (1, "not_finite")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(path.name for path in paths), "model", "other"]
    )
    assert output.read_bytes() == b"before"


def test_without_any_good_update_there_is_no_model(tmp_path: Path) -> None:
    """Not even a layout."""
    with pytest.raises(TooFew, match="updates: fedavg needs at least 1, found 0 that can be used") as caught:
        aggregate_files(FedAvg(), [tmp_path / "none"], [1], tmp_path / "model")
    assert [each.fault.reason for each in caught.value.decisions if each.fault] == ["unreadable"]
    assert list(tmp_path.iterdir()) == []


BAD_INPUT: dict[str, tuple[list[str], str]] = {
    "no rule": (["u"], "aggregate: expected --rule NAME, found none"),
    "no output": (["--rule", "fedavg", "u"], "aggregate: expected --output MODEL, found none"),
    "no updates": (["--rule", "fedavg", "-o", "m"], "aggregate: expected UPDATE, found none"),
    "an unknown rule": (["--rule", "mean", "u", "-o", "m"], "rule: expected one of fedavg, median, trimmed_mean, "),
    "a rule of nobody": (["--rule", "acme.mean", "u", "-o", "m"], "rule: expected one of fedavg, median"),
    "a parameter too few": (
        ["--rule", "trimmed_mean", "u", "-o", "m"],
        "expected either share or count, found neither",
    ),
    "a parameter too many": (
        ["--rule", "fedavg", "--param", "share=1", "u", "-o", "m"],
        "rule.parameters.share: fedavg has no parameters",
    ),
    "a parameter that is none": (["--rule", "fedavg", "--param", "x", "u", "-o", "m"], "param: expected KEY=VALUE"),
    "samples too few": (
        ["--rule", "fedavg", "--samples", "1", "u", "v", "-o", "m"],
        "samples: expected 2 numbers, one",
    ),
    "no samples": (["--rule", "fedavg", "--samples", "0", "u", "-o", "m"], "samples: expected numbers from 1 to 1099"),
    "negative samples": (["--rule", "fedavg", "--samples=-1", "u", "-o", "m"], "samples: expected numbers from 1 to"),
    "too many samples": (["--rule", "fedavg", "--samples", str(2**40 + 1), "u", "-o", "m"], "found '1099511627777'"),
    "samples in words": (["--rule", "fedavg", "--samples", "1,,2", "u", "-o", "m"], "found '1,,2'"),
    "no threads": (["--rule", "fedavg", "--threads", "0", "u", "-o", "m"], "threads: expected 1 to 1024, found 0"),
    "no directory": (["--rule", "fedavg", "u", "-o", "none/m"], "output none/m: expected a directory to put it into"),
    "a directory as output": (["--rule", "fedavg", "u", "-o", "taken"], "expected a regular file or nothing, found a"),
    "a device as output": (["--rule", "fedavg", "u", "-o", "/dev/null"], "found a device"),
    "a link as output": (["--rule", "fedavg", "u", "-o", "link"], "found a symbolic link"),
    "a pipe as output": (["--rule", "fedavg", "u", "-o", "pipe"], "found a pipe"),
    "an input as output": (
        ["--rule", "fedavg", "u", "-o", "./u"],
        "output u: expected another file than those that are",
    ),
    "the base as output": (["--rule", "fedavg", "u", "--base", "v", "-o", "v"], "output v: expected another file than"),
    "an output with a name too long": (["--rule", "fedavg", "u", "-o", "a" * 300], "File name too long"),
    "no base": (["--rule", "fedavg", "u", "--base", "none", "-o", "m"], "base none: No such file or directory"),
    "a base that is none": (["--rule", "fedavg", "u", "--base", "text", "-o", "m"], "base text: header: expected"),
    "a base that is not finite": (
        ["--rule", "fedavg", "u", "--base", "nan", "-o", "m"],
        "base nan: half[299999] is nan",
    ),
}


@pytest.mark.parametrize("case", list(BAD_INPUT))
def test_bad_input_is_one_clear_line(tmp_path: Path, case: str) -> None:
    """It names the thing, what was expected and what was found; the exit code is 2, and nothing is written."""
    arguments, says = BAD_INPUT[case]
    for name in ("u", "v"):
        (tmp_path / name).write_bytes(LAYOUT.encode(GOOD))
    (tmp_path / "nan").write_bytes(BAD["not finite"][0])
    (tmp_path / "text").write_bytes(b"text")
    (tmp_path / "taken").mkdir()
    (tmp_path / "link").symlink_to("u")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = fedpact("aggregate", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert says in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "u").read_bytes() == LAYOUT.encode(GOOD)


def test_a_disk_that_takes_no_more_ends_in_one_line(tmp_path: Path) -> None:
    """Nothing is left, and what was there stays."""
    paths = put(tmp_path, 2)
    (tmp_path / "model").write_bytes(b"before")
    done = subprocess.run(
        [FEDPACT, "aggregate", "--rule", "fedavg", *paths, "-o", tmp_path / "model"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LEAF, LEAF)),
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fedpact: error: output {tmp_path / 'model'}: File too large\n"
    assert (tmp_path / "model").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """No file under a temporary name, the old model as it was, one line, and the signal's exit code."""
    layout = Layout([Tensor("w", "F64", (60_000_000,))])
    paths = [tmp_path / f"update{place}" for place in range(4)]
    for path in paths:  # Zeros without a disk.
        path.write_bytes(layout.header)
        os.truncate(path, layout.size)
    (tmp_path / "model").write_bytes(b"before")
    process = subprocess.Popen(
        [FEDPACT, "aggregate", "--rule", "trimmed_mean", "--param", "count=1", *paths, "-o", tmp_path / "model"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".*.partial")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)  # Polling another process; bounded above.
    process.send_signal(number)
    said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + number, ("", "fedpact: error: interrupted\n"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", *(path.name for path in paths)]
    assert (tmp_path / "model").read_bytes() == b"before"


# ------------------------------------------------------------------------------------------------------- the same model


@pytest.mark.parametrize("name", ["fedavg", "median", "trimmed_mean"])
def test_any_rule_makes_what_it_makes_of_arrays(tmp_path: Path, name: str) -> None:
    """Bit for bit, of every dtype, with 1, 2 and 7 threads; the answer has the model's address."""
    paths = put(tmp_path, 6)
    told = [f"--param={key}={value}" for key, value in TOLD[name].items()]
    numbers = ",".join(map(str, SAMPLES))
    model = expected(make(name, 1, TOLD[name]), range(6), SAMPLES)
    for threads in ("1", "2", "7"):
        output = tmp_path / f"model{threads}"
        code, answer, errors = run(
            "--rule", name, *told, "--samples", numbers, "--threads", threads, *paths, "-o", output
        )
        assert (code, errors) == (0, "")
        assert output.read_bytes() == model
        assert answer["model"] == str(address(model))
    assert answer["rule"] == {"name": name, "version": 1, "code": None, "parameters": TOLD[name]}
    assert (answer["output"], answer["bytes"], answer["base"]) == (str(output), len(model), None)
    assert [each["samples"] for each in answer["updates"]] == SAMPLES
    assert {each["decision"] for each in answer["updates"]} == {"included"}


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_gives_the_same_bits_with_any_number_of_threads(tmp_path: Path, name: str) -> None:
    """Also those that look at all elements first."""
    paths = put(tmp_path, 7)
    rule = make(name, 1, TOLD[name])
    made = [
        aggregate_files(rule, paths, [*SAMPLES, 9], tmp_path / "model", base=paths[0], threads=threads)
        for threads in (1, 2, 7)
    ]
    assert len({each.model for each in made}) == 1
    assert len({tuple(decision.weight for decision in each.decisions) for each in made}) == 1


def test_what_people_read(tmp_path: Path) -> None:
    """A line for each update, the model's address, where it is."""
    first, second = put(tmp_path, 2)
    second.write_bytes(BAD["not finite"][0])
    output = tmp_path / "model.safetensors"
    done = fedpact("aggregate", "--rule", "fedavg", "--samples", "30,20", first, second, "-o", output)
    assert done.stdout.splitlines() == [
        f"{first}: included, samples 30, weight 30",
        f"{second}: excluded (not_finite): half[299999] is nan",
        f"model: {address(output.read_bytes())}",
        f"output: {output}, {LAYOUT.size:,} bytes",
        "1 of 2 updates used",
    ]


def test_files_of_pytorch_in_any_order_are_the_same_update(tmp_path: Path) -> None:
    """Metadata, spaces, and tensors in another order change nothing, and nothing of them is carried over."""
    canonical = LAYOUT.encode(weights(0))
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data, position = b"", len(LAYOUT.header)
    pieces = {}
    for tensor in LAYOUT.tensors:
        pieces[tensor.name] = canonical[position : position + tensor.nbytes]
        position += tensor.nbytes
    for tensor in reversed(LAYOUT.tensors):
        offsets = [len(data), len(data) + tensor.nbytes]
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        data += pieces[tensor.name]
    odd = tmp_path / "odd.safetensors"
    odd.write_bytes(file_of(json.dumps(entries, indent=1).encode() + b" " * 3, data))
    for order in ([odd, *put(tmp_path, 2)], [*put(tmp_path, 2), odd]):
        aggregate_files(Median(), order, [1, 1, 1], tmp_path / "model")
        assert (tmp_path / "model").read_bytes() == expected(Median(), [0, 0, 1], [1, 1, 1])
    file = WeightsFile(odd)
    assert b"".join(file.leaf(index) for index in range(3)) == canonical


def test_what_the_library_writes_it_reads(tmp_path: Path) -> None:
    """From its writer to its reader, with its metadata."""
    arrays = [{"layer.weight": np.full((2, 3), value, np.float32), "n": np.array([value])} for value in (1, 2, 6)]
    paths = [tmp_path / f"u{place}" for place in range(3)]
    for path, each in zip(paths, arrays, strict=True):
        safetensors.numpy.save_file(each, path, {"format": "pt"})
    assert run("--rule", "fedavg", "--samples", "2,1,1", *paths, "-o", tmp_path / "m")[0] == 0
    model = safetensors.numpy.load_file(tmp_path / "m")
    assert {name: array.tolist() for name, array in model.items()} == {"layer.weight": [[2.5] * 3] * 2, "n": [2]}


def test_one_file_may_come_more_than_once(tmp_path: Path) -> None:
    """Two members may have sent the same."""
    (path,) = put(tmp_path, 1)
    aggregate_files(FedAvg(), [path, path, path], [3, 1, 1], tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == path.read_bytes()


def test_an_existing_model_is_replaced(tmp_path: Path) -> None:
    """By a new file: who reads the old one still has it."""
    paths, output = put(tmp_path, 2), tmp_path / "model"
    output.write_bytes(b"before")
    with output.open("rb") as reader:
        aggregate_files(FedAvg(), paths, [1, 1], output)
        assert reader.read() == b"before"
    assert output.stat().st_size == LAYOUT.size


class FromBase(Combination):
    """The base itself."""

    needs_base = True

    def floats(self, updates: Any, base: Any) -> Any:
        return base

    def integers(self, updates: Any, base: Any) -> Any:
        return base


class NeedsBase(FedAvg):
    """A rule that needs the base."""

    def combination(self, samples: Sequence[int]) -> Any:
        return FromBase(samples)


def test_a_rule_that_needs_the_base_gets_it(tmp_path: Path) -> None:
    """Its layout is then what all others must have; without it one line says what is missing."""
    base, other, *paths = put(tmp_path, 4)
    other.write_bytes(saved(GOOD))
    made = aggregate_files(NeedsBase(), [other, *paths], [1, 1, 1], tmp_path / "model", base=base)
    assert (tmp_path / "model").read_bytes() == base.read_bytes()
    assert [each.fault is None for each in made.decisions] == [False, True, True]
    with pytest.raises(
        InputError, match=r"base: fedavg needs the model that the updates were made from \(--base\), found"
    ):
        aggregate_files(NeedsBase(), paths, [1, 1], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_updates_are_clipped_before_a_rule_where_that_is_asked_for(tmp_path: Path) -> None:
    """As a charter with the same section has it; without the base, or with a wrong word, nothing is written."""
    paths = put(tmp_path, 3)
    asked = ["--rule", "median", "--before", "norm_clip", "--before-param", "bound=0.5"]
    rule = make_before("norm_clip", 1, {"bound": "0.5"}, make("median", 1, {}))
    wanted = aggregate_files(rule, paths, [1] * 3, tmp_path / "wanted", base=paths[0])
    code, answer, _ = run(*asked, "--base", paths[0], *paths, "-o", tmp_path / "model")
    assert (code, answer["model"]) == (0, str(wanted.model))
    assert answer["before"] == {"name": "norm_clip", "version": 1, "parameters": {"bound": "0.5"}}
    plain = aggregate_files(make("median", 1, {}), paths, [1] * 3, tmp_path / "plain", base=paths[0])
    assert plain.model != wanted.model
    for wrong, said in (
        (asked, "base"),
        (["--rule", "median", "--before", "norm_clop"], "norm_clop"),
        (["--rule", "median", "--before-param", "bound=1"], "--before"),
    ):
        done = fedpact("aggregate", *wrong, *paths, "-o", tmp_path / "none")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_base_that_changes_is_an_error(tmp_path: Path) -> None:
    """There is no model without it."""
    base, *paths = put(tmp_path, 3)
    with pytest.raises(InputError, match=r"base .*: no longer the file that it was at first"):
        aggregate_files(Meddling(lambda: rewrite(base)), paths, [1, 1], tmp_path / "model", base=base)
    assert not (tmp_path / "model").exists()


def test_a_rule_of_an_installed_package_is_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name alone; the answer says which code it was."""
    acme = Installed(tmp_path / "site")
    acme.find(monkeypatch)
    (path,) = put(tmp_path, 1)
    code, answer, errors = run("--rule", "acme.mean", "--param", "factor=0.5", path, "-o", tmp_path / "model")
    assert (code, errors) == (0, "")
    assert answer["rule"] == {"name": "acme.mean", "version": 1, "code": acme.code, "parameters": {"factor": "0.5"}}
    model = LAYOUT.decode((tmp_path / "model").read_bytes())
    assert np.array_equal(model["double"], weights(0)["double"] / 2)


def test_memory_is_some_blocks_not_all_files(tmp_path: Path) -> None:
    """Ten files of 40 MiB are aggregated in little more than a program needs that has imported numpy."""
    layout = Layout([Tensor("w", "F32", (10 << 20,))])
    paths = [tmp_path / f"update{place}" for place in range(10)]
    for path in paths:
        path.write_bytes(layout.header)
        os.truncate(path, layout.size)
    program = (
        "import os, re, sys; from fedpact.cli import main; leave = os._exit\n"
        "def last(code): print(re.findall(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[0], file=sys.stderr);"
        " leave(code)\n"
        "os._exit = last; main()\n"
    )
    arguments = ["aggregate", "--rule", "fedavg", "--threads", "2", *map(str, paths), "-o", str(tmp_path / "model")]
    done = subprocess.run(
        [str(Path(FEDPACT).with_name("python")), "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) < 200 << 10
    assert (tmp_path / "model").stat().st_size == layout.size
