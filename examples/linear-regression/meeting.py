"""What server and clients have in common: where they meet, and whose key is whose.

The server writes `server.toml` into the directory where they meet, and removes it in the end. It is a settings file:
`fedpact rounds --config fedpact-runs/server.toml` reads the ledger while the server runs.
"""

from __future__ import annotations

import json
import os
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

from fedpact.errors import InputError
from fedpact.files import write_atomically

HERE = Path(__file__).absolute().parent
RUNS = HERE / "fedpact-runs"
"""Where they meet, if they are not told where."""
CLIENTS = (1, 2)
OWNER, SERVER = -1, 0
"""Who else has a key: whoever founds the federation, and its coordinator."""
_FILE = "server.toml"
_TOLD = ("rpc", "contract", "store", "state", "charter")


def key_of(who: int) -> str:
    """A key of the test accounts to which every development chain gives money. Everybody knows them.

    Args:
        who: a client's number, `SERVER` or `OWNER`.
    """
    from fedpact_simulation.devnet import accounts

    return f"0x{accounts(2 + len(CLIENTS))[who + 1].key.hex()}"


def address_of(who: int) -> str:
    """The account of a key."""
    from eth_account import Account

    return str(Account.from_key(key_of(who)).address)


def address_of_charter(charter: Path) -> str:
    """What a charter is called on the ledger. Raises CharterError where it is none."""
    from fedpact.artifacts.charter import parse_toml
    from fedpact.store.unixfs import address

    return str(address(parse_toml(charter).encode()))


def check_alone(directory: Path) -> None:
    """Checks that no other server meets its clients there.

    Raises:
        InputError: one does.
    """
    if found(directory) is not None:
        expected = "expected no other server, found one that runs"
        raise InputError(f"{directory / _FILE}: {expected}; --directory names another place to meet")


def announce(directory: Path, settings: Mapping[str, str]) -> Path:
    """Writes the file that clients wait for."""
    file = directory / _FILE
    write_atomically(file, "".join(f"{name} = {json.dumps(settings[name])}\n" for name in _TOLD).encode())
    return file


def found(directory: Path) -> dict[str, str] | None:
    """What a server that runs announced. What a killed one left behind is none: its chain is gone."""
    from fedpact_simulation.devnet import chain_id

    try:
        told = tomllib.loads((directory / _FILE).read_text("utf-8"))
        settings = {name: str(told[name]) for name in _TOLD}
        chain_id(settings["rpc"])
    except (OSError, ValueError, KeyError):
        return None
    return settings


def wait_for_server(directory: Path, seconds: float) -> dict[str, str]:
    """What the server announced, as soon as it runs.

    Raises:
        InputError: it does not in time.
    """
    end = time.monotonic() + seconds
    settings = found(directory)
    if settings is None:
        print(f"waiting for the server (python server.py), {seconds:g} s at most", flush=True)
    while settings is None:
        if time.monotonic() > end:
            expected = f"a server that runs (python server.py) within {seconds:g} s"
            raise InputError(f"{directory / _FILE}: expected {expected}, found none")
        time.sleep(0.2)  # Somebody else starts it; bounded above.
        settings = found(directory)
    return settings


def act_as(who: int, settings: Mapping[str, str]) -> None:
    """Lets the commands that follow have a key, and settings that come before those of files."""
    os.environ.update({f"FEDPACT_{name.upper()}": value for name, value in settings.items()}, FEDPACT_KEY=key_of(who))
