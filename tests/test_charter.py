"""Charters: what people write as TOML, what the ledger keeps, and one clear line for everything that is no charter."""

from __future__ import annotations

import decimal
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from charters import TOLD, small_charter
from fedpact.artifacts import canonical
from fedpact.artifacts import charter as charters
from fedpact.artifacts.charter import Charter, millionths, parse_toml
from fedpact.artifacts.weights import Tensor
from fedpact.errors import CharterError, InputError, InvalidDocument
from fedpact.ledger.facts import Limits
from fedpact.rules import RULES
from fedpact.store import MemoryBlocks
from fedpact.store.unixfs import add, address, read_small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DOCUMENTS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "documents.json").read_bytes())["vectors"]

GOOD = """\
format = "fedpact-charter/1"
name = "digits"
score = "accuracy"

[model]
coef0 = { dtype = "F32", shape = [64, 10] }
intercept0 = { dtype = "F64", shape = [10] }

[trainer]
name = "softmax_regression"
epochs = 2
learning_rate = "0.25"

[rule]
name = "fedavg"

[rounds]
quorum = 2
submission_seconds = 100
publication_seconds = 60

[limits]
max_samples = 100000
min_score = "-0.5"
max_score = "1"

[stop]
rounds = 20
target_score = "0.93"
patience = 3
"""


def written(directory: Path, text: str | bytes) -> Path:
    """A file with a charter's text."""
    path = directory / "charter.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# ------------------------------------------------------------------------------------------- what is no charter: TOML

