"""`fedpact charter check`: a charter in words, and every mistake of one with its line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fedpact.artifacts.charter import parse_toml
from fedpact.artifacts.charter_check import Mistake, check
from fedpact.artifacts.charter_words import describe
from fedpact.errors import CharterError
from fedpact.rules import REGISTRY
from fedpact.store.unixfs import address
from runs import fedpact

GOOD = """\
format = "fedpact-charter/1"
name = "small"
score = "accuracy"
[model]
bias = { dtype = "F32", shape = [3] }
weight = { dtype = "F64", shape = [4, 3] }
[trainer]
name = "none"
[rule]
name = "fedavg"
[rounds]
quorum = 3
submission_seconds = 90061
publication_seconds = 60
[limits]
max_samples = 1000
[stop]
rounds = 10
"""


def _charter(directory: Path, *changes: tuple[str, str]) -> Path:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = directory / "charter.toml"
    path.write_text(text, "utf-8")
    return path


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    """Those of single settings and those of settings that do not go together, in the order of the file."""
    path = _charter(
        tmp_path,
        ('score = "accuracy"\n', "score = 7\nsccore = 1\n"),
        ('"F32"', '"F31"'),
        ("[4, 3]", "[0]"),
        ('name = "none"', 'name = "none"\nrate = 0.1'),
        ('name = "fedavg"', 'name = "krum"\nparameters = { byzantine = "1" }'),
        ("90061", "1"),
        ("publication_seconds = 60\n", ""),
        ("max_samples = 1000", 'max_samples = 1000\nmin_score = "3"'),
    )
    charter, mistakes = check(path)
    assert charter is None
    assert [(each.line, re.split(": | expected", each.reason)[0]) for each in mistakes] == [
        (3, "score"),
        (4, "sccore"),
        (6, "model"),
        (7, "model"),
        (10, "trainer.rate"),
        (13, "rule.parameters.byzantine"),
        (14, "rounds.publication_seconds"),
        (16, "rounds.submission_seconds"),
        (19, "limits.min_score"),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [('name = "fedavg"', 'name = "krum"\nparameters = { byzantine = 1 }')],
            [(13, "rounds.quorum: expected at least 5, without which the rule has no answer, found 3")],
        ),
        (
            [('name = "fedavg"', 'name = "acme.mean"'), ("[limits]", '[limits]\nmin_score = "2"')],
            [(9, "rule.code: expected the sha256"), (16, "limits.min_score: expected at most max_score, found 2")],
        ),
        ([('name = "fedavg"', 'name = "fedmean"')], [(9, "rule.name: expected one of fedavg, ")]),
        (
            [('name = "fedavg"', 'name = "fedmean"'), ("[limits]", '[limits]\nmin_score = "2"')],
            [(9, "rule.name: expected one of fedavg, "), (16, "limits.min_score: expected at most max_score")],
        ),
        (
            [('name = "fedavg"', 'name = "fedmean"'), ("quorum = 3", 'quorum = "3"')],
            [(9, "rule.name: expected one of fedavg, "), (12, "rounds.quorum: expected ")],
        ),
        ([("[stop]", '[optimiser]\nname = "fedsgd"\n[stop]')], [(17, "optimiser.name: expected one of ")]),
        ([("[stop]", '[optimiser]\nname = "fedavgm"\n[stop]')], [(17, "optimiser.parameters: fedavgm ")]),
        (
            [("[stop]", '[selection]\nname = "random"\ncount = 2\n[stop]')],
            [(19, "selection.count: expected at least 3")],
        ),
        ([("[stop]\nrounds = 10\n", "")], [(None, "stop: expected a value, found nothing")]),
        ([("[rounds]", "[rounds")], [(11, "Expected ']'")]),
        ([("rounds = 10\n", "rounds = ")], [(18, "Invalid value; text is written in quotes")]),
        ([("quorum = 3", "quorum = 3\nquorum = 3")], [(13, "Cannot overwrite a value")]),
    ],
)
def test_what_it_finds_where(tmp_path: Path, changes: list[tuple[str, str]], expected: list[tuple[int, str]]) -> None:
    """Contradictions, what is not installed, what is missing, and what is no TOML."""
    _, mistakes = check(_charter(tmp_path, *changes))
    assert [each.line for each in mistakes] == [line for line, _ in expected]
    for each, (_, said) in zip(mistakes, expected, strict=True):
        assert each.reason.startswith(said)
        assert "\n" not in each.reason


def test_the_first_mistake_is_the_one_that_others_are_told(tmp_path: Path) -> None:
    """A command that only needs a good charter names one of the same mistakes in the same words."""
    path = _charter(tmp_path, ('"F32"', '"F31"'), ("quorum = 3", "quorum = 3\nselection_seconds = 1"))
    with pytest.raises(CharterError) as raised:
        parse_toml(path)
    assert str(raised.value).removeprefix(f"charter {path}: ") in [each.reason for each in check(path)[1]]


def test_a_good_charter_has_no_mistakes(tmp_path: Path) -> None:
    """And is the one that every other command reads."""
    path = _charter(tmp_path)
    assert check(path) == (parse_toml(path), [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"\xff", "expected text in UTF-8"),
        (b"#" * (1 << 23), "expected at most 4194304 bytes"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    """Missing, no text, or longer than any charter."""
    path = tmp_path / "charter.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CharterError, match=said):
        check(path)


def test_a_deep_file_is_one_mistake(tmp_path: Path) -> None:
    """No traceback."""
    path = tmp_path / "charter.toml"
    path.write_text("x = " + "[" * 100_000)
    charter, (mistake,) = check(path)
    assert (charter, isinstance(mistake, Mistake)) == (None, True)


# ------------------------------------------------------------------------------------------------------------ in words


def test_a_charter_in_words(tmp_path: Path) -> None:
    """Sizes are counted, times are said in the largest units, and each part has its line."""
    words = dict(describe(parse_toml(_charter(tmp_path, ("rounds = 10", 'rounds = 10\ntarget_score = "0.9"')))))
    layout = parse_toml(tmp_path / "charter.toml").layout()
    assert words["model"] == f"2 tensors, 15 parameters, {layout.size} bytes"
    assert words["rounds"].startswith(
        "1 day 1 hour 1 minute 1 second to submit, 1 minute to publish; no model of fewer"
    )
    assert words["the contract"].startswith("enforces a quorum of at least 3, phases of at least 30 seconds and rounds")
    assert words["ends"] == "after 10 models, or once the members' mean score is 0.9"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fedavg", ""),
        ("median", ""),
        ("trimmed_mean", "count = 1"),
        ("krum", "byzantine = 0"),
        ("multi_krum", "byzantine = 0, selected = 2"),
        ("bulyan", "byzantine = 0"),
        ("geometric_median", 'iterations = 8, smoothing = "0.001"'),
        ("centered_clipping", 'iterations = 3, radius = "1.5"'),
    ],
)
def test_every_rule_of_ours_says_what_it_withstands(tmp_path: Path, name: str, parameters: str) -> None:
    """In one sentence, with the charter's own parameters."""
    told = f'name = "{name}"' + (f"\nparameters = {{ {parameters} }}" if parameters else "")
    words = dict(describe(parse_toml(_charter(tmp_path, ('name = "fedavg"', told)))))["rule"]
    assert re.fullmatch(rf"{name}( \w+=[\d.]+)*: .*(hostile|claimed).*", words)
    assert "{" not in words


