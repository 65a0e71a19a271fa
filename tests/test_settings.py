"""Settings: who is believed first, what is refused and how, and what is never shown."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import InputError
from fedpact.settings import SETTINGS, Settings, find_file, flag, load, shown, shown_url, variable
from runs import fedpact

ADDRESS = "0x" + "ab" * 20
MIXED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # From EIP-55.
SECRET_URL = "https://user:hunter2@node.example:8545/v3/hunter2?key=hunter2"
GIVEN: dict[str, tuple[str, Any]] = {
    "rpc": ("http://a:1,https://b", ("http://a:1", "https://b")),
    "contract": (MIXED, MIXED.lower()),
    "chain_id": ("31337", 31337),
    "first_block": ("12", 12),
    "confirmations": ("finalized", "finalized"),
    "store": ("here,gateway+http://b:1/", ("here", "gateway+http://b:1/")),
    "write": ("all", "all"),
    "key_file": ("owner.json", Path("owner.json")),
    "password_file": ("word", Path("word")),
    "state": ("kept", Path("kept")),
    "max_fee": ("0.000000001", 1),
    "trainer": ("acme.training:make", "acme.training:make"),
    "trainer_config": ("trainer.toml", Path("trainer.toml")),
    "charter": ("charter.toml", "charter.toml"),
    "threads": ("3", 3),
    "poll": ("2.5", 2.5),
    "verify": ("0.25", Decimal("0.25")),
    "metrics": ("[::1]:9100", ("::1", 9100)),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
    "head": ("0x" + "5f" * 32, bytes.fromhex("5f" * 32)),
}


def _file(directory: Path, text: str) -> Path:
    path = directory / "fedpact.toml"
    path.write_text(text, "utf-8")
    return path


def _refusal(flags: dict[str, object] | None = None, file: Path | None = None, **environment: str) -> str:
    with pytest.raises(InputError) as raised:
        load(flags or {}, environment, file)
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 500
    assert "hunter2" not in line
    return line


def test_nothing_given_is_the_defaults() -> None:
    """Every setting has one, and says so."""
    settings = load({}, {}, None)
    assert set(settings.origin.values()) == {"default"}
    assert {name: getattr(settings, name) for name in SETTINGS} == {n: each.default for n, each in SETTINGS.items()}
    assert (settings.store, settings.state, settings.confirmations) == (("store",), Path("state"), None)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_is_the_same_wherever_it_comes_from(name: str, tmp_path: Path) -> None:
    """As a flag and as a variable; in the file too, where paths are relative to it."""
    text, value = GIVEN[name]
    by_flag, by_variable = load({name: text}, {}, None), load({}, {variable(name): text}, None)
    assert getattr(by_flag, name) == getattr(by_variable, name) == value
    assert (by_flag.origin[name], by_variable.origin[name]) == (f"flag {flag(name)}", f"variable {variable(name)}")
    written: object = text.split(",") if isinstance(value, tuple) and "," in text else text
    if isinstance(value, int) and name != "max_fee":
        written = value
    file = _file(tmp_path, f"{name} = {json.dumps(written)}\n")
    by_file = load({}, {}, file)
    assert by_file.origin[name] == str(file)
    if isinstance(value, Path) or name == "charter":
        assert Path(getattr(by_file, name)) == tmp_path / value
    elif name == "store":
        assert by_file.store == (str(tmp_path / "here"), "gateway+http://b:1/")
    else:
        assert getattr(by_file, name) == value


def test_flags_come_before_variables_before_the_file_before_defaults(tmp_path: Path) -> None:
    """For each setting by itself."""
    file = _file(tmp_path, "threads = 1\nfirst_block = 1\nchain_id = 1\n")
    settings = load({"threads": "3", "rpc": []}, {"FEDPACT_THREADS": "2", "FEDPACT_FIRST_BLOCK": "2"}, file)
    assert (settings.threads, settings.first_block, settings.chain_id, settings.confirmations) == (3, 2, 1, None)
    origins = [settings.origin[name] for name in ("threads", "first_block", "chain_id", "rpc")]
    assert origins == ["flag --threads", "variable FEDPACT_FIRST_BLOCK", str(file), "default"]


def test_an_empty_variable_was_not_given() -> None:
    """As container files leave them."""
    assert load({}, {"FEDPACT_RPC": "", "FEDPACT_CONFIG": ""}, None).rpc == ()


def test_a_repeated_flag_and_commas_give_several() -> None:
    """In their order."""
    assert load({"rpc": ["http://a,http://b", "http://c"]}, {}, None).rpc == ("http://a", "http://b", "http://c")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("chain_id", "0", "expected a whole number from 1 to "),
        ("threads", "many", "expected a whole number from 1 to 1024, found 'many'"),
        ("confirmations", "latest", "expected a whole number from 0 to 1000000, safe or finalized, found 'latest'"),
        ("max_fee", "1e9", "expected gwei as decimal text above 0"),
        ("max_fee", "0.0", "expected gwei as decimal text above 0"),
        ("contract", ADDRESS[:-1], "expected an address, 0x and 40 hexadecimal digits, found"),
        ("contract", MIXED[:-1] + "D", "expected an address whose capitals are its checksum"),
        ("rpc", SECRET_URL.replace("https", "ftp"), "expected http://… or https://…, URLs of nodes, found something"),
        ("rpc", "http://node:notaport/hunter2", "expected http://… or https://…, URLs of nodes"),
        ("rpc", "http://a,,http://b", "expected http://… or https://…, URLs of nodes"),
        ("store", ",", "expected directories or URLs of stores"),
        ("trainer", "acme.training", "expected module:factory, found 'acme.training'"),
        ("metrics", "65536", "expected a port, or host:port, found '65536'"),
        ("log_level", "DEBUG", "expected debug, info, warning or error, found 'DEBUG'"),
        ("log_format", "xml", "expected text or json"),
        ("head", "0x5f", "expected 0x and 64 hexadecimal digits"),
        ("key_file", "a\0b", "expected a path"),
    ],
)
def test_what_cannot_be_used_is_named_with_where_it_came_from(name: str, text: str, said: str) -> None:
    """What was expected, what was found; never what may hold a secret."""
    assert _refusal({name: text}).startswith(f"{name}: {said}")
    assert _refusal({name: text}).endswith(f"(flag {flag(name)})")
    if "\0" not in text:
        assert _refusal(None, None, **{variable(name): text}).endswith(f"(variable {variable(name)})")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threads = '4'", "threads: expected a whole number from 1 to 1024, found '4'"),
        ("threads = true", "threads: expected a whole number"),
        ("threads = 1.5", "threads: expected a whole number"),
        ("rpc = 7", "rpc: expected http://… or https://…, URLs of nodes"),
        ("rpc = []", "rpc: expected http://… or https://…, URLs of nodes"),
        ("rpc = [7]", "rpc: expected http://… or https://…, URLs of nodes"),
        ("max_fee = 0.5", "max_fee: expected gwei as decimal text"),
        ("key_file = 7", "key_file: expected a path, found 7"),
        ("metrics = true", "metrics: expected a port"),
        ("head = 7", "head: expected 0x and 64"),
        ("log_level = []", "log_level: expected debug, info"),
        ("contract = 7", "contract: expected an address or the record"),
        ("charter = 7", "charter: expected the CID of a charter or the path of a file"),
    ],
)
def test_a_value_of_another_type_in_the_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """TOML has numbers and lists, so text is not taken for them."""
    line = _refusal(None, _file(tmp_path, text))
    assert line.startswith(said)
    assert line.endswith("fedpact.toml)")


def test_an_unknown_name_in_the_file_has_its_line_and_a_suggestion(tmp_path: Path) -> None:
    """So has one that is like none, but the suggestion."""
    line = _refusal(None, _file(tmp_path, "# ours\nthreads = 1\nkeyfile = 'x'\n"))
    assert line == f"{tmp_path}/fedpact.toml, line 3: 'keyfile': unknown; did you mean key_file?"
    assert _refusal(None, _file(tmp_path, "zzz = 1")).endswith("fedpact.toml, line 1: 'zzz': unknown")


@pytest.mark.parametrize("content", [b"threads = ", b"\xff\xfe", b"x = 1\n" * 300_000, b"a = " + b"[" * 100_000, None])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    """No TOML, no text, too much, too deep, or not there."""
    path = tmp_path / "other.toml"
    if content is not None:
        path.write_bytes(content)
    assert _refusal(None, path).startswith(f"{path}: ")


def test_an_unknown_variable_is_a_warning() -> None:
    """Another program's may begin like ours."""
    settings = load({}, {"FEDPACT_THREAD": "1", "FEDPACT_KEY": "hunter2", "OTHER": "1"}, None)
    assert settings.warnings == ("variable FEDPACT_THREAD: unknown, and passed over; did you mean FEDPACT_THREADS?",)


