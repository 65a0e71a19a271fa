"""The README's federation of real processes, run as it stands: every block is what is typed into one terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manuals import matches
from terminals import Terminals, listens
from test_readme import README

_SECTION = README.partition("## Run a real federation")[2].partition("\n## ")[0]


@pytest.mark.nodes  # It needs none: it has a chain from pip alone. But it takes a minute.
def test_the_federation_of_the_readme(tmp_path: Path) -> None:
    """Three processes train five rounds, a stranger derives all of it again, and everybody ends with exit code 0."""
    with Terminals(_SECTION, tmp_path) as terminals:
        chain = terminals.open("terminal 1")
        listens(8545, chain)
        assert "contract: 0x" in terminals.done("terminal 2")
        stores = terminals.open("terminal 3")
        for port in (9000, 9001, 9002):
            listens(port, stores)
        services = {name: terminals.open(name) for name in ("terminal 4", "terminal 5", "terminal 6")}
        for name, process in services.items():
            assert "over: 5 rounds, as the charter says" in terminals.ended(name, process)
        printed = terminals.done("terminal 2 again")
    (promised,) = re.findall(r"^```text\n(.*?)^```", _SECTION, re.DOTALL | re.MULTILINE)
    assert matches(printed.splitlines(), ["…", *promised.splitlines(), "…"]), printed