def test_no_rule_of_ours_is_forgotten() -> None:
    """The parameters of the test above are those of all rules."""
    (mark,) = test_every_rule_of_ours_says_what_it_withstands.pytestmark  # type: ignore[attr-defined]  # Pytest's.
    assert {each[0] for each in mark.args[1]} == {each.implementation.name for each in REGISTRY.own()}


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_explains_and_names_the_address(tmp_path: Path) -> None:
    """The address that the ledger will have."""
    path = _charter(tmp_path)
    done = fedpact("charter", "check", path)
    cid = address(parse_toml(path).encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == ["cid:", str(cid)]
    answer: dict[str, Any] = json.loads(fedpact("charter", "check", path, "--json").stdout)
    assert (answer["ok"], answer["cid"], answer["charter"]["rounds"]["quorum"]) == (True, str(cid), 3)
    for name, said in answer["words"].items():
        assert f"{name}: {said}" in [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_the_command_names_every_mistake(tmp_path: Path) -> None:
    """With line and reason; a terminal obeys nothing in them."""
    path = _charter(tmp_path, ("quorum = 3", "quorum = 0"), ("rounds = 10", 'rounds = "\\u001b[31m"'))
    done = fedpact("charter", "check", path)
    assert done.returncode == 2
    first, second = done.stdout.splitlines()
    assert first == f"{path}, line 12: rounds.quorum: expected at least 1, found the number 0"
    assert second.startswith(f"{path}, line 18: stop.rounds: expected a whole number, found ")
    assert "\x1b" not in done.stdout
    assert done.stderr == f"fedpact: error: charter {path}: 2 mistakes\n"
    answer = json.loads(fedpact("charter", "check", path, "--json").stdout)
    assert (answer["ok"], [each["line"] for each in answer["mistakes"]]) == (False, [12, 18])
