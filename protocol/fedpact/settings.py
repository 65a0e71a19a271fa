"""What a command is told, and by whom: flags, then `FEDPACT_*` variables, then `fedpact.toml`, then defaults.

`SETTINGS` is the one table of all settings. Keys and passwords are no settings: `fedpact.keys` reads them.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from fedpact.errors import InputError, LedgerError
from fedpact.places import below
from fedpact.suggestion import did_you_mean, unreadable
from fedpact.toml_lines import key_lines, line_of

if TYPE_CHECKING:
    from fedpact.ledger.facts import Address, Hash

FILE = "fedpact.toml"
"""The file that is looked for in the working directory."""
CONFIG = "FEDPACT_CONFIG"
"""The variable that names another one."""
PREFIX = "FEDPACT_"
OTHER_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        CONFIG: f"the file of settings, in place of {FILE} in the working directory",
        "FEDPACT_KEY": "the key itself, 64 hexadecimal digits; for trying things, as others easily read variables",
        "FEDPACT_PASSWORD": "the password of the keystore; for trying things, too",
        "FEDPACT_ANVIL": "where anvil is, for `fedpact devnet`, where it is not on the PATH",
    }
)
"""Variables that are ours and no settings, and what each is."""
DEFAULT = "default"
PROCESSORS = "as many as processors"
_MAX_FILE = 1 << 20
_MADE_BY = {
    "rpc": "; fedpact devnet runs a chain to try things on",
    "contract": "; fedpact deploy founds one, and writes a record that names it",
    "charter": "; fedpact federation show names the one in force",
    "trainer": "; fedpact new makes a project that has one",
}
"""How somebody comes by what a setting has to say."""
_GWEI = 10**9
_CID = re.compile(r"b[a-z2-7]{58}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting's value.

    Attributes:
        rpc: URLs of nodes of the chain, in the order in which they are asked: one that fails, or whose head is behind
            another's, is passed over for the next. A URL may hold a secret, so only its scheme, host and port are ever
            shown.
        contract: the federation's contract: its address, or the file that `fedpact deploy` wrote
            (`NAME.deployment.json`), which says chain_id and first_block as well.
        chain_id: the number of the chain that the nodes must be of; a node of another chain is never asked again. Where
            nobody says, it is the chain of the first node that answers.
        first_block: the block of the contract's deployment: no entry is in an earlier one. From 0 on, reading a public
            chain takes long.
        confirmations: blocks on top of an entry's own before it counts, or `safe` or `finalized` for what the node
            calls so. Where nobody says, services, `store gc` and `store check` follow the charter's
            `ledger.confirmations`; all else counts every entry.
        store: where blocks are: directories or URLs, asked in their order. `file:DIRECTORY`, `kubo+http://host:port`
            (an IPFS node), `gateway+https://…` (read only), `member+https://…` (read only, requests are signed with the
            key).
        write: what is written to: the first store alone, or all but those that are read only.
        key_file: the file with the key of the account: a keystore as Ethereum wallets write it, or the key in 64
            hexadecimal digits. Without it the variable FEDPACT_KEY holds the key.
        password_file: a file with the password of the keystore in one line. Without it the variable FEDPACT_PASSWORD
            holds the password, or it is asked for.
        state: the directory of a service for its journal, its lock and what it read of the ledger. What is lost with it
            is found again on the ledger; a silo trains the open round once more.
        max_fee: the most that a unit of gas may cost, in gwei (here in wei), base fee and tip together. Where nobody
            says, 200 gwei, of which 30 as a tip. While the chain asks for more, nothing is sent.
        trainer: what makes the silo's trainer, `module:factory`: the module is installed, or lies in the working
            directory.
        trainer_config: a file of the silo's own that is handed to the trainer's factory.
        charter: the charter that the silo's owner accepted: its CID, or its file. Under another one the silo does
            nothing.
        threads: blocks of a model to work on at once. It changes no result.
        poll: seconds between two looks at a ledger that has nothing new.
        verify: the share of a published model's blocks that a silo derives again from the updates before it trains on
            it: 1 for all of them, `off` for none. What differs it refuses, and disputes on the ledger.
        metrics: host and port where a service offers its figures to Prometheus at `/metrics`, and at `/health` whether
            its last step went well; a port alone is one of loopback. Without it they are not offered.
        log_format: whether a service logs lines of text, or a JSON object on each line.
        log_level: the least important messages that a service logs.
        head: a head that you trust, from somebody you believe or a block explorer. The record has to end with it. Of
            a record in a directory only the option counts.
        origin: by name, where each value came from.
        problems: by name, why a setting has no value although one was given; said where it is needed.
        warnings: lines that a person should see although nothing failed.
    """

    rpc: tuple[str, ...]
    contract: Address | None
    chain_id: int | None
    first_block: int
    confirmations: int | Literal["safe", "finalized"] | None
    store: tuple[str, ...]
    write: Literal["first", "all"]
    key_file: Path | None
    password_file: Path | None
    state: Path
    max_fee: int | None
    trainer: str | None
    trainer_config: Path | None
    charter: str | None
    threads: int
    poll: float
    verify: Decimal | None
    metrics: tuple[str, int] | None
    log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    head: Hash | None
    origin: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def need(self, name: str) -> Any:
        """The value of a setting that has to have one.

        Raises:
            InputError: it has none.
        """
        if name in self.problems:
            raise InputError(self.problems[name])
        value = getattr(self, name)
        if value is None or value == ():
            told = f"expected {flag(name)}, the variable {variable(name)} or {name} in {FILE}, found none"
            raise InputError(f"{name}: {told}{_MADE_BY.get(name, '')}")
        return value


