"""The page of all commands, from the application that runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from fedpact.cli import application as applications
from fedpact.cli.usage import bounds
from fedpact.settings import SETTINGS, flag

from reference_pages.markdown import MADE, Undocumented, anchor, code, fenced, prose, sentence, table

_INTRODUCTION = """# Commands

Every command is `fedpact NAME …`; `fedpact NAME --help` says the same in a terminal. Options that are
[settings](configuration.md) may also come from a variable or from `fedpact.toml`.
"""

_ALL = """## All commands

- **Output.** What was asked for goes to standard output, everything else to standard error. `--json` prints one JSON
  object and nothing else; what stays until it is stopped prints it when it is ready.
- **Errors** are one line, `fedpact: error: …`: the thing, what was expected, what was found. [Each kind](errors.md) has
  its exit code. Warnings are lines, too, and change no exit code.
- **Secrets.** Keys and passwords are never on a command line, but
  [come from elsewhere](configuration.md#keys-and-passwords).

### Exit codes

Where a command says nothing else:

| code | means |
|---|---|
| 0 | it is done |
| 1 | it could not be done: a chain, a store or the contract refused, or something differs |
| 2 | something that was given cannot be used: an option, a file, a setting |
| 130 | Ctrl-C |
| 143 | SIGTERM; a service ends with 0, as it was asked to stop |
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed.

    Attributes:
        name: all its words.
        click: what typer made of it.
        group: its group's words, or none.
    """

    name: str
    click: Any
    group: str

    @property
    def own(self) -> list[Any]:
        """Its own arguments and options, arguments first."""
        found = [each for each in self.click.params if each.name not in ("help", "config") and not is_setting(each)]
        return sorted(found, key=lambda each: each.param_type_name != "argument")

    @property
    def settings(self) -> list[str]:
        """The settings that it uses, in the order of their table."""
        used = {each.name for each in self.click.params if is_setting(each)}
        return [name for name in SETTINGS if name in used]


def is_setting(parameter: Any) -> bool:
    """Whether an option is a setting, and not one that is only called as one is."""
    setting = SETTINGS.get(parameter.name)
    return setting is not None and (parameter.help or "").startswith(setting.help)


def groups() -> dict[str, str]:
    """What each group is about."""
    root = typer.main.get_command(applications.application())
    found: dict[str, Any] = root.commands  # type: ignore[attr-defined]
    return {name: each.help for name, each in found.items() if getattr(each, "commands", None)}


def all_commands() -> list[Command]:
    """Every command of fedpact's own packages, in the order of their names."""

    def walk(click: Any, words: str) -> Iterator[Command]:
        for name, each in sorted(click.commands.items()):
            if getattr(each, "commands", None):
                yield from walk(each, f"{words} {name}")
            elif (getattr(each.callback, "__module__", None) or "fedpact").startswith("fedpact"):
                yield Command(f"{words} {name}", each, words if " " in words else "")

    return list(walk(typer.main.get_command(applications.application()), "fedpact"))


def page() -> str:
    """`docs/reference/commands.md`.

    Raises:
        Undocumented: a command, an argument or an option has no words.
    """
    found, about = all_commands(), groups()
    rows = [[f"[`{each.name}`](#{anchor(each.name)})", prose(_parts(each)[0][0])] for each in found]
    text = f"{MADE}\n{_INTRODUCTION}\n{table('command', 'what it does', rows=rows)}\n{_ALL}"
    group = ""
    for each in found:
        if each.group and each.group != group:
            text += f"\n## {each.group} …\n\n{prose(sentence(about[each.group.split()[-1]]))}\n"
        group = each.group
        text += f"\n{'###' if each.group else '##'} {each.name}\n\n{_command(each)}"
    return text


def _command(command: Command) -> str:
    said, codes, examples = _parts(command)
    text = "".join(f"{prose(each)}\n\n" for each in said[:1]) + fenced("text", _usage(command))
    text += "".join(f"\n{prose(each)}\n" for each in said[1:])
    if command.own:
        rows = [[code(_typed(each)), _default(each), _meaning(command, each)] for each in command.own]
        text += "\n" + table("argument or option", "default", "what it is", rows=rows)
    if command.settings == list(SETTINGS):
        text += "\nAll [settings](configuration.md) and [`--config`](configuration.md#where-a-value-comes-from).\n"
    elif command.settings:
        links = ", ".join(f"[`{flag(name)}`](configuration.md#{name})" for name in command.settings)
        text += f"\n[Settings](configuration.md): {links}, [`--config`](configuration.md#where-a-value-comes-from).\n"
    text += f"\n{prose(codes)}\n" if codes else "\n[Exit codes](#exit-codes) as of all commands.\n"
    return text + "\n" + fenced("sh", "\n".join(examples))


def _parts(command: Command) -> tuple[list[str], str, list[str]]:
    """The paragraphs of a command's help: what it does, its exit codes, its examples."""
    said, codes, examples = [], "", []
    for each in (command.click.help or "").split("\n\n"):
        words = each.replace("\b", "").strip()
        if words.startswith("Example"):
            examples = [line.strip() for line in words.splitlines()[1:]]
        elif words.startswith("Exit code"):
            codes = words
        elif words:
            said.append(words)
    if not said or not examples:
        raise Undocumented(f"{command.name}: its help has no {'example' if said else 'words'}")
    return said, codes, examples


def _usage(command: Command) -> str:
    """How it is typed: arguments, then what it cannot do without."""
    words = [command.name]
    for each in command.own:
        if each.param_type_name == "argument":
            name = each.metavar or each.name.upper()
            shown = name if each.required or name.startswith("[") else f"[{name}]"
            words.append(shown + ("…" if each.nargs == -1 else ""))
        elif each.required:
            words.append(_typed(each).split(", ")[-1])
    return " ".join([*words, "[OPTIONS]"])


def _typed(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name: str = parameter.metavar or parameter.name.upper()
        return name.strip("[]")
    metavar = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
    return ", ".join(sorted(parameter.opts, key=len)) + metavar


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    default = parameter.default
    return "" if default is None or default is False or default == [] else code(default)


def _meaning(command: Command, parameter: Any) -> str:
    if not parameter.help:
        raise Undocumented(f"{command.name}: {parameter.name} has no help")
    repeated = getattr(parameter, "multiple", False) and not re.search(r"[Ss]everal", parameter.help)
    notes = "; ".join(filter(None, (bounds(parameter), "may be given several times" if repeated else "")))
    return prose(parameter.help) + (f" ({notes})" if notes else "")