def test_what_a_command_needs_it_says() -> None:
    """All three places are named; what is there is returned."""
    settings = load({"chain_id": "1"}, {}, None)
    with pytest.raises(InputError) as raised:
        settings.need("contract")
    assert str(raised.value) == (
        "contract: expected --contract, the variable FEDPACT_CONTRACT or contract in fedpact.toml, found none; "
        "fedpact deploy founds one, and writes a record that names it"
    )
    with pytest.raises(InputError, match="rpc: expected --rpc"):
        settings.need("rpc")
    assert settings.need("chain_id") == 1


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag's, then the variable's, then the one in the working directory, then none."""
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    _file(tmp_path, "")
    assert find_file(None, {}) == Path("fedpact.toml")
    assert find_file(None, {"FEDPACT_CONFIG": "b"}) == Path("b")
    assert find_file(Path("a"), {"FEDPACT_CONFIG": "b"}) == Path("a")


# ------------------------------------------------------------------------------------------- the record of a deployment


def _record(directory: Path, **changes: Any) -> Path:
    from fedpact.artifacts import canonical
    from fedpact.deployment.record import Deployed

    values: dict[str, Any] = {
        "chain_id": 31337,
        "deployer": ADDRESS,
        "owner": ADDRESS,
        "charter": "bafkrei" + "a" * 52,
        "genesis": "bafkrei" + "a" * 52,
        "compiler": "0.8.37",
        "code_sha256": "0" * 64,
        "transaction": "0x" + "0" * 64,
        "contract": ADDRESS,
        "block": 7,
        "gas": 1,
        "gas_price": 1,
        "head": "0x" + "0" * 64,
    }
    path = directory / "federation.deployment.json"
    path.write_bytes(canonical.encode(Deployed(**values | changes).model_dump()) + b"\n")
    return path


def test_a_record_stands_for_contract_chain_and_first_block(tmp_path: Path) -> None:
    """What was said by itself stays as it was said."""
    path = _record(tmp_path)
    settings = load({"contract": str(path)}, {}, None)
    assert (settings.contract, settings.chain_id, settings.first_block) == (ADDRESS, 31337, 7)
    assert settings.origin["first_block"] == str(path)
    assert load({"contract": str(path), "first_block": "3"}, {}, None).first_block == 3
    by_file = load({}, {}, _file(tmp_path, 'contract = "federation.deployment.json"'))
    assert by_file.contract == ADDRESS


def test_a_record_that_is_not_there_yet_is_a_problem_of_those_who_need_it(tmp_path: Path) -> None:
    """The file that names it is written before a contract is deployed."""
    settings = load({"contract": str(tmp_path / "none.json")}, {}, None)
    assert (settings.contract, settings.chain_id) == (None, None)
    with pytest.raises(InputError) as raised:
        settings.need("contract")
    assert str(raised.value) == (
        "contract: expected an address or the record of a deployment, found no file at "
        f"{tmp_path}/none.json (flag --contract)"
    )
    done = _show("--contract", "none.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "contract        -  (contract: expected an address or the record of a deployment, found no fi" in done.stdout


def test_a_record_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Of another chain, none, or damaged."""
    path = _record(tmp_path)
    assert _refusal({"contract": str(path), "chain_id": "1"}).startswith(f"chain_id: expected 31337, as {path} says")
    path.write_bytes(b"{}")
    assert _refusal({"contract": str(path)}).startswith(f"record {path}: ")


