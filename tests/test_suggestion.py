"""Names that were mistyped: each kind gets the known one that is most like it, and one that is like none gets none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fedpact import rules
from fedpact.administration import remove
from fedpact.artifacts.charter import parse_toml
from fedpact.artifacts.charter_check import check
from fedpact.artifacts.mistakes import read_toml
from fedpact.artifacts.slices import tensor_named
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.cli import usage
from fedpact.cli.application import application
from fedpact.deployment.plan import read_plan
from fedpact.errors import FedpactError
from fedpact.ledger.facts import Address
from fedpact.rules import OPTIMISER_REGISTRY, REGISTRY
from fedpact.settings import load
from fedpact.store.opening import open_store
from fedpact.suggestion import did_you_mean
from fedpact.workdir import read_record
from fedpact_client.data import Data, Table, read_table
from fedpact_client.loading import load_trainer
from fedpact_client.scikit_learn import ScikitLearnTrainer
from fedpact_simulation.setup import prepare
from hypothesis import given
from hypothesis import strategies as st
from runs import fedpact

ROOT = Path(__file__).parent.parent
CHARTER = (ROOT / "simulation/fedpact_simulation/charters/digits.toml").read_text("utf-8")
DATA = Data(np.zeros((2, 1)), np.zeros(2), np.zeros((1, 1)), np.zeros(1))
LAYOUT = Layout([Tensor("encoder.weight", "F32", (1,)), Tensor("encoder.bias", "F32", (1,))])


def _line(call: Callable[[], Any]) -> str:
    with pytest.raises(FedpactError) as raised:
        call()
    return str(raised.value)


def _usage(*arguments: str) -> str:
    try:
        application()(list(arguments), prog_name="fedpact", standalone_mode=False)
    except FedpactError:
        raise
    except Exception as error:  # Of whichever library typer stands on.
        return usage.in_words(error)
    raise AssertionError(arguments)


# ---------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("audti", "command 'audti': unknown; did you mean audit?"),
        ("gc", "command 'gc': unknown; did you mean store gc?"),
        ("show", "command 'show': unknown; did you mean config show or federation show or key show or model show?"),
        ("xyzzy", "command 'xyzzy': unknown; fedpact --help says what there is"),
        ("store serv", "store: command 'serv': unknown; did you mean serve?"),
        ("audit --sampel 0.1", "audit: option --sampel: unknown; did you mean --sample?"),
        ("silo run --key-flie k", "silo run: option --key-flie: unknown; did you mean --key-file?"),
        ("audit --xyzzy", "audit: option --xyzzy: unknown; fedpact audit --help says what there is"),
        ("audit -x", "audit: option -x: unknown; fedpact audit --help says what there is"),
        ("store add", "store add: expected FILE, found none; fedpact store add --help says what there is"),
        (
            "aggregate u -o m",
            "aggregate: expected --rule NAME, found none; fedpact aggregate --help says what there is",
        ),
        ("aggregate u --rule", "option --rule: expected a value after it, found none"),
        ("audit --json=3", "option --json: expected no value, found one"),
        ("store serve --port x", "store serve: --port: expected a whole number from 0 to 65535, found 'x'"),
        ("store serve --port 65536", "store serve: --port: expected a whole number from 0 to 65535, found '65536'"),
        ("store get c -o f --block -1", "store get: --block: expected a whole number from 0, found '-1'"),
        ("devnet --block-time 0", "devnet: --block-time: expected a number from 0.1 to 3600, found '0'"),
        ("federation rewind x", "federation rewind: ROUND: expected a whole number from 1, found 'x'"),
        ("audit a b c", "audit: expected no more arguments, found 'b c'; fedpact audit --help says what there is"),
    ],
)
def test_a_command_line_that_is_none(line: str, said: str) -> None:
    """The command, what of it, what was expected, what was found."""
    assert _usage(*line.split()) == said


def test_what_was_typed_is_cut() -> None:
    """However long it is."""
    assert len(_usage("audit", "--" + "x" * 10_000)) < 200
    assert len(_usage("x" * 10_000)) < 200
    assert len(_usage("store", "serve", "--port", "1" * 10_000)) < 200


def test_a_mistyped_command_is_one_line_and_a_group_alone_is_its_help(tmp_path: Path) -> None:
    """As a shell sees them."""
    done = fedpact("audti", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fedpact: error: command 'audti': unknown; did you mean audit?\n"
    done = fedpact("charter", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: fedpact charter ")
    assert "\n  check " in done.stdout


# --------------------------------------------------------------------------------------------------- files and settings


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"log_level": "warn"}, "found 'warn'; did you mean warning? (flag --log-level)"),
        ({"log_format": "jsno"}, "found 'jsno'; did you mean json? (flag --log-format)"),
        ({"write": "frist"}, "write: expected first or all, found 'frist'; did you mean first? (flag --write)"),
        ({"confirmations": "finalised"}, "found 'finalised'; did you mean finalized? (flag --confirmations)"),
        ({"log_level": "xyzzy"}, "expected debug, info, warning or error, found 'xyzzy' (flag --log-level)"),
    ],
)
def test_a_word_of_a_setting(flags: dict[str, object], said: str) -> None:
    """Where it has to be one of several."""
    assert _line(lambda: load(flags, {}, None)).endswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("quorum", "quroum", "rounds.quroum: unknown; expected one of quorum, .*; did you mean quorum\\?"),
        ("[limits]", "[limit]", "; did you mean limits\\?"),
        ('"F32"', '"float32"', "dtype: expected one of .*, found 'float32'; did you mean F32\\?"),
        ('"fedavg"', '"FedAvg"', "rule.name: expected a name such as fedavg"),
        ('"fedavg"', '"fed_avg"', "rule.name: expected one of .*, found 'fed_avg'; did you mean fedavg\\?"),
        ('"fedavg"', '"xyzzy"', "found 'xyzzy'; another fedpact may have it"),
        ('"fedavg"', '"trimmed_mean"\nparameters = { shares = "0.1" }', "; did you mean share\\?"),
        ("[rule]", '[selection]\nname = "best_scores"\ncount = 9\n[rule]', "; did you mean best_score\\?"),
        ("[rule]", '[optimiser]\nname = "fedadm"\n[rule]', "; did you mean fedadam\\?"),
        ("[rule]", '[before]\nname = "clip_norm"\n[rule]', "before.name: expected one of norm_clip"),
        ("[rule]", '[before]\nname = "norm_clipp"\n[rule]', "; did you mean norm_clip\\?"),
        ('score = "accuracy"', 'score = "accuracy"\nduplicates = "excluded"', "; did you mean exclude\\?"),
    ],
)
def test_a_word_of_a_charter(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Its keys, and what they can name."""
    assert old in CHARTER
    (tmp_path / "charter.toml").write_text(CHARTER.replace(old, new, 1))
    with pytest.raises(FedpactError, match=said):
        parse_toml(tmp_path / "charter.toml")