def key_file(settings: Settings, environment: Mapping[str, str]) -> Path | None:
    """Where the key is; none where the variable `FEDPACT_KEY` holds it. A variable comes before the file."""
    told_here = settings.origin["key_file"].startswith(("flag", "variable"))
    return None if environment.get("FEDPACT_KEY") and not told_here else settings.key_file


def with_rpc(settings: Settings, url: str) -> Settings:
    """The same settings with another node.

    Raises:
        InputError: it is no URL of one.
    """
    try:
        return replace(settings, rpc=_rpc(url, Path(), True), origin={**settings.origin, "rpc": "the argument"})
    except ValueError as error:
        raise InputError(f"URL: expected {error}, found something else") from None


def flag(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The variable of a setting."""
    return PREFIX + name.upper()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        read: makes a value of what was given: text from a flag or variable, whatever TOML has from the file; paths are
            relative to the directory that it is given. Raises ValueError with what it expected.
        url: whether it may be a URL, of which only scheme, host and port are shown.
        default_words: the default in words, where it depends on the machine.
    """

    name: str
    metavar: str
    help: str
    read: Callable[[object, Path, bool], Any]
    default: Any = None
    url: bool = False
    default_words: str = ""


# ------------------------------------------------------------------------------------------------------------- kinds
# Each takes what was given, the directory that paths are relative to, and whether it is text from a flag or variable.


def _text(expected: str, pattern: str) -> Callable[[object, Path, bool], str]:
    compiled = re.compile(pattern)

    def read(given: object, directory: Path, textual: bool) -> str:
        if not isinstance(given, str) or not compiled.fullmatch(given):
            raise ValueError(expected)
        return given

    return read


def _word(*known: str) -> Callable[[object, Path, bool], str]:
    def read(given: object, directory: Path, textual: bool) -> str:
        if not isinstance(given, str) or given not in known:
            raise _NoneOf(" or ".join(filter(None, (", ".join(known[:-1]), known[-1]))), known)
        return given

    return read


def _number(least: int, most: int) -> Callable[[object, Path, bool], int]:
    def read(given: object, directory: Path, textual: bool) -> int:
        if textual and isinstance(given, str) and re.fullmatch(r"[0-9]{1,30}", given):
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            top = most if most < 1 << 60 else f"2^{(most + 1).bit_length() - 1} - 1"
            raise ValueError(f"a whole number from {least} to {top}")
        return given

    return read


def _path(given: object, directory: Path, textual: bool) -> Path:
    if not isinstance(given, str | Path) or not str(given) or "\0" in str(given):
        raise ValueError("a path")
    return directory / given


def _several(given: object, textual: bool, expected: str) -> list[str]:
    """One text, several with commas between them where no list can be given, or a list of texts."""
    if isinstance(given, str):
        given = given.split(",") if textual else [given]
    elif isinstance(given, list | tuple) and textual:
        given = [piece for each in given for piece in str(each).split(",")]
    if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str) for each in given):
        raise ValueError(expected)
    return [each.strip() for each in given]