# -------------------------------------------------------------------------------------------------------- what is shown


def test_a_url_shows_neither_path_nor_password() -> None:
    """Only whom it asks."""
    assert shown_url(SECRET_URL) == "https://node.example:8545"
    assert shown_url("http://[::1]:8545/x") == "http://[::1]:8545"
    assert shown_url("http://[") == "a URL"
    assert shown("store", ("a/b", "gateway+https://u:hunter2@c/d?e")) == ["a/b", "gateway+https://c"]


def _show(*arguments: str, cwd: Path, **environment: str) -> Any:
    return fedpact("config", "show", *arguments, cwd=cwd, variables=environment)


def test_config_show_tells_each_value_and_its_origin(tmp_path: Path) -> None:
    """For people and for programs, without secrets."""
    _file(tmp_path, f"threads = 3\nrpc = {json.dumps(SECRET_URL)}\n")
    environment = {"FEDPACT_KEY": "hunter2", "FEDPACT_MAX_FEE": "2.5", "FEDPACT_TREADS": "1"}
    done = _show("--chain-id", "5", cwd=tmp_path, **environment)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["threads", "3", "(fedpact.toml)"] in lines
    assert ["rpc", "https://node.example:8545", "(fedpact.toml)"] in lines
    assert ["max_fee", "2.5", "gwei", "(variable", "FEDPACT_MAX_FEE)"] in lines
    assert ["chain_id", "5", "(flag", "--chain-id)"] in lines
    assert ["contract", "-", "(default)"] in lines
    assert "variable FEDPACT_KEY is set, and not shown" in done.stdout
    warning = "fedpact: warning: variable FEDPACT_TREADS: unknown, and passed over; did you mean FEDPACT_THREADS?\n"
    assert done.stderr == warning
    answer = json.loads(_show("--chain-id", "5", "--json", cwd=tmp_path, **environment).stdout)
    assert set(answer["settings"]) == set(SETTINGS)
    assert answer["settings"]["rpc"] == {"value": ["https://node.example:8545"], "origin": "fedpact.toml"}
    assert answer["secrets"] == ["FEDPACT_KEY"]
    assert "hunter2" not in done.stdout + json.dumps(answer)


def test_config_show_ends_with_one_line(tmp_path: Path) -> None:
    """And the code of an input that cannot be used."""
    done = _show("--threads", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fedpact: error: threads: expected a whole number from 1 to 1024, found '0' (flag --threads)\n"
    )


def test_settings_are_facts() -> None:
    """Nobody changes them later."""
    settings: Settings = load({}, {}, None)
    with pytest.raises(AttributeError):
        settings.threads = 2  # type: ignore[misc]  # That is the test.
    with pytest.raises(TypeError):
        settings.origin["threads"] = "me"  # type: ignore[index]  # That is the test.