def test_a_key_of_other_files(tmp_path: Path) -> None:
    """What founds a federation, and what names a silo's table."""
    (tmp_path / "federation.toml").write_text('charter = "c"\ngenesis = "zeros"\nmembres = []\ncoordinators = []\n')
    assert _line(lambda: read_plan(tmp_path / "federation.toml")).endswith("; did you mean members?")
    (tmp_path / "table.toml").write_text('data = "d"\ntargets = "t"\n')
    assert _line(lambda: read_toml(tmp_path / "table.toml", Table)).endswith("; did you mean target?")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """One beside it that is much like it, and none that only ends like it; whoever reads it."""
    (tmp_path / "charter.toml").write_text(CHARTER)
    near, far = tmp_path / "chater.toml", tmp_path / "xyzzy.toml"
    for read in (parse_toml, check, read_plan, lambda path: load({}, {}, path)):
        assert _line(partial(read, near)).endswith("chater.toml: No such file or directory; did you mean charter.toml?")
        assert _line(partial(read, far)).endswith("xyzzy.toml: No such file or directory")
        assert _line(partial(read, tmp_path / "no/x.toml")).endswith("x.toml: No such file or directory")


# ---------------------------------------------------------------------------------------------------------- other names


def _trainer(name: str, directory: Path) -> Callable[[], Any]:
    return lambda: load_trainer(name, None, {}, directory)


