"""Rules of installed packages: named by the hash of their code, never looked up by anything that a charter says."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from charters import small_charter
from fedpact.artifacts import charter as charters
from fedpact.artifacts.charter import Charter, parse_toml
from fedpact.errors import CharterError, InvalidDocument, NotInstalled, RuleFailed
from fedpact.rules import BEFORE, OPTIMISERS, REGISTRY, RULES, NormClip, Optimiser, make
from fedpact.rules.arrays import combine
from packages import MEAN, Installed
from runs import fedpact
from test_charter import GOOD

HASH = "0123456789abcdef" * 4
TOLD: dict[str, str | int] = {"factor": "0.5"}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """A package with the rule `acme.mean`."""
    installed = Installed(tmp_path / "site")
    installed.find(monkeypatch)
    return installed


def charter_of(code: str | None, name: str = "acme.mean", version: int = 1, **parameters: str | int) -> Charter:
    """A charter with a rule of a package."""
    return small_charter(rule={"name": name, "version": version, "code": code, "parameters": parameters or TOLD})


def written(directory: Path, rule: str) -> Path:
    """A charter's file with another section `rule`."""
    path = directory / "charter.toml"
    path.write_text(GOOD.replace('[rule]\nname = "fedavg"\n', f"[rule]\n{rule}\n"))
    return path


# ------------------------------------------------------------------------------------------- what is not installed


NOT_HERE: dict[str, tuple[dict[str, Any], str]] = {
    "a name that no fedpact has yet": ({"name": "fedsum"}, "rule.name: expected one of fedavg, .*, found 'fedsum'"),
    "a version that is to come": ({"name": "median", "version": 2}, "rule.version: expected 1, found 2"),
    "a package that is not here": (
        {"name": "acme.mean", "code": HASH},
        f"rule acme.mean: expected an installed package that offers it, with code {HASH}; found none",
    ),
}


@pytest.mark.parametrize("case", list(NOT_HERE))
def test_a_charter_whose_rule_is_not_here_is_a_charter(tmp_path: Path, case: str) -> None:
    """It is read, and comes back from its bytes; who needs the rule is told; nobody writes such a charter."""
    rule, says = NOT_HERE[case]
    charter = small_charter(rule=rule | {"parameters": {"anything": "at all"}})
    assert charters.decode(charter.encode()) == charter
    with pytest.raises(NotInstalled, match=says) as caught:
        charter.make_rule()
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in rule.items())
    with pytest.raises(CharterError, match=says):
        parse_toml(written(tmp_path, lines))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"name": "acme.mean"}, "rule.code: expected the sha256 of the rule's file"),
        ({"name": "acme.mean", "code": HASH[1:]}, "rule.code: expected the sha256 of the rule's file"),
        ({"name": "acme.mean", "code": HASH.upper()}, "rule.code: expected the sha256 of the rule's file"),
        ({"name": "fedavg", "code": HASH}, "rule.code: expected none, as fedavg is fedpact's own"),
        ({"name": "fedavg", "version": 0}, "rule.version: "),
        ({"name": "Acme.mean", "code": HASH}, "rule.name: expected a name such as fedavg, or acme.mean"),
        ({"name": "acme.", "code": HASH}, "rule.name: expected a name such as"),
        ({"name": ".mean", "code": HASH}, "rule.name: expected a name such as"),
        ({"name": "acme..mean", "code": HASH}, "rule.name: expected a name such as"),
        ({"name": "acme/mean.py", "code": HASH}, "rule.name: expected a name such as"),
        ({"name": "a." * 10 + "b", "code": HASH}, "rule.name: expected a name such as"),
        ({"name": "acme.mean:ShrunkMean", "code": HASH}, "rule.name: expected a name such as"),
    ],
)
def test_a_rule_that_can_never_be_is_no_charter(tmp_path: Path, rule: dict[str, Any], says: str) -> None:
    """Names and hashes have one form; a name with a dot has a hash, another has none."""
    value = json.loads(small_charter().encode())
    value["rule"] = {"version": 1} | rule
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InvalidDocument, match=says):
        charters.decode(data)
    lines = "\n".join(f"{key} = {json.dumps(each)}" for key, each in rule.items())
    with pytest.raises(CharterError, match=says):
        parse_toml(written(tmp_path, lines))


