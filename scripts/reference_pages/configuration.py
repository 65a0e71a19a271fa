"""The page of all settings, from the table that reads them."""

from __future__ import annotations

import tomllib
from itertools import groupby
from pathlib import Path

from fedpact.deployment.plan import FederationFile
from fedpact.settings import CONFIG, FILE, OTHER_VARIABLES, SETTINGS, Setting, Settings, flag, shown, variable
from fedpact_client.data import Table

from reference_pages.commands import Command, all_commands
from reference_pages.documents import fields
from reference_pages.markdown import MADE, Undocumented, anchor, attributes, code, fenced, prose, sentence, table

_INTRODUCTION = f"""# Configuration

What a command is told about its surroundings: nodes, contract, stores, key. Each setting is an option of the commands
that use it, a variable and a key of `{FILE}`; [`fedpact config show`](commands.md#fedpact-config-show) says each value
and where it came from.

## Where a value comes from

1. The option, such as `--rpc`.
2. The variable, such as `FEDPACT_RPC`. One that is empty was not given. An unknown `FEDPACT_…` is passed over with a
   warning that says what may have been meant.
3. The file: the one that `--config FILE` names, else the one that the variable `{CONFIG}` names, else `{FILE}` in
   the working directory. An unknown key in it is an error, with its line.
4. The default.

A list is a list in the file, an option that is repeated, or text with commas between its parts. A path counts from the
working directory, or in a file from the directory of that file. A silo's file:
"""

_EXAMPLE = """rpc = ["https://first.example/v3/KEY", "https://second.example"]
contract = "federation.deployment.json"
store = ["store", "gateway+https://coordinator.example"]
key_file = "silo.key.json"
charter = "charter.toml"
trainer = "my_model:make"
trainer_config = "ward.toml"
verify = "0.05"
max_fee = "30"
metrics = 9465
"""

_FEDERATION = """## What founds a federation

[`fedpact deploy`](commands.md#fedpact-deploy) reads it from a TOML file, such as `federation.toml`.
"""

_TABLE = """## What describes a table of samples

The trainer `fedpact_client.table:trainer`, and your own with `fedpact_client.data.read_table`, read it from the TOML
file of [`trainer_config`](#trainer_config).
"""

_SECRETS = """## Keys and passwords

They are no settings, and never on a command line, in a message or in a log. A key comes from the file of
[`key_file`](#key_file), else from the variable `FEDPACT_KEY`; where that is set, only `--key-file` or
`FEDPACT_KEY_FILE` come before it, `key_file` in the file does not. A keystore's password comes from the file of
[`password_file`](#password_file), else from the variable `FEDPACT_PASSWORD`, else it is asked for.
"""


def page() -> str:
    """`docs/reference/configuration.md`.

    Raises:
        Undocumented: a setting or a variable has no words.
    """
    words = attributes(Settings, SETTINGS)
    commands = all_commands()
    rows = [
        [
            f"[`{each.name}`](#{each.name})",
            code(f"{flag(each.name)} {each.metavar}"),
            code(variable(each.name)),
            _default(each),
            prose(each.help),
        ]
        for each in SETTINGS.values()
    ]
    text = f"{MADE}\n{_INTRODUCTION}\n{fenced('toml', _example())}\n## All settings\n\n"
    text += table("key", "option", "variable", "default", "what it is", rows=rows)
    for each in SETTINGS.values():
        text += f"\n### {each.name}\n\n{prose(sentence(words[each.name]))}\n\n"
        text += f"- Values: {prose(_values(each))}\n- Default: {_default(each) or 'none'}\n"
        text += f"- Used by: {_users(each.name, commands)}\n"
    rows = [[code(name), prose(meaning)] for name, meaning in OTHER_VARIABLES.items()]
    text += f"\n{_SECRETS}\n## Other variables\n\n{table('variable', 'what it is', rows=rows)}"
    return f"{text}\n{_FEDERATION}\n{fields(FederationFile)}\n{_TABLE}\n{fields(Table)}"


def _example() -> str:
    """The example, whose every value is one."""
    for name, given in tomllib.loads(_EXAMPLE).items():
        SETTINGS[name].read(given, Path(), False)
    return _EXAMPLE


def _values(setting: Setting) -> str:
    """What a value may be: the words of the error about one that is none."""
    try:
        setting.read(object(), Path(), False)
    except ValueError as error:
        return str(error)
    raise Undocumented(f"setting {setting.name}: takes anything")


def _default(setting: Setting) -> str:
    if setting.default_words:
        return prose(setting.default_words)
    value = shown(setting.name, setting.default)
    return "" if value in (None, []) else code(", ".join(value) if isinstance(value, list) else value)


def _users(setting: str, commands: list[Command]) -> str:
    """Links to the commands that use a setting; to a group as a whole where all of it does."""
    links = []
    if not any(setting in each.settings for each in commands if each.settings != list(SETTINGS)):  # As an option alone.
        named = [each for each in commands if any(flag(setting) in own.opts for own in each.own)]
        return ", ".join(_link(each.name) for each in named)
    for group, found in groupby(commands, lambda each: each.group or each.name):
        members = list(found)
        using = [each for each in members if setting in each.settings and each.settings != list(SETTINGS)]
        if len(members) > 1 and using == members:
            links.append(f"all of [`{group.removeprefix('fedpact ')}`](commands.md#{anchor(f'{group} …')})")
        else:
            links += [_link(each.name) for each in using]
    return ", ".join(links)


def _link(command: str) -> str:
    return f"[`{command.removeprefix('fedpact ')}`](commands.md#{anchor(command)})"
