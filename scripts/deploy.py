"""Deploys a federation to a chain: the contract, then its members and coordinators.

    python scripts/deploy.py federation.toml --rpc http://127.0.0.1:8545 --key-file owner.json
    python scripts/deploy.py federation.toml --rpc eth-tester       rehearse it on a chain within this process

The first run deploys; a later one finds that federation through the record and adds only who is missing, whatever cut
the first one off. It never removes or dismisses anyone. The key is an encrypted keystore (its password is asked for, or
is the variable FEDPACT_PASSWORD), a file with the key in hexadecimal digits, or the variable FEDPACT_KEY.

Exit codes: 0, the federation is there, and this key has nothing to add; 1, the chain could not do it; 2, something that
was given cannot be used.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from pathlib import Path

from fedpact.deployment.deploy import REHEARSAL, Outcome, deploy, describe, rehearse, summary
from fedpact.deployment.plan import read_plan
from fedpact.deployment.record import RecordFile
from fedpact.errors import FedpactError, InputError
from fedpact.keys import read_account
from fedpact.ledger.endpoints import connect
from fedpact.store.directory import DirectoryBlocks


def run(arguments: argparse.Namespace) -> tuple[Outcome, Path | None]:
    """Deploys; returns what was done, and where the record is.

    Raises:
        FedpactError: it could not be done.
    """
    plan = read_plan(arguments.federation)
    if arguments.rpc == REHEARSAL:
        return rehearse(plan), None
    beside = arguments.federation.parent
    record = arguments.record or beside / f"{arguments.federation.stem}.deployment.json"
    web3 = connect(arguments.rpc)
    account = read_account(arguments.key_file, os.environ, ask_password)
    blocks = DirectoryBlocks(arguments.store or beside / "store")
    try:
        return deploy(web3, account, plan, blocks, RecordFile(record), again=arguments.again), record
    finally:
        blocks.close()


def ask_password() -> str:
    """Asks for the password of a keystore, on a terminal.

    Raises:
        InputError: there is none.
    """
    if not sys.stdin.isatty():
        raise InputError("password: expected the variable FEDPACT_PASSWORD or a terminal to ask on, found neither")
    return getpass.getpass("password of the key file: ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("federation", type=Path, metavar="federation.toml", help="charter, first model, who may act")
    parser.add_argument("--rpc", required=True, metavar="URL", help=f"a node of the chain; {REHEARSAL} to rehearse")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="the deployer's key; else FEDPACT_KEY")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="gets charter and first model (beside the file: store)"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="beside the file: NAME.deployment.json")
    parser.add_argument("--again", action="store_true", help="deploy even if it was done before; keeps the old record")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    arguments = parser.parse_args()
    try:
        outcome, record = run(arguments)
    except FedpactError as error:
        print(f"deploy.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("deploy.py: interrupted; the same command continues, without --again", file=sys.stderr)
        sys.exit(130)
    if arguments.json:
        kept = None if record is None else str(record)
        print(json.dumps({**summary(outcome), "record": kept, "rehearsal": record is None}))
    else:
        print("\n".join(describe(outcome, record)))


if __name__ == "__main__":
    main()
