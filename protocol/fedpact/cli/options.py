"""What several commands have in common: options, and how a check that cannot be carried out ends."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.errors import FedpactError, InputError, LedgerError
from fedpact.settings import CONFIG, FILE, PROCESSORS, SETTINGS, Settings, find_file, flag, load, shown

if TYPE_CHECKING:
    from fedpact.ledger.facts import Address, Hash

MOST_AT_ONCE = 1024

Head = Annotated[str | None, typer.Option(metavar="H", help="A head that you trust; the record must end with it.")]
Threads = Annotated[
    int, typer.Option(metavar="T", help="Blocks of a round to work on at once.", show_default=PROCESSORS)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Place = Annotated[
    str | None,
    typer.Argument(
        metavar="[DIR|URL]",
        help="A directory that a simulation left, or a node of the contract's chain; else --rpc names one.",
    ),
]

ALL_PROCESSORS = os.cpu_count() or 1


def directory_in(place: str | None) -> Path | None:
    """The directory that a `Place` names; none where it is a chain."""
    return None if place is None or place.startswith(("http://", "https://")) else Path(place)


def _setting(name: str) -> Any:
    """The flag of a setting: text, so that a flag, a variable and the file are checked in one place."""
    setting = SETTINGS[name]
    default = "" if setting.default in (None, ()) else f" [default: {_in_words(name)}]"
    return typer.Option(flag(name), metavar=setting.metavar, help=setting.help + default)


def _in_words(name: str) -> str:
    if SETTINGS[name].default_words:
        return SETTINGS[name].default_words
    value = shown(name, SETTINGS[name].default)
    return ", ".join(value) if isinstance(value, list) else str(value)


Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help=f"Settings; else {CONFIG}, else {FILE} here.")
]
Rpc = Annotated[list[str] | None, _setting("rpc")]
Contract = Annotated[str | None, _setting("contract")]
ChainId = Annotated[str | None, _setting("chain_id")]
FirstBlock = Annotated[str | None, _setting("first_block")]
Confirmations = Annotated[str | None, _setting("confirmations")]
Store = Annotated[list[str] | None, _setting("store")]
Write = Annotated[str | None, _setting("write")]
KeyFile = Annotated[str | None, _setting("key_file")]
PasswordFile = Annotated[str | None, _setting("password_file")]
State = Annotated[str | None, _setting("state")]
MaxFee = Annotated[str | None, _setting("max_fee")]
Trainer = Annotated[str | None, _setting("trainer")]
TrainerConfig = Annotated[str | None, _setting("trainer_config")]
AcceptedCharter = Annotated[str | None, _setting("charter")]
SettingThreads = Annotated[str | None, _setting("threads")]
Poll = Annotated[str | None, _setting("poll")]
Verify = Annotated[str | None, _setting("verify")]
Metrics = Annotated[str | None, _setting("metrics")]
LogFormat = Annotated[str | None, _setting("log_format")]
LogLevel = Annotated[str | None, _setting("log_level")]
TrustedHead = Annotated[str | None, _setting("head")]

FLAGS: Mapping[str, Any] = {
    "rpc": Rpc,
    "contract": Contract,
    "chain_id": ChainId,
    "first_block": FirstBlock,
    "confirmations": Confirmations,
    "store": Store,
    "write": Write,
    "key_file": KeyFile,
    "password_file": PasswordFile,
    "state": State,
    "max_fee": MaxFee,
    "trainer": Trainer,
    "trainer_config": TrainerConfig,
    "charter": AcceptedCharter,
    "threads": SettingThreads,
    "poll": Poll,
    "verify": Verify,
    "metrics": Metrics,
    "log_format": LogFormat,
    "log_level": LogLevel,
    "head": TrustedHead,
    "config": Config,
}
"""The flags of all settings, and that of the file, by name."""

READING = ("rpc", "contract", "chain_id", "first_block")
"""The settings of whatever reads a ledger."""
STORES = ("store", "rpc", "contract", "chain_id", "key_file", "password_file")
"""The settings of whatever reads stores; those of members take a key, and all but the first are for them."""
WRITING = (*STORES, "write")
"""The settings of whatever writes to stores."""
FEDERATION = (*READING, "confirmations", *STORES)
"""The settings of whatever reads a federation, its ledger and its artifacts."""
SERVICE = (
    "write",
    "key_file",
    "password_file",
    "state",
    "max_fee",
    "threads",
    "poll",
    "metrics",
    "log_format",
    "log_level",
)
"""What a service is told besides."""
SENDING = (*READING, "key_file", "password_file", "max_fee")
"""The settings of whatever sends to one."""


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the flags of settings, behind its own.

    Args:
        names: the settings that it uses, some of them maybe twice. What it gets as its first argument are all of them,
            from wherever they come.
    """

    names = tuple(dict.fromkeys(names))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def filled(**given: Any) -> None:
            flags = {name: given.pop(name) for name in (*names, "config")}
            command(settings_from(flags), **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        added = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=FLAGS[name])
            for name in (*names, "config")
        ]
        # What typer looks at.
        filled.__name__, filled.__doc__, filled.__module__ = command.__name__, command.__doc__, command.__module__
        filled.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        last = [each for each in own if each.default is not inspect.Parameter.empty]
        first = [each for each in own if each.default is inspect.Parameter.empty]
        filled.__signature__ = inspect.Signature([*first, *last, *added])  # type: ignore[attr-defined]  # Any object has it.
        return filled

    return decorate


