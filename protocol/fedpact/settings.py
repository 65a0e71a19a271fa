"""What a command is told, and by whom: flags, then `FEDPACT_*` variables, then `fedpact.toml`, then defaults.

`SETTINGS` is the one table of all settings. Keys and passwords are no settings: `fedpact.keys` reads them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from fedpact import setting_kinds as kinds
from fedpact.errors import InputError
from fedpact.suggestion import did_you_mean, unreadable
from fedpact.toml_lines import key_lines, line_of, said_of

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
        return replace(settings, rpc=kinds.rpc(url, Path(), True), origin={**settings.origin, "rpc": "the argument"})
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


def _all() -> tuple[Setting, ...]:
    return (
        Setting("rpc", "URL", "A node of the chain; several are asked in turn.", kinds.rpc, (), url=True),
        Setting("contract", "ADDRESS", "The federation's contract, or the record of its deployment.", kinds.contract),
        Setting("chain_id", "N", "The chain that the nodes must be of.", kinds.number(1, 2**256 - 1)),
        Setting(
            "first_block", "N", "The block of the contract; nothing before it is read.", kinds.number(0, 2**63 - 1), 0
        ),
        Setting(
            "confirmations",
            "N",
            "Blocks on top of an entry before it counts, or safe, or finalized; else the charter's.",
            kinds.confirmations,
        ),
        Setting(
            "store", "PLACE", "A directory or URL of a store; the first is written to.", kinds.store, ("store",), True
        ),
        Setting(
            "write",
            "WHICH",
            "Stores to write to: first, or all but gateways.",
            kinds.word("first", "all"),
            "first",
        ),
        Setting("key_file", "FILE", "The key: a keystore, or 64 hexadecimal digits. Else FEDPACT_KEY.", kinds.path),
        Setting("password_file", "FILE", "The keystore's password. Else FEDPACT_PASSWORD, else asked for.", kinds.path),
        Setting("state", "DIR", "Journal, lock and cache.", kinds.path, Path("state")),
        Setting("max_fee", "GWEI", "What a unit of gas may cost at most.", kinds.gwei),
        Setting(
            "trainer",
            "MODULE:FACTORY",
            "Makes the silo's trainer.",
            kinds.text("module:factory", r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"),
        ),
        Setting("trainer_config", "FILE", "Handed to the trainer's factory.", kinds.path),
        Setting("charter", "CID", "The charter that you accepted: its CID, or its file.", kinds.charter),
        Setting(
            "threads",
            "T",
            "Blocks of a model to work on at once.",
            kinds.number(1, 1024),
            os.cpu_count() or 1,
            default_words=PROCESSORS,
        ),
        Setting("poll", "SECONDS", "Between two looks at a ledger that has nothing new.", kinds.seconds, 0.5),
        Setting(
            "verify",
            "SHARE",
            "Derive this share of a model's blocks again before training on it, at least one; 1 for all, or off.",
            kinds.share,
            Decimal("0.05"),
        ),
        Setting(
            "metrics", "PORT", "Offer figures for Prometheus here; host:port for other than loopback.", kinds.metrics
        ),
        Setting("log_format", "KIND", "text or json.", kinds.word("text", "json"), "text"),
        Setting(
            "log_level",
            "LEVEL",
            "debug, info, warning or error.",
            kinds.word("debug", "info", "warning", "error"),
            "info",
        ),
        Setting("head", "H", "A head that you trust; the record must agree with it.", kinds.head),
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
            found = "something else" if isinstance(error, kinds.Hidden) or setting.url else _found(given)
            near = did_you_mean(str(given), error.known) if isinstance(error, kinds.NoneOf) else ""
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
        raise InputError(f"{file}: {said_of(error)}") from None
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
            return f"{Decimal(value) / kinds.GWEI:f} gwei"
        return value
    if name == "metrics":
        host, port = value
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(value, tuple):
        return [shown_url(each) if SETTINGS[name].url and "://" in each else each for each in value]
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
