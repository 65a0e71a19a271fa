"""A client: python client.py 1, and python client.py 2 in another terminal. README.md says more.

It waits for the server; then it is `fedpact silo run` with the settings of client-1/fedpact.toml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedpact.cli import main, run
from fedpact.errors import InputError
from meeting import CLIENTS, HERE, RUNS, act_as, address_of_charter, wait_for_server


def client() -> int:
    """What the command does; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int, choices=CLIENTS, help="which client")
    parser.add_argument("--charter", default="charter.toml", help="the one that it accepts; it has to be the server's")
    parser.add_argument("--directory", type=Path, default=RUNS, help="where it finds the server")
    parser.add_argument("--wait", type=float, default=300, metavar="SECONDS", help="for the server, at most")
    asked = parser.parse_args()
    accepted = address_of_charter(HERE / asked.charter)
    settings = wait_for_server(asked.directory, asked.wait)
    check_accepted(asked.charter, accepted, settings.pop("charter"))
    act_as(asked.number, settings)
    own = HERE / f"client-{asked.number}" / "fedpact.toml"
    return run("silo", "run", "--config", str(own), "--charter", str(HERE / asked.charter))


def check_accepted(charter: str, accepted: str, servers: str) -> None:
    """Compares the accepted charter with the server's.

    Raises:
        InputError: it is another.
    """
    if accepted != servers:
        raise InputError(f"charter {charter}: expected the server's, {servers[:80]}, found {accepted}; see --charter")


if __name__ == "__main__":
    main(client)