def _simulated(**changes: Any) -> Any:
    return prepare("digits", **changes)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: REGISTRY.installed("krumm"), "found 'krumm'; did you mean krum?"),
        (lambda: OPTIMISER_REGISTRY.installed("fedyog"), "found 'fedyog'; did you mean fedyogi?"),
        (lambda: rules.make("krum", 1, {"byzantin": 1}), "krum has the parameters byzantine; did you mean byzantine?"),
        (lambda: tensor_named(LAYOUT, "encoder.wieght"), "found 'encoder.wieght'; did you mean encoder.weight?"),
        (lambda: open_store(["kobu+http://h"]), "found a URL of 'kobu+http'; did you mean kubo+http?"),
        (lambda: open_store(["gatway+https://h"]), "did you mean gateway+https?"),
        (lambda: open_store(["https://u:p@h"]), "(a block server) or kubo+https://… (an IPFS node)?"),
        (lambda: ScikitLearnTrainer(DATA, {"name": "perceptorn"}, 2), "found 'perceptorn'; did you mean perceptron?"),
        (lambda: ScikitLearnTrainer(DATA, {"name": "perceptron", "epoch": 1}, 2), "; did you mean epochs?"),
        (lambda: _usage("devnet", "--engine", "anvill"), "found 'anvill'; did you mean anvil?"),
        (lambda: read_record(ROOT / "protocoll"), "found none; did you mean protocol?"),
        (lambda: _simulated(hostile_kind="label-flop"), "found 'label-flop'; did you mean label-flip?"),
        (lambda: _simulated(ledger="memroy"), "found 'memroy'; did you mean memory?"),
        (lambda: _simulated(optimiser="fedavmg"), "found 'fedavmg'; did you mean fedavgm?"),
    ],
)
def test_what_can_be_named(call: Callable[[], Any], said: str) -> None:
    """Rules and their parameters, tensors, stores, what a simulation is told."""
    line = _line(call)
    assert line.endswith(said)
    assert "u:p" not in line


def test_a_trainer(tmp_path: Path) -> None:
    """Its module, of this environment's packages or beside the settings, and its factory."""
    (tmp_path / "ward_model.py").write_text("def make_it(file, config): ...\n")
    assert _line(_trainer("ward_modle:make_it", tmp_path)).endswith("; did you mean ward_model?")
    assert _line(_trainer("ward_model:mak_it", tmp_path)).endswith("found no mak_it; did you mean make_it?")
    assert _line(_trainer("fedpact_client.tabel:trainer", tmp_path)).endswith("; did you mean fedpact_client.table?")


def test_a_column_of_a_table(tmp_path: Path) -> None:
    """The one to learn."""
    (tmp_path / "ward.csv").write_text("age,outcome\n1,0\n2,1\n")
    (tmp_path / "ward.toml").write_text('data = "ward.csv"\ntarget = "outcom"\n')
    assert _line(lambda: read_table(tmp_path / "ward.toml")).endswith(
        "found 'outcom' in ward.toml; did you mean outcome?"
    )


def test_a_member_only_where_hardly_a_digit_differs() -> None:
    """Accounts are all somewhat alike: one is not to be taken for another."""

    view: Any = SimpleNamespace(members={Address("0x" + "12" * 20): None})
    near, far = Address("0x" + "12" * 19 + "13"), Address("0x" + "1f" * 20)
    assert _line(lambda: remove(view, near)).endswith(f"never admitted; did you mean 0x{'12' * 20}?")
    assert _line(lambda: remove(view, far)).endswith("never admitted; fedpact federation show lists the members")


# ----------------------------------------------------------------------------------------------------------------- laws


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5), st.data())
def test_a_known_name_in_other_capitals_is_found(known: list[str], data: st.DataObject) -> None:
    """Or one that is the same but for capitals."""
    name = data.draw(st.sampled_from(known))
    found = did_you_mean(name.upper(), known).removeprefix("; did you mean ").removesuffix("?")
    if name.upper().lower() == name.lower():
        assert found.lower() == name.lower()


def test_nothing_is_made_up() -> None:
    """Of no names, and of names that are not alike; a long one is cut."""
    assert did_you_mean("audit", []) == did_you_mean("audit", ["xyzzy"]) == ""
    assert len(did_you_mean("x" * 10_000, ["x" * 10_000])) < 120
