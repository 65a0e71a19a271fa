"""Deploys a federation to a chain: the contract, then its members and coordinators. `fedpact deploy` does the same.

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
import logging
import sys
from pathlib import Path

from fedpact.cli.deploy import found_federation, tell
from fedpact.deployment.deploy import REHEARSAL
from fedpact.errors import FedpactError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("federation", type=Path, metavar="federation.toml", help="charter, first model, who may act")
    parser.add_argument("--rpc", required=True, metavar="URL", help=f"a node of the chain; {REHEARSAL} to rehearse")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="the deployer's key; else FEDPACT_KEY")
    parser.add_argument(
        "--store", action="append", metavar="DIR", help="gets charter and first model (beside the file: store)"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="beside the file: NAME.deployment.json")
    parser.add_argument("--again", action="store_true", help="deploy even if it was done before; keeps the old record")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # What can be tried again is not said; what fails is, in one line.
    try:
        flags = {"rpc": [arguments.rpc], "key_file": arguments.key_file, "store": arguments.store}
        outcome, record = found_federation(arguments.federation, flags, record=arguments.record, again=arguments.again)
    except FedpactError as error:
        print(f"deploy.py: error: {' '.join(error.in_full.split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("deploy.py: interrupted; the same command continues, without --again", file=sys.stderr)
        sys.exit(130)
    tell(outcome, record, as_json=arguments.json)


if __name__ == "__main__":
    main()
