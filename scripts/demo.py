"""The main job, twice over: a federation learns, and then a stranger to it checks every model it published.

    make demo

runs `fedpact simulate digits --silos 10 --rounds 20` and `fedpact audit` on what it leaves.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FEDPACT = str(Path(sys.executable).with_name("fedpact"))


def run(*arguments: str) -> None:
    """Shows a command and runs it; ends with its exit code where it fails."""
    print(f"$ fedpact {' '.join(arguments)}", flush=True)
    code = subprocess.run([FEDPACT, *arguments], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    number = 1
    while (directory := Path(f"fedpact-runs/demo-{number}")).exists():
        number += 1
    run("simulate", "digits", "--silos", "10", "--rounds", "20", "--workdir", str(directory))
    print()
    head = json.loads((directory / "result.json").read_bytes())["head"]
    run("audit", str(directory), "--head", head)


if __name__ == "__main__":
    main()
