"""A new project's README, run as it stands: a dry run, and then the real thing. Run by `make test-nodes`: it takes the
ports of the README's federation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fedpact_simulation.new import write_project
from terminals import SECONDS, Terminals, listens


@pytest.mark.nodes
def test_a_new_projects_readme(tmp_path: Path) -> None:
    """The same trainer in a simulation, in silos that are processes, and derived again by a stranger."""
    mine = tmp_path / "mine"
    write_project(mine, "scikit-learn", 2)
    text = (mine / "README.md").read_text("utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    blocks = re.findall(r"^```sh\n(?!# terminal)(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for commands in blocks:
        command = ["/bin/bash", "-e", "-c", commands]
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(
            command, cwd=mine, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "audit: ok: 5 of 5 models reproduced" in done.stdout
    with Terminals(text, mine) as terminals:
        listens(8545, terminals.open("terminal 1"))
        assert "contract: 0x" in terminals.done("terminal 2")
        stores = terminals.open("terminal 3")
        for port in (9000, 9001, 9002):
            listens(port, stores)
        services = {name: terminals.open(name) for name in ("terminal 4", "terminal 5", "terminal 6")}
        for name, process in services.items():
            assert "over: 5 rounds, as the charter says" in terminals.ended(name, process)
        printed = terminals.done("terminal 2 again")
    assert "audit: ok: 5 of 5 models reproduced bit for bit" in printed
