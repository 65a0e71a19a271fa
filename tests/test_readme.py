"""What the README shows is what happens: its commands are run as they stand, its charter is one, its files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manuals import Reader
from runs import fedpact

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    """One after the other, in one directory, as a reader would; the terminals are tests/test_readme_federation.py's."""
    commands = "".join(f"```console\n{block}```\n" for block in _blocks("console"))
    with Reader(tmp_path) as reader:
        reader.read(commands)


def test_its_charter_is_one(tmp_path: Path) -> None:
    """A federation runs under it."""
    (charter,) = _blocks("toml")
    (tmp_path / "charter.toml").write_text(charter, "utf-8")
    arguments = ("--silos", "3", "--rounds", "1", "--ledger", "memory", "--workdir", tmp_path / "run")
    done = fedpact("simulate", "digits", "--charter", tmp_path / "charter.toml", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README)) | {"LICENSE", "CHANGELOG.md"}))
def test_what_it_links_to_exists(link: str) -> None:
    """Every link within the repository leads somewhere."""
    assert (ROOT / link).exists()


def test_it_names_every_target_of_the_makefile_that_users_need() -> None:
    """And the Makefile has every target that the README names."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named <= targets
    assert {"demo", "test", "check", "bench", "test-nodes"} <= named