# What to write instead of what, and the key that the error starts with.
NAMES = ", ".join(RULES)
BAD: dict[str, tuple[str, str, str]] = {
    "no format": ('format = "fedpact-charter/1"\n', "", "format: expected a value, found nothing"),
    "another format": ("fedpact-charter/1", "fedpact-charter/2", "format: "),
    "a format that is no text": ('"fedpact-charter/1"', "1", "format: "),
    "no name": ('name = "digits"\n', "", "name: expected a value, found nothing"),
    "an empty name": ('"digits"', '""', "name: "),
    "a name that is too long": ('"digits"', '"' + "d" * 201 + '"', "name: "),
    "a section that is unknown": (
        "[rule]",
        "[rules]\n[rule]",
        "rules: unknown; expected one of format, name, model, trainer, score, score_of, selection, before, rule, ",
    ),
    "a setting that is unknown": (
        "quorum = 2",
        "quorum = 2\nquroum = 2",
        "rounds.quroum: unknown; expected one of quorum, submission_seconds, publication_seconds",
    ),
    "a section that is missing": ('[rule]\nname = "fedavg"\n', "", "rule: expected a value, found nothing"),
    "a section that is no table": ("[model]\n", 'store = "here"\n[model]\n', "store: "),
    "no tensors": (GOOD[GOOD.index("coef0") : GOOD.index("[trainer]")], "", "model: tensors: expected 1 to"),
    "a tensor without a dtype": ('dtype = "F32", ', "", "model.coef0.dtype: expected a value, found nothing"),
    "a tensor without a shape": (", shape = [64, 10]", "", "model.coef0.shape: expected a value, found nothing"),
    "a dtype that is unknown": ('"F32"', '"C64"', "model: tensor coef0: dtype: expected one of"),
    "a dtype of two lines": ('"F32"', '"F\\n32"', "model: tensor coef0: dtype: expected one of"),
    "a shape that is a number": ("[64, 10]", "64", "model.coef0.shape: "),
    "a length that is text": ("[64, 10]", '[64, "10"]', "model.coef0.shape.1: "),
    "a length that is a decimal": ("[64, 10]", "[64, 10.0]", "model.coef0.shape.1: "),
    "a length that is a truth value": ("[64, 10]", "[64, true]", "model.coef0.shape.1: "),
    "a length of nothing": ("[64, 10]", "[64, 0]", "model: tensor coef0: shape: "),
    "a tensor with a name of two lines": ("coef0 =", '"co\\nef0" =', "model: tensor 'co\\nef0': expected a name"),
    "a bad tensor with a name of two lines": (
        "coef0 = {",
        '"co\\nef0" = { size = 3,',
        r"'model.co\nef0.size': unknown; expected one of dtype, shape",
    ),
    "a model beyond any store": ("[64, 10]", "[1099511627775, 1099511627775]", "model: tensors: expected at most"),
    "a trainer's setting with a point": (
        '"0.25"',
        "0.25",
        'trainer.learning_rate: expected a decimal number as text, like "0.1", found the number 0.25',
    ),
    "a trainer's setting that is a truth value": (
        "epochs = 2",
        "epochs = true",
        "trainer.epochs: expected text or a whole number, found ",
    ),
    "a trainer's setting that is a date": (
        "epochs = 2",
        "epochs = 2026-01-01",
        "trainer.epochs: expected text or a whole number, found ",
    ),
    "a trainer's setting that is a list": (
        "epochs = 2",
        "epochs = [2]",
        "trainer.epochs: expected text or a whole number, found ",
    ),
    "a rule that is unknown": (
        '"fedavg"',
        '"fedsum"',
        f"rule.name: expected one of {NAMES}, found 'fedsum'",
    ),
    "a rule of two lines": (
        '"fedavg"',
        '"fed\\navg"',
        r"rule.name: expected a name such as fedavg, or acme.mean, found 'fed\navg'",
    ),
    "a version that the rule has not": ('"fedavg"', '"fedavg"\nversion = 2', "rule.version: expected 1, found 2"),
    "a version that is text": ('"fedavg"', '"fedavg"\nversion = "1"', "rule.version: "),
    "no quorum": ("quorum = 2\n", "", "rounds.quorum: expected a value, found nothing"),
    "a quorum of nobody": ("quorum = 2", "quorum = 0", "rounds.quorum: expected at least 1, found the number 0"),
    "a quorum that the contract cannot hold": ("quorum = 2", "quorum = 65536", "rounds.quorum: "),
    "a quorum that is text": ("quorum = 2", 'quorum = "2"', "rounds.quorum: expected a whole number, found '2'"),
    "a quorum that is a truth value": ("quorum = 2", "quorum = true", "rounds.quorum: "),
    "a quorum that is a decimal": ("quorum = 2", "quorum = 2.0", "rounds.quorum: "),
    "a phase that ends as it starts": (
        "submission_seconds = 100",
        "submission_seconds = 1",
        "rounds.submission_seconds: ",
    ),
    "a phase of no end": (
        "publication_seconds = 60",
        "publication_seconds = 1000000001",
        "rounds.publication_seconds: ",
    ),
    "no samples": ("max_samples = 100000", "max_samples = 0", "limits.max_samples: "),
    "samples beyond exact sums": ("max_samples = 100000", f"max_samples = {2**40 + 1}", "limits.max_samples: "),
    "a score that is no text": ('min_score = "-0.5"', "min_score = -0.5", "limits.min_score: "),
    "a score that is no number": ('"-0.5"', '"half"', "limits.min_score: expected a decimal number"),
    "a score that is none": ('"-0.5"', '"NaN"', "limits.min_score: expected a decimal number"),
    "a score without limit": ('"-0.5"', '"-Infinity"', "limits.min_score: expected a decimal number"),
    "a score too great": ('max_score = "1"', 'max_score = "1000000000"', "limits.max_score: expected a decimal number"),
    "a score with a huge exponent": ('"-0.5"', '"-1e99999999"', "limits.min_score: expected a decimal number"),
    "a score with a tiny exponent": ('"-0.5"', '"-1e-99999999"', "limits.min_score: expected a decimal number"),
    "a score with an underscore": ('"-0.5"', '"-0_0.5"', "limits.min_score: expected a decimal number"),
    "a score with a line feed": ('"-0.5"', '"-0.5\\n"', "limits.min_score: expected a decimal number"),
    "a score in other digits": ('"-0.5"', '"\u0661"', "limits.min_score: expected a decimal number"),
    "a score of many digits": ('"-0.5"', '"0.' + "1" * 100_000 + '"', "limits.min_score: expected a decimal number"),
    "scores upside down": ('max_score = "1"', 'max_score = "-0.51"', "limits.min_score: expected at most max_score"),
    "no rounds": ("rounds = 20", "rounds = 0", "stop.rounds: "),
    "a target that is a number": ('"0.93"', "0.93", "stop.target_score: "),
    "a target that is no number": ('"0.93"', '"high"', "stop.target_score: expected a decimal number"),
    "no patience at all": ("patience = 3", "patience = 0", "stop.patience: "),
    "no failures at all": ("patience = 3", "failures = 0", "stop.failures: "),
    "fewer confirmations than none": ("[stop]", "[ledger]\nconfirmations = -1\n[stop]", "ledger.confirmations: "),
    "no copies": ("[stop]", "[store]\ncopies = 0\n[stop]", "store.copies: "),
    "retention without end": ("[stop]", "[store]\nretention_days = 100001\n[stop]", "store.retention_days: "),
    "a selection that is unknown": (
        "[stop]",
        '[selection]\nname = "worst_score"\ncount = 2\n[stop]',
        "selection.name: expected 'best_score', 'most_samples' or 'random', found 'worst_score'",
    ),
    "a selection without a name": (
        "[stop]",
        "[selection]\ncount = 2\n[stop]",
        "selection.name: expected a value, found nothing",
    ),
    "a selection without a count": (
        "[stop]",
        '[selection]\nname = "random"\n[stop]',
        "selection.count: expected a value, found nothing",
    ),
    "a selection of nobody": ("[stop]", '[selection]\nname = "random"\ncount = 0\n[stop]', "selection.count: "),
    "a selection of a half": ("[stop]", '[selection]\nname = "random"\ncount = 2.5\n[stop]', "selection.count: "),
    "a selection of more than there can be": (
        "[stop]",
        '[selection]\nname = "random"\ncount = 65536\n[stop]',
        "selection.count: ",
    ),
    "a selection of fewer than the quorum": (
        "[stop]",
        '[selection]\nname = "random"\ncount = 1\n[stop]',
        "selection.count: expected at least 2 (rounds.quorum), found 1",
    ),
    "a selection with a seed": (
        "[stop]",
        '[selection]\nname = "random"\ncount = 2\nseed = 1\n[stop]',
        "selection.seed: unknown; expected one of name, count",
    ),
    "duplicates treated in an unknown way": ('name = "digits"', 'name = "d"\nduplicates = "some"', "duplicates: "),
    "a key of two lines": ("quorum = 2", '"quo\\nrum" = 2', r"'rounds.quo\nrum': unknown; expected one of "),
    "an additional key of two lines": (
        "quorum = 2",
        'quorum = 2\n"quo\\nrum" = 2',
        r"'rounds.quo\nrum': unknown; expected one of ",
    ),
    "a section of two lines": ("[rule]", '["ru\\nles"]\n[rule]', r"'ru\nles': unknown; expected one of "),
    "an endless key": ("[rule]", f"[{'k' * 100_000}]\n[rule]", "kkk"),
}