@pytest.mark.parametrize(
    ("section", "named", "says"),
    [
        (
            "before",
            {"name": "sign"},
            r"before\.name: expected one of norm_clip, found 'sign'; another fedpact may have",
        ),
        ("optimiser", {"name": "fedlion"}, r"optimiser\.name: expected one of fedavgm, .*, found 'fedlion'; another"),
        ("optimiser", {"name": "fedavgm", "version": 2}, r"optimiser\.version: expected 1, found 2; another fedpact"),
    ],
)
def test_what_else_is_to_come_is_not_here(section: str, named: dict[str, Any], says: str) -> None:
    """An optimiser, or what is done before a rule: a charter of a newer fedpact is a charter all the same."""
    charter = small_charter(**{section: named})
    assert charters.decode(charter.encode()) == charter
    with pytest.raises(NotInstalled, match=says):
        charter.check_installed()


def test_another_code_is_another_rule(acme: Installed) -> None:
    """The error names the rule, the hash expected, the hash found and where; the module is not run."""
    acme.file.write_text("raise SystemExit('it was run')\n")
    with pytest.raises(NotInstalled) as caught:
        charter_of(HASH).make_rule()
    message = str(caught.value)
    assert message.startswith(f"rule acme.mean: code: expected {HASH}, found {acme.code} (acme-rules 1.2, {acme.file})")


def test_another_version_of_the_same_code_is_not_here(acme: Installed) -> None:
    """What code says of its own version holds."""
    charter = charter_of(acme.code, version=2)
    with pytest.raises(NotInstalled, match=r"rule acme\.mean: version: expected 1, as this code says, found 2"):
        charter.make_rule()
    assert charters.decode(charter.encode()) == charter


def test_what_an_installed_rule_cannot_work_with_is_no_charter(acme: Installed, tmp_path: Path) -> None:
    """Parameters are validated when a charter is written, and again when it is read."""
    good = charter_of(acme.code).encode()
    assert charters.decode(good).make_rule().fewest == 1
    with pytest.raises(InvalidDocument, match=r"charter: rule\.parameters\.factor: expected a decimal number below 1"):
        charters.decode(good.replace(b'"0.5"', b'"1.5"'))
    with pytest.raises(CharterError, match=r"rule\.parameters\.factor: expected a decimal number below 1"):
        parse_toml(written(tmp_path, f'name = "acme.mean"\ncode = "{acme.code}"'))


