"""Runs federations of real processes on a real anvil, and lets them suffer: the models must be the same all the same.

    python scripts/chaos.py --seed 7 --rounds 10 --kills 50     all ordeals
    python scripts/chaos.py --only kills --kills 500 --rounds 100 --seconds 3600

Ordeals: `kills` (kill -9 of coordinator, silos and store servers, at exact points and random times), `faults` (the node
stops, dies, is reorganised, loses and drops transactions, raises its fees), `changes` (quorum missed, takeover, amended
charter, a lie that is disputed and rewound), `speed` (seconds per round while nothing happens).

What is decided depends on the seed alone; what comes of it depends on the machine as well. Needs anvil (in the path, in
FEDPACT_ANVIL, or as `make test-nodes` installs it). Exit codes: 0; 1, something is not as it should be, or took too
long; 2, something that was given cannot be used.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fedpact.errors import FedpactError, InputError
from ordeal import changes, faults, kills, speed
from ordeal.running import OutOfTime

ORDEALS = ("kills", "faults", "changes", "speed")
_SPEED_ROUNDS = 6


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs the chosen ordeals one after the other; returns what each found."""
    end = time.monotonic() + arguments.seconds
    seed, results = arguments.seed, {}
    for name in arguments.only or ORDEALS:
        directory = Path(tempfile.mkdtemp(prefix=f"fedpact-{name}-"))
        say(f"{name}: seed {seed}, in {directory}")
        began = time.monotonic()
        try:
            if name == "kills":
                found = kills.run(directory, seed, arguments.rounds, arguments.kills, say, end)
            elif name == "speed":
                found = speed.run(directory, seed, _SPEED_ROUNDS, arguments.block_time, say, end)
            else:
                found = {"faults": faults, "changes": changes}[name].run(directory, seed, say, end)
        except (OutOfTime, AssertionError, FedpactError) as error:
            found = {"faults": [f"{error}; logs are in {directory}"]}
        except KeyboardInterrupt:
            if not arguments.keep:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        results[name] = {"seconds": round(time.monotonic() - began, 1), **found}
        if not found["faults"] and not arguments.keep:
            shutil.rmtree(directory)
    return results


def show(name: str, found: dict[str, Any]) -> str:
    """A summary of what was found, in lines."""
    plain = {key: value for key, value in found.items() if key not in ("models", "faults")}
    lines = [f"{name}: {'as it should be' if not found['faults'] else 'NOT as it should be'}"]
    lines += [f"  {key.replace('_', ' ')}: {_words(value)}" for key, value in plain.items()]
    return "\n".join(lines + [f"  - {fault}" for fault in found["faults"]])


def _words(value: object) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="decides what is done (1)")
    parser.add_argument("--rounds", type=int, default=10, help="of the ordeal kills (10)")
    parser.add_argument("--kills", type=int, default=50, help="in these rounds (50)")
    parser.add_argument("--seconds", type=float, default=900, help="that everything may take (900)")
    parser.add_argument("--only", choices=ORDEALS, action="append", help="this ordeal; again for another")
    parser.add_argument("--block-time", type=float, help="of the ordeal speed; else a block for each transaction")
    parser.add_argument("--keep", action="store_true", help="keep directories and logs also where all is well")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and events on standard error")
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.kills < 0 or arguments.seconds <= 0:
        parser.error("expected at least 2 rounds, no negative kills, more than 0 seconds")
    logging.basicConfig(level=logging.CRITICAL)  # The parties have logs of their own; the harness itself only looks.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    events = sys.stderr if arguments.json else sys.stdout
    try:
        results = run(arguments, lambda text: print(text, file=events, flush=True))
    except InputError as error:
        print(f"chaos.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("chaos.py: interrupted; every process that it started has ended", file=sys.stderr)
        sys.exit(130)
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, **results}))
    else:
        print("\n".join(show(name, found) for name, found in results.items()))
    sys.exit(1 if any(found["faults"] for found in results.values()) else 0)


if __name__ == "__main__":
    main()