@pytest.mark.parametrize(("old", "new", "key"), BAD.values(), ids=BAD.keys())
def test_a_bad_charter_is_refused_in_one_line_that_names_the_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    """Everything that is no charter ends with one short line: the file, the key, what was expected, what was found."""
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(CharterError) as caught:
        parse_toml(path)
    message = str(caught.value)
    assert message.startswith(f"charter {path}: {key}".removesuffix(" "))
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 600


NO_TOML = {
    "no TOML": "format = ",
    "JSON": '{"format": "fedpact-charter/1"}',
    "a key twice": GOOD + "rounds = 21\n",
    "a section twice": GOOD + "[stop]\n",
    "an open quote over two lines": 'name = "a\nb"',
    "bytes that are no UTF-8": b"name = '\xff'",
    "UTF-16": GOOD.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "a zero byte": GOOD + "\0",
    "a number of too many digits": GOOD + "failures = " + "9" * 5000,
    "lists too deep": GOOD + "failures = " + "[" * 100_000,
}


@pytest.mark.parametrize("text", NO_TOML.values(), ids=NO_TOML.keys())
def test_a_file_that_is_no_toml_is_refused_in_one_line(tmp_path: Path, text: str | bytes) -> None:
    """A file that cannot be read as TOML ends with one line that names it."""
    path = written(tmp_path, text)
    with pytest.raises(CharterError, match=r"^charter ") as caught:
        parse_toml(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_file_is_refused_by_its_first_missing_setting(tmp_path: Path) -> None:
    """An empty file is TOML, but the charter's first setting is missing."""
    with pytest.raises(
        CharterError, match=r"format: expected a value, found nothing \(fedpact charter check .* names 8 more\)$"
    ):
        parse_toml(written(tmp_path, ""))


@pytest.mark.parametrize(("name", "reason"), [("none.toml", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(tmp_path: Path, name: str, reason: str) -> None:
    """A missing file is the user's to mend, so its exit code is that of bad input."""
    with pytest.raises(CharterError, match=f"^charter .*: {reason}$") as caught:
        parse_toml(tmp_path / name)
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 2


# Any text, and the good text with a few lines dropped, doubled or broken.
garbled = st.lists(st.integers(0, 40), min_size=10, max_size=40).map(
    lambda order: "\n".join(GOOD.splitlines()[each % len(GOOD.splitlines())] for each in order)
)


@settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # Each example overwrites the file.
@given(text=st.text(max_size=60) | garbled)
def test_any_text_is_a_charter_or_one_line(text: str, tmp_path: Path) -> None:
    """Whatever a file holds, reading it gives a charter or a `CharterError` of one line."""
    path = written(tmp_path, text.encode("utf-8", "replace"))
    try:
        charter = parse_toml(path)
    except CharterError as error:
        message = str(error)
    else:
        message = charter.name
        assert charters.decode(charter.encode()) == charter
    assert len(message.splitlines()) == 1


# ------------------------------------------------------------------------------------------ what is no charter: bytes


def changed(**changes: Any) -> bytes:
    """Canonical bytes of the good charter with other values; None takes one out."""
    value = json.loads(small_charter().encode()) | changes
    return canonical.encode({key: each for key, each in value.items() if each is not None})


NO_CHARTERS = {
    "nothing": (b"", "charter: not JSON"),
    "a list": (b"[]", "charter: "),
    "a text": (b'"fedpact-charter/1"', "charter: "),
    "TOML": (GOOD.encode(), "charter: not JSON"),
    "another format": (changed(format="fedpact-manifest/1"), "charter: format: "),
    "a section that is missing": (changed(stop=None), "charter: stop: expected a value, found nothing"),
    "a section with defaults that is missing": (changed(ledger=None), "charter: not canonical"),
    "a default that is not written out": (changed(rule={"name": "fedavg"}), "charter: not canonical"),
    "a setting that is unknown": (changed(sealed=1), "charter: sealed: unknown; expected one of "),
    "a key of two lines": (changed(**{"a\nb": 1}), r"charter: 'a\nb': unknown; expected one of "),
    "white space": (small_charter().encode() + b"\n", "charter: not canonical JSON"),
    "a null": (
        small_charter().encode().replace(b'"rounds":10', b'"patience":null,"rounds":10'),
        "charter.stop.patience: ",
    ),
}


@pytest.mark.parametrize(("data", "message"), NO_CHARTERS.values(), ids=NO_CHARTERS.keys())
def test_bytes_that_are_no_charter_are_refused(data: bytes, message: str) -> None:
    """What the ledger's address leads to is a charter in its one form, or refused in one line that says why."""
    with pytest.raises(InvalidDocument) as caught:
        charters.decode(data)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


# ------------------------------------------------------------------------------------------------------ what is right


def test_a_good_charter_is_read_with_its_defaults(tmp_path: Path) -> None:
    """What is written is taken, and what is left out has the documented defaults."""
    charter = parse_toml(written(tmp_path, GOOD))
    assert charter.trainer == {"name": "softmax_regression", "epochs": 2, "learning_rate": "0.25"}
    assert (charter.rule.version, charter.duplicates, charter.ledger.confirmations) == (1, "exclude", 0)
    assert (charter.store.retention_days, charter.store.copies) == (365, 1)
    assert (charter.stop.rounds, charter.stop.target_score, charter.stop.patience) == (20, "0.93", 3)
    assert (charter.stop.min_improvement, charter.stop.failures) == ("0", 3)


def test_a_charter_without_a_selection_says_nothing_of_it() -> None:
    """Its bytes are those it had before there were selections; those of a charter that selects are others."""
    assert b"selection" not in small_charter().encode()
    selecting = small_charter(selection={"name": "random", "count": 1})
    assert b'"selection":{"count":1,"name":"random"}' in selecting.encode()


def test_a_selection_that_is_too_small_for_the_rule_is_too_small_for_the_quorum() -> None:
    """The quorum is what the rule needs at least, and the count is the quorum at least."""
    krum = {"name": "krum", "parameters": {"byzantine": 1}}
    for quorum, count in ((5, 4), (4, 4), (1, 5)):
        with pytest.raises(ValueError, match="expected at least 5"):
            small_charter(rule=krum, rounds={"quorum": quorum}, selection={"name": "random", "count": count})
    small_charter(rule=krum, rounds={"quorum": 5}, selection={"name": "random", "count": 5})


def test_the_layout_is_that_of_the_model(tmp_path: Path) -> None:
    """The tensors of the section `model` are those of every update."""
    layout = parse_toml(written(tmp_path, GOOD)).layout()
    assert layout.tensors == (Tensor("intercept0", "F64", (10,)), Tensor("coef0", "F32", (64, 10)))
    assert layout.size == len(layout.header) + 80 + 2560


def test_comments_order_and_spaces_do_not_change_the_address(tmp_path: Path) -> None:
    """Two ways to write the same rules are one charter; other rules are another."""
    blocks = [block + "\n" for block in GOOD.split("\n\n")]
    shuffled = "# The same.\n" + blocks[0] + "\n\n".join(reversed(blocks[1:])).replace(" = ", "=  ")
    first = parse_toml(written(tmp_path, GOOD)).encode()
    assert parse_toml(written(tmp_path, shuffled)).encode() == first
    assert parse_toml(written(tmp_path, GOOD.replace('"digits"', '"Digits"'))).encode() != first


charter_values = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(min_size=1, max_size=20),
        "trainer": st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=3),
        "duplicates": st.sampled_from(["exclude", "keep"]),
        "selection": st.fixed_dictionaries(
            {"name": st.sampled_from(["best_score", "most_samples", "random"]), "count": st.integers(1, 0xFFFF)}
        ),
        "ledger": st.fixed_dictionaries({}, optional={"confirmations": st.integers(0, 10**6)}),
        "stop": st.fixed_dictionaries(
            {"rounds": st.integers(1, 10**9)},
            optional={
                "target_score": st.decimals(-1, 1, places=6).map(lambda value: f"{value:f}"),
                "patience": st.integers(1, 10**9),
                "failures": st.integers(1, 10**9),
            },
        ),
    },
)


@settings(max_examples=80)
@given(charter_values)
def test_a_charter_comes_back_from_its_bytes(changes: dict[str, Any]) -> None:
    """Encoded, stored and read again a charter is the same, and so are its bytes."""
    charter = small_charter(**changes)
    data = charter.encode()
    assert charters.decode(data) == charter
    assert charters.decode(data).encode() == data
    blocks = MemoryBlocks()
    assert read_small(blocks, add(blocks, data).root, charters.MAX_BYTES) == data


def test_the_golden_charter_does_not_change(tmp_path: Path) -> None:
    """A charter that was agreed to once has these bytes and this address for ever."""
    vector = DOCUMENTS["charter"]
    data = parse_toml(written(tmp_path, vector["toml"])).encode()
    assert data.decode() == vector["canonical"]
    assert str(address(data)) == vector["cid"]


def test_a_charter_of_the_largest_model_fits_its_limit() -> None:
    """Ten thousand tensors with long names and shapes make a charter that `MAX_BYTES` lets through."""
    tensor = {"dtype": "F32", "shape": [1, 1, 1, 1, 1, 1, 1, 1_000_000]}
    charter = small_charter(model={f"{number:0200d}": tensor for number in range(10_000)})
    assert len(charter.encode()) < charters.MAX_BYTES


def test_every_rule_can_be_agreed_to() -> None:
    """Every rule of `fedpact.rules` is a charter's rule, with its version."""
    for name, rule in RULES.items():
        assert rule.name == name
        told = TOLD[name]
        agreed = small_charter(
            rule={"name": name, "version": rule.version, "parameters": told}, rounds={"quorum": rule.of(told).fewest}
        )
        assert charters.decode(agreed.encode()) == agreed
        assert isinstance(agreed.make_rule(), rule)


# --------------------------------------------------------------------------------- what the contract is told


@settings(max_examples=100)
@given(st.integers(1, 0xFFFF), st.integers(2, 10**9), st.integers(2, 10**9), st.integers(0, 2**39), st.data())
def test_a_round_opened_by_the_charter_is_within_its_limits(
    quorum: int, submission: int, publication: int, now: int, data: st.DataObject
) -> None:
    """Terms made now are what the contract's limits allow, even when they land after half of the first phase."""
    charter = small_charter(
        rounds={"quorum": quorum, "submission_seconds": submission, "publication_seconds": publication}
    )
    limits, terms = charter.contract_limits(), charter.terms(now)
    landed = now + data.draw(st.integers(0, submission // 2), "seconds until the transaction landed")
    assert (terms.register_by, terms.commit_by) == (0, 0)
    assert terms.quorum == limits.min_quorum == quorum
    assert 1 <= limits.min_phase <= min(terms.submit_by - landed, terms.publish_by - terms.submit_by)
    assert terms.publish_by - landed <= limits.max_round
    assert terms.submit_by - now == submission
    assert terms.publish_by - terms.submit_by == publication


def test_the_contract_leaves_room_on_both_sides() -> None:
    """A round may be twice as long as planned, a phase half as long, a quorum no smaller."""
    assert small_charter().contract_limits() == Limits(1, 30, 320)


@settings(max_examples=100)
@given(st.from_regex(r"-?[0-9]{1,9}(\.[0-9]{1,30})?", fullmatch=True), st.integers(1, 50))
def test_a_score_is_rounded_once_and_half_to_even(text: str, precision: int) -> None:
    """Any decimal of a charter is the nearest millionth, whatever precision the process has set for decimals."""
    with decimal.localcontext(prec=precision):
        found = millionths(small_charter(stop={"target_score": text}).stop.target_score or "")
    assert abs(found - Fraction(text) * 10**6) <= Fraction(1, 2)
    assert found == round(Fraction(text) * 10**6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 1_000_000),
        ("-0.5", -500_000),
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("-0.0000015", -2),
        ("0.0000004999", 0),
        ("123456789.00000050000000000000000000001", 123456789000001),
        ("999999999.999999", 999999999999999),
    ],
)
def test_millionths_of_known_decimals(text: str, expected: int) -> None:
    """Known decimals have known millionths, also where a first rounding to 28 digits would mislead."""
    assert millionths(text) == expected


def test_the_score_range_is_that_of_the_limits() -> None:
    """The limits' decimals are what the ledger's integers are compared with."""
    assert small_charter(limits={"min_score": "-0.25", "max_score": "0.75"}).score_range() == (-250_000, 750_000)
    assert small_charter().score_range() == (-1_000_000, 1_000_000)


def test_a_charter_cannot_be_changed() -> None:
    """A charter that was read stays as it was read."""
    charter: Any = small_charter()
    with pytest.raises(ValueError, match="frozen"):
        charter.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        charter.stop.rounds = 1
    assert isinstance(charter, Charter)


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": {f"k{number}": 1 for number in range(20_000)}},
        {"rule": {"name": "fedavg", "version": 1, "parameters": {f"k{number}": 1 for number in range(20_000)}}},
        {"model": {"w": {"dtype": "F32", "shape": ["x"] * 20_000}}},
        {"model": {f"t{number}": {} for number in range(20_000)}},
        {f"k{number}": {} for number in range(20_000)},
    ],
    ids=["trainer", "parameters", "shape", "model", "document"],
)
def test_a_charter_of_very_many_entries_is_refused_at_once(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after each of them was looked at and found wrong, which would take all the memory."""
    data = canonical.encode(small_charter().model_dump(exclude_none=True) | change)
    monkeypatch.setattr(Charter, "model_validate", lambda value: pytest.fail("looked at"))
    with pytest.raises(InvalidDocument, match="entries, found"):
        charters.decode(data)