def settings_from(arguments: Mapping[str, Any]) -> Settings:
    """The settings of a command.

    Args:
        arguments: the command's `locals()`, taken before anything else: those named as settings are flags, `config` is
            the file.

    Raises:
        InputError: as `fedpact.settings.load`.
    """
    settings = load(arguments, os.environ, find_file(arguments.get("config"), os.environ))
    for line in settings.warnings:
        warn(line)
    return settings


def warn(line: str) -> None:
    """Says what a person should know although nothing failed, apart from what a program reads."""
    from fedpact.cli.audit import printable

    typer.echo(f"fedpact: warning: {printable(line)}", err=True)


class NotChecked(FedpactError):
    """A check that could not be carried out."""

    exit_code = 2


def trusted_head(text: str | None) -> Hash | None:
    """Reads the option `--head`.

    Raises:
        InputError: the text is no head.
    """
    from fedpact.ledger.facts import Hash

    if text is None:
        return None
    digits = text.removeprefix("0x")
    if len(digits) != 64 or not set(digits.lower()) <= set("0123456789abcdef"):
        raise InputError(f"head: expected 0x and 64 hexadecimal digits, found {text[:80]!r}")
    return Hash(bytes.fromhex(digits))


def typed_account(text: str) -> Address:
    """Reads the address of an account that was typed as an argument.

    Raises:
        InputError: the text is none.
    """
    from fedpact.ledger.facts import typed_address

    try:
        return typed_address(text)
    except LedgerError as error:
        raise InputError(f"account: {error}") from None


def check_at_once(name: str, value: int) -> None:
    """Checks how much is to be done at once.

    Raises:
        InputError: it is not 1 to `MOST_AT_ONCE`.
    """
    if not 1 <= value <= MOST_AT_ONCE:
        raise InputError(f"{name}: expected 1 to {MOST_AT_ONCE}, found {value}")


@contextmanager
def checking(what: object) -> Iterator[None]:
    """Whatever keeps a check from its answer is "could not be checked" (exit code 2), never "differs" (1).

    Args:
        what: what is checked, for an error that nobody expected.

    Raises:
        FedpactError: with exit code 2 or more.
    """
    try:
        yield
    except FedpactError as error:
        error.exit_code = max(2, error.exit_code)
        raise
    except Exception as error:
        raise NotChecked(f"{what}: the check itself failed: {type(error).__name__}: {error}") from error