def _rpc(given: object, directory: Path, textual: bool) -> tuple[str, ...]:
    expected = "http://… or https://…, URLs of nodes"
    urls = _several(given, textual, expected)
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise _Hidden(expected)
    return tuple(urls)


def _store(given: object, directory: Path, textual: bool) -> tuple[str, ...]:
    expected = "directories or URLs of stores"
    places = _several(given, textual, expected)
    if not all(places) or any("\0" in each for each in places):
        raise _Hidden(expected)
    try:
        return tuple(below(directory, each) for each in places)
    except InputError:
        raise _Hidden(expected) from None


def _confirmations(given: object, directory: Path, textual: bool) -> int | str:
    if given in ("safe", "finalized"):
        return str(given)
    try:
        return _number(0, 10**6)(given, directory, textual)
    except ValueError as error:
        raise _NoneOf(f"{error}, safe or finalized", ("safe", "finalized")) from None


def _gwei(given: object, directory: Path, textual: bool) -> int:
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) or not Decimal(text):
        raise ValueError("gwei as decimal text above 0 with at most 9 decimals, like 30 or 0.5")
    return int(Decimal(text) * _GWEI)


def _seconds(given: object, directory: Path, textual: bool) -> float:
    text = str(given)
    decimal = re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text)
    if isinstance(given, bool) or decimal is None or not 0.01 <= float(text) <= 3600:
        raise ValueError("seconds, from 0.01 to 3600")
    return float(text)


def _share(given: object, directory: Path, textual: bool) -> Decimal | None:
    text = str(given)
    if text == "off":
        return None
    if isinstance(given, bool) or not re.fullmatch(r"1|1\.0{1,18}|0?\.[0-9]{1,18}", text) or not Decimal(text):
        raise ValueError("off, or a decimal number above 0, at most 1")
    return Decimal(text)


def _charter(given: object, directory: Path, textual: bool) -> str:
    if isinstance(given, str) and _CID.fullmatch(given):
        return given
    try:
        return str(_path(given, directory, textual))
    except ValueError:
        raise ValueError("the CID of a charter or the path of a file") from None


def _metrics(given: object, directory: Path, textual: bool) -> tuple[str, int]:
    found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):)?([0-9]{1,5})", str(given))
    if isinstance(given, bool) or not isinstance(given, str | int) or found is None or int(found[2]) > 0xFFFF:
        raise ValueError("a port, or host:port")
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])


def _head(given: object, directory: Path, textual: bool) -> bytes:
    if not isinstance(given, str) or not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", given):
        raise ValueError("0x and 64 hexadecimal digits")
    return bytes.fromhex(given.removeprefix("0x"))


def _contract(given: object, directory: Path, textual: bool) -> str | Path:
    """An address in lower case, or the path of a record of a deployment."""
    if isinstance(given, str) and given.startswith("0x"):
        from fedpact.ledger.facts import typed_address

        try:
            return typed_address(given)
        except LedgerError as error:
            raise ValueError(str(error).removeprefix("expected ").partition(", found")[0]) from None
    try:
        return _path(given, directory, textual)
    except ValueError:
        raise ValueError("an address or the record of a deployment") from None