BROKEN: dict[str, tuple[str, str]] = {
    "no Python": ("class", "cannot be loaded: SyntaxError"),
    "an import that fails": ("import acme_is_not_here", "cannot be loaded: ModuleNotFoundError: No module named"),
    "no such class": ("x = 1", "ShrunkMean: expected a Rule that leaves nothing abstract, found None"),
    "no rule": ("class ShrunkMean: ...", "expected a Rule that leaves nothing abstract, found <class"),
    "an abstract rule": (
        MEAN.replace("def combination", "def combine"),
        "expected a Rule that leaves nothing abstract",
    ),
    "another name": (
        MEAN.replace("acme.mean", "acme.other"),
        "expected name 'acme.mean' and a whole number as version",
    ),
    "a version that is text": (
        MEAN.replace("    takes:", "    version: ClassVar[str] = 'one'\n    takes:"),
        "expected name 'acme.mean' and a whole number as version, found 'acme.mean', 'one'",
    ),
    "a mistake in reading parameters": (
        MEAN.replace('read.decimal(parameters, "factor"', 'read.decimal(parameters[0], "factor"'),
        "parameters: KeyError: 0 (in /",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_code_that_does_not_work_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A rule's own mistake never makes a charter wrong: one line names the rule, the file and the mistake."""
    source, says = BROKEN[case]
    acme = Installed(tmp_path / "site", source)
    acme.find(monkeypatch)
    charter = charter_of(acme.code)
    assert charters.decode(charter.encode()) == charter
    with pytest.raises(NotInstalled) as caught:
        charter.make_rule()
    assert says in str(caught.value)
    assert "rule acme.mean: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert ("cannot be loaded" in says) == (f"acme.rules.mean@{acme.code}" not in sys.modules)


ENTRIES = {
    "no class": ("acme.mean = acme.rules.mean", "expected an entry point MODULE:CLASS, found 'acme.rules.mean'"),
    "no module": ("acme.mean = acme.rules.none:Mean", "expected a Python file for module acme.rules.none, found none"),
    "a module of a module": ("acme.mean = acme.rules.mean.json:Mean", "expected a Python file for module"),
    "a built-in module": ("acme.mean = sys:Mean", "expected a Python file for module sys, found none"),
    "no package": ("acme.mean = nowhere.mean:Mean", "expected a Python file for module nowhere.mean, found none"),
}


@pytest.mark.parametrize("case", list(ENTRIES))
def test_an_entry_point_that_leads_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """With the package that has it."""
    entry, says = ENTRIES[case]
    Installed(tmp_path / "site", entry=entry).find(monkeypatch)
    with pytest.raises(NotInstalled) as caught:
        make("acme.mean", 1, TOLD, HASH)
    assert str(caught.value).startswith(f"rule acme.mean: acme-rules 1.2: {says}")


def test_a_package_never_takes_the_place_of_fedpacts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point without a dot is never looked at, and is listed as unusable."""
    source = MEAN.replace("acme.mean", "fedavg")
    Installed(tmp_path / "site", source, entry="fedavg = acme.rules.mean:ShrunkMean").find(monkeypatch)
    assert type(make("fedavg", 1, {})) is RULES["fedavg"]
    assert REGISTRY.installed("fedavg").file is None
    offers, unusable = REGISTRY.all()
    assert [each.implementation for each in offers] == list(RULES.values())
    assert [each.name for each in unusable] == ["fedavg"]
    with pytest.raises(NotInstalled):
        make("fedavg", 1, {}, HASH)


def test_two_packages_may_offer_a_name_and_the_hash_decides(
    acme: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A charter gets the code that it names; a command, which names none, says that it cannot choose."""
    other = Installed(tmp_path / "other", MEAN.replace("self._factor = factor", "self._factor = factor / 2"))
    (other.site / "acme").rename(other.site / "acme2")
    information = (other.site / "acme_rules-1.2.dist-info").rename(other.site / "acme_new-1.3.dist-info")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-new\nVersion: 1.3\n")
    (information / "entry_points.txt").write_text("[fedpact.rules]\nacme.mean = acme2.rules.mean:ShrunkMean\n")
    other.file = other.site / "acme2" / "rules" / "mean.py"
    other.find(monkeypatch)
    update = [np.array([8], np.float32)]
    assert combine(make("acme.mean", 1, TOLD, acme.code), update, [1]) == 4
    assert combine(make("acme.mean", 1, TOLD, other.code), update, [1]) == 2
    with pytest.raises(NotInstalled, match=r"expected one package that offers acme.mean, found acme-.* and acme-"):
        REGISTRY.installed("acme.mean")


# ------------------------------------------------------------------------------------------------ what is installed


def test_what_was_hashed_is_what_runs(acme: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """No package around it is imported, no compiled copy is taken, and changed code is another rule at once."""
    first = make("acme.mean", 1, TOLD, acme.code)
    acme.file.write_text(MEAN.replace("self._factor = factor", "self._factor = 2.0000"))
    second = make("acme.mean", 1, TOLD, acme.code)
    assert combine(first, [np.array([8], np.float32)], [1]) == 4
    assert combine(second, [np.array([8], np.float32)], [1]) == 16
    assert not {"acme", "acme.rules", "acme.rules.mean"} & set(sys.modules)
    assert not list(acme.site.rglob("*.pyc"))


def test_a_rule_may_import_from_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolutely and relatively; a module of its own name that was imported before is left alone."""
    source = MEAN.replace("import numpy as np\n", "import numpy as np\nfrom .constant import HALF\nimport acme.rules\n")
    acme = Installed(tmp_path / "site", source.replace("self._factor = factor", "self._factor = HALF"))
    for name in ("acme/__init__.py", "acme/rules/__init__.py"):
        (acme.site / name).write_text("")
    (acme.site / "acme" / "rules" / "constant.py").write_text("HALF = 0.5\n")
    acme.find(monkeypatch)
    try:
        import acme.rules.mean as imported  # type: ignore[import-not-found]  # Made above.

        rule = make("acme.mean", 1, {"factor": "0.1"}, acme.code)
        assert combine(rule, [np.array([8], np.float32)], [1]) == 4
        assert dataclasses.replace(rule) == rule  # type: ignore[type-var]  # It is a dataclass.
        assert sys.modules["acme.rules.mean"] is imported
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "acme"]:
            del sys.modules[name]


def test_a_rule_that_makes_nan_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is finite, whatever a rule's author overlooked."""
    acme = Installed(tmp_path / "site", MEAN.replace("* self._factor", "* float('nan')"))
    acme.find(monkeypatch)
    with pytest.raises(RuleFailed, match="expected finite elements of finite updates, found NaN"):
        combine(make("acme.mean", 1, TOLD, acme.code), [np.array([8], np.float32)], [1])


def test_every_rule_says_what_it_takes() -> None:
    """The parameters that a rule lists are those that it knows, and its docstring says what it does."""
    for offer in REGISTRY.all()[0]:
        rule = offer.implementation
        with pytest.raises(CharterError) as caught:
            rule.of({"nonsense": 1})
        known = f"has the parameters {', '.join(rule.takes)}" if rule.takes else "has no parameters"
        assert str(caught.value) == f"rule.parameters.nonsense: {rule.name} {known}"
        assert offer.summary.endswith(".")


@pytest.mark.parametrize("found", [*BEFORE.values(), *OPTIMISERS.values()], ids=lambda each: each.name)
def test_so_does_what_stands_beside_it(found: type[NormClip | Optimiser]) -> None:
    """What is done before a rule, and the server optimisers. Where several parameters are missing, all are named."""
    section = "before" if found.name in BEFORE else "optimiser"
    known = f"{found.name} has the parameters {', '.join(found.takes)}"
    with pytest.raises(CharterError) as caught:
        found.of({"nonsense": 1})
    assert str(caught.value) == f"{section}.parameters.nonsense: {known}"
    first, *others = found.takes
    for given in ({}, {first: "1"}):
        missing = [name for name in (first, *others) if name not in given]
        if len(missing) > 1:
            with pytest.raises(CharterError) as caught:
                found.of(given)
            assert str(caught.value) == f"{section}.parameters: {known}; missing: {', '.join(missing)}"


def test_the_list_of_rules(acme: Installed) -> None:
    """As text and as JSON: names, versions, parameters, where they come from, and what a charter names them by."""
    done = fedpact("rules")
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "fedavg 1 (fedpact 0.1.0)",
        "acme.mean 1 (acme-rules 1.2)",
        "    The plain mean times a factor.",
        "    factor  what the mean is multiplied with, a decimal below 1",
        "before: norm_clip 1 (fedpact 0.1.0)",
        "    bound  how far an update may be from the base model, a decimal, or median",
        "optimiser: fedadam 1 (fedpact 0.1.0)",
        f'    code = "{acme.code}"',
    ):
        assert line in done.stdout.splitlines()
    said = json.loads(fedpact("rules", "--json").stdout)
    assert [each["name"] for each in said["rules"]] == [*RULES, "acme.mean"]
    assert [each["name"] for each in said["before"]] == [*BEFORE]
    assert [each["name"] for each in said["optimisers"]] == [*OPTIMISERS]
    assert {each["kind"] for each in said["optimisers"]} == {"optimiser"}
    assert list(said["optimisers"][0]["parameters"]) == ["learning_rate", "momentum"]
    assert said["rules"][-1] == {
        "kind": "rule",
        "name": "acme.mean",
        "version": 1,
        "code": acme.code,
        "summary": "The plain mean times a factor.",
        "parameters": {"factor": "what the mean is multiplied with, a decimal below 1"},
        "origin": "acme-rules 1.2",
        "file": str(acme.file),
    }
    assert said["unusable"] == []


def test_a_list_goes_on_past_what_is_broken(acme: Installed) -> None:
    """A package whose code does not work is named at the end."""
    acme.file.write_text("raise RuntimeError('two\\nlines')")
    done = fedpact("rules")
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"- rule acme.mean: {acme.file}: cannot be loaded: RuntimeError: two lines")
    assert json.loads(fedpact("rules", "--json").stdout)["unusable"][0]["name"] == "acme.mean"


# ------------------------------------------------------------------------------------------------- a whole federation


CHARTER = """\
format = "fedpact-charter/1"
name = "diabetes by a rule of our own"
score = "r2"
[model]
coef0 = { dtype = "F32", shape = [10, 1] }
intercept0 = { dtype = "F32", shape = [1] }
[trainer]
name = "linear_regression"
epochs = 1
batch_size = 16
learning_rate = "0.1"
seed = 0
[rule]
name = "acme.mean"
version = 1
code = "CODE"
parameters = { factor = "0.875" }
[rounds]
quorum = 2
submission_seconds = 600
publication_seconds = 600
[limits]
max_samples = 1000
min_score = "-100"
[stop]
rounds = 2
"""


def test_a_federation_by_a_rule_of_our_own(acme: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is simulated and reproduced with the package; without it, or with other code, it cannot be checked."""
    charter, run = tmp_path / "charter.toml", tmp_path / "run"
    charter.write_text(CHARTER.replace("CODE", acme.code))
    simulate = ("simulate", "diabetes", "--silos", "3", "--threads", "1", "--charter", charter)
    done = fedpact(*simulate, "--workdir", run)
    assert done.returncode == 0, done.stderr
    done = fedpact("audit", run)
    assert "audit: ok: 2 of 2 models reproduced bit for bit" in done.stdout

    expected = acme.code
    acme.file.write_text(MEAN.replace("total / len(updates)", "total / (len(updates) + 1)"))
    said = f"rule acme.mean: code: expected {expected}, found {acme.code}"
    assert_unchecked(run, said)
    done = fedpact(*simulate, "--workdir", tmp_path / "other")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
    assert not (tmp_path / "other").exists()

    monkeypatch.undo()
    assert_unchecked(run, f"rule acme.mean: expected an installed package that offers it, with code {expected}")


def assert_unchecked(run: Path, says: str) -> None:
    """An audit that names what is missing, and finds nothing that differs."""
    done = fedpact("audit", run, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["verdict"], said["findings"]) == (2, "unchecked", [])
    assert [line.startswith(f"round {number}: {says}") for number, line in enumerate(said["unchecked"], 1)] == [
        True
    ] * 2


def test_a_command_line_may_name_it(acme: Installed, tmp_path: Path) -> None:
    """`--rule` takes the installed version and code into the charter."""
    options = ("--silos", "3", "--rounds", "1", "--ledger", "memory", "--rule", "acme.mean", "--param", "factor=0.5")
    done = fedpact("simulate", "diabetes", *options, "--workdir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert acme.code.encode() in b"".join(path.read_bytes() for path in (tmp_path / "run" / "store").rglob("baf*"))


# --------------------------------------------------------------------------------------------------------- the tutorial


def test_the_tutorial_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rule, its package and its section of the charter make a federation that an audit reproduces."""
    text = (Path(__file__).parent.parent / "docs/how-to/your-own-rule.md").read_text("utf-8")
    source = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    package, section = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    (entry,) = package["project"]["entry-points"]["fedpact.rules"].items()
    acme = Installed(tmp_path / "site", entry=" = ".join(entry))
    module, _ = entry[1].split(":")
    folder, name = module.split(".")
    (acme.site / folder).mkdir()
    (acme.site / folder / f"{name}.py").write_text(source)
    acme.find(monkeypatch)
    rule = make(section["rule"]["name"], section["rule"]["version"], {}, section["rule"]["code"])
    updates = [np.array(values, np.float32) for values in ([1, -0.0, 3e38], [2, 0.0, 3e38], [9, -0.0, 3e38])]
    assert combine(rule, updates, [1, 2, 3]).tobytes() == np.array([5, 0, 3e38], np.float32).tobytes()
    assert combine(rule, [np.array([value], np.int8) for value in (-128, 0, 127)], [1, 2, 3]) == 0
    charter = tmp_path / "charter.toml"
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in section["rule"].items())
    charter.write_text(re.sub(r"\[rule\].*?(?=\[rounds\])", f"[rule]\n{lines}\n", CHARTER, flags=re.DOTALL))
    options = (
        "--silos",
        "2",
        "--rounds",
        "1",
        "--charter",
        charter,
        "--ledger",
        "memory",
        "--workdir",
        tmp_path / "run",
    )
    done = fedpact("simulate", "diabetes", *options)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 models reproduced bit for bit" in done.stdout
