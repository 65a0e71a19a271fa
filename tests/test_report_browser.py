"""The page about a federation in a real browser: Chromium, driven as its readers would. Run by `make test-nodes`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fedpact.report import page
from pages import GAS, METRICS, full_history, hostile_history, report_of
from runs import fedpact, simulate

pytestmark = pytest.mark.nodes
ROOT = Path(__file__).parent.parent
MODULES = ROOT / ".cache/browser/node_modules"
LOOK = ROOT / "tests/nodes/browser/look.cjs"
VIEWS = ("desktop", "dark", "phone", "phone-dark", "print")
NAMES = ("simulated", "full", "hostile")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Chromium says of three pages: a simulation's, one with everything in it, one made of hostile text.

    `FEDPACT_TEST_SHOTS` names a directory for screenshots, for whoever wants to look.
    """
    directory = tmp_path_factory.mktemp("pages")
    simulate(directory / "run", "--hostile", "nan")
    done = fedpact("report", directory / "run", "-o", directory / "simulated.html")
    assert (done.returncode, done.stderr) == (0, "")
    full = report_of(full_history(directory / "full"), metrics=METRICS, gas=GAS)
    (directory / "full.html").write_text(page(full), "utf-8")
    (directory / "hostile.html").write_text(page(report_of(hostile_history(directory / "hostile"))), "utf-8")
    chromium = shutil.which(os.environ.get("FEDPACT_TEST_CHROMIUM", "chromium"))
    assert chromium, "chromium: not found; make test-nodes installs it"
    command = ["node", str(LOOK), chromium, os.environ.get("FEDPACT_TEST_SHOTS", "-")]
    environment = {**os.environ, "NODE_PATH": str(MODULES), "TMPDIR": str(directory), "HOME": str(directory)}
    looked = subprocess.run(
        [*command, *(str(directory / f"{name}.html") for name in NAMES)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert looked.returncode == 0, looked.stderr
    found: dict[str, Any] = json.loads(looked.stdout)
    assert list(found) == [f"{name} {view}" for name in NAMES for view in VIEWS]
    return found


def test_nothing_goes_wrong_and_nothing_is_asked_for(seen: dict[str, Any]) -> None:
    """No line in the console, no request to anywhere; the browser has no network all the while."""
    assert [
        (name, each["said"], each["requests"]) for name, each in seen.items() if each["said"] or each["requests"]
    ] == []


def test_everybody_can_read_it(seen: dict[str, Any]) -> None:
    """axe finds no violation with everything unfolded, in the light, in the dark, on a telephone and in print."""
    assert [(name, each["violations"]) for name, each in seen.items() if each["violations"]] == []
    assert min(each["passed"] for each in seen.values()) > 30


def test_it_fits_a_telephone_and_paper(seen: dict[str, Any]) -> None:
    """Folded, unfolded, and with every address in full, nothing sticks out of 360 pixels, or of a sheet."""
    assert {name: max(each["wider"]) for name, each in seen.items()} == dict.fromkeys(seen, 0)


def test_it_is_light_dark_and_white(seen: dict[str, Any]) -> None:
    """As its reader likes it; paper is always white."""
    colours = {view: {seen[f"{name} {view}"]["background"] for name in NAMES} for view in VIEWS}
    assert colours["desktop"] == colours["phone"] != colours["dark"] == colours["phone-dark"]
    assert colours["print"] == {"rgb(255, 255, 255)"}


def test_whoever_selects_an_address_has_all_of_it(seen: dict[str, Any]) -> None:
    """Although only its start and its end are seen."""
    assert all(len(each["copied"]) == 42 for each in seen.values())
    assert all(each["copied"].startswith("0x") for each in seen.values())