class _NoneOf(ValueError):
    """What was given is none of the words that are known."""

    def __init__(self, expected: str, known: tuple[str, ...]) -> None:
        super().__init__(expected)
        self.known = known


class _Hidden(ValueError):
    """What was given may hold a secret, and is not shown."""


def _all() -> tuple[Setting, ...]:
    return (
        Setting("rpc", "URL", "A node of the chain; several are asked in turn.", _rpc, (), url=True),
        Setting("contract", "ADDRESS", "The federation's contract, or the record of its deployment.", _contract),
        Setting("chain_id", "N", "The chain that the nodes must be of.", _number(1, 2**256 - 1)),
        Setting("first_block", "N", "The block of the contract; nothing before it is read.", _number(0, 2**63 - 1), 0),
        Setting(
            "confirmations",
            "N",
            "Blocks on top of an entry before it counts, or safe, or finalized; else the charter's.",
            _confirmations,
        ),
        Setting("store", "PLACE", "A directory or URL of a store; the first is written to.", _store, ("store",), True),
        Setting(
            "write",
            "WHICH",
            "Stores to write to: first, or all but gateways.",
            _word("first", "all"),
            "first",
        ),
        Setting("key_file", "FILE", "The key: a keystore, or 64 hexadecimal digits. Else FEDPACT_KEY.", _path),
        Setting("password_file", "FILE", "The keystore's password. Else FEDPACT_PASSWORD, else asked for.", _path),
        Setting("state", "DIR", "Journal, lock and cache.", _path, Path("state")),
        Setting("max_fee", "GWEI", "What a unit of gas may cost at most.", _gwei),
        Setting(
            "trainer",
            "MODULE:FACTORY",
            "Makes the silo's trainer.",
            _text("module:factory", r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"),
        ),
        Setting("trainer_config", "FILE", "Handed to the trainer's factory.", _path),
        Setting("charter", "CID", "The charter that you accepted: its CID, or its file.", _charter),
        Setting(
            "threads",
            "T",
            "Blocks of a model to work on at once.",
            _number(1, 1024),
            os.cpu_count() or 1,
            default_words=PROCESSORS,
        ),
        Setting("poll", "SECONDS", "Between two looks at a ledger that has nothing new.", _seconds, 0.5),
        Setting(
            "verify",
            "SHARE",
            "Derive this share of a model's blocks again before training on it, at least one; 1 for all, or off.",
            _share,
            Decimal("0.05"),
        ),
        Setting("metrics", "PORT", "Offer figures for Prometheus here; host:port for other than loopback.", _metrics),
        Setting("log_format", "KIND", "text or json.", _word("text", "json"), "text"),
        Setting(
            "log_level",
            "LEVEL",
            "debug, info, warning or error.",
            _word("debug", "info", "warning", "error"),
            "info",
        ),
        Setting("head", "H", "A head that you trust; the record must agree with it.", _head),
    )


SETTINGS: Mapping[str, Setting] = MappingProxyType({each.name: each for each in _all()})
"""All settings by name."""


# ------------------------------------------------------------------------------------------------------------ reading


def find_file(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file to read: the one that was named, or `fedpact.toml` in the working directory where there is one."""
    if given is not None:
        return given
    if environment.get(CONFIG):
        return Path(environment[CONFIG])
    return Path(FILE) if Path(FILE).exists() else None


def load(flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None) -> Settings:
    """The settings.

    Args:
        flags: by name; what is none or empty was not given. Names that are no settings are passed over.
        environment: the process's variables; an empty one was not given.
        file: the configuration file; none where there is none.

    Raises:
        InputError: a value cannot be used, or the file cannot be read, or names a setting that there is not. A record
            of a deployment that is not there yet is one of the settings' `problems`.
    """
    in_file = {} if file is None else _read(file)
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for setting in SETTINGS.values():
        name = setting.name
        given: object = flags.get(name)
        textual, directory = True, Path()
        if given is not None and given != []:
            origin[name] = f"flag {flag(name)}"
        elif environment.get(variable(name)):
            given, origin[name] = environment[variable(name)], f"variable {variable(name)}"
        elif file is not None and name in in_file:
            given, origin[name] = in_file[name], str(file)
            textual, directory = False, file.parent
        else:
            values[name], origin[name] = setting.default, DEFAULT
            continue
        try:
            values[name] = setting.read(given, directory, textual)
        except ValueError as error:
            found = "something else" if isinstance(error, _Hidden) or setting.url else _found(given)
            near = did_you_mean(str(given), error.known) if isinstance(error, _NoneOf) else ""
            raise InputError(f"{name}: expected {error}, found {found}{near} ({origin[name]})") from None
    problems: dict[str, str] = {}
    if isinstance(values["contract"], Path):
        _follow_record(values, origin, problems)
    return Settings(
        **values,
        origin=MappingProxyType(origin),
        problems=MappingProxyType(problems),
        warnings=tuple(_unknown_variables(environment)),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise InputError(f"{file}: expected at most {_MAX_FILE} bytes")
        text = data.decode()
        found = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{file}: {unreadable(file, error)}") from None
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that is none.
        raise InputError(f"{file}: {str(error)[:200]}") from None
    for name in found:
        if name not in SETTINGS:
            line = line_of(key_lines(text), (name,))
            raise InputError(f"{file}, line {line}: {name[:80]!r}: unknown{did_you_mean(name, SETTINGS)}")
    return found


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = [*map(variable, SETTINGS), *OTHER_VARIABLES]
    return [
        f"variable {name[:80]}: unknown, and passed over{did_you_mean(name, known)}"
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known
    ]


def _found(given: object) -> str:
    return f"{given[:80]!r}" if isinstance(given, str) else str(given)[:80]


def _follow_record(values: dict[str, Any], origin: dict[str, str], problems: dict[str, str]) -> None:
    """Takes contract, chain and first block from the record of a deployment, once there is one.

    Raises:
        InputError: it cannot be read, or it is of another chain than was said.
    """
    from fedpact.deployment.record import Deployed, RecordFile

    path: Path = values["contract"]
    record = RecordFile(path).read()
    if not isinstance(record, Deployed):
        found = "no file" if record is None else "a deployment under way, which deploy goes on with,"
        expected = "an address or the record of a deployment"
        problems["contract"] = f"contract: expected {expected}, found {found} at {path} ({origin['contract']})"
        values["contract"] = None
        return
    if values["chain_id"] not in (None, record.chain_id):
        raise InputError(
            f"chain_id: expected {record.chain_id}, as {path} says, found {values['chain_id']} ({origin['chain_id']})"
        )
    values["contract"] = record.contract
    for name, value in (("chain_id", record.chain_id), ("first_block", record.block)):
        if origin[name] == DEFAULT:
            values[name], origin[name] = value, str(path)


# ------------------------------------------------------------------------------------------------------------ showing


def shown_url(url: str) -> str:
    """A URL without what may be a secret: scheme, host and port alone."""
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "a URL"
    return f"{parts.scheme}://{host}{port}"


def shown(name: str, value: Any) -> str | int | list[str] | None:
    """A setting's value as it may be shown and as JSON has it."""
    if value is None or isinstance(value, int):
        if name == "max_fee" and value is not None:
            return f"{Decimal(value) / _GWEI:f} gwei"
        return value
    if name == "metrics":
        host, port = value
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(value, tuple):
        return [shown_url(each) if SETTINGS[name].url and "://" in each else each for each in value]
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
