"""What the README shows is what happens: its commands are run as they stand, its charter is one, its files exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import fedpact

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a page with the output that is printed below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line.rstrip())
    return found


def _shape(line: str) -> str:
    """A line without what depends on the machine's arithmetic: addresses, heads, scores, gas."""
    line = re.sub(r"bafkrei[a-z2-7]{3}…[a-z2-7]{6}|bafkrei[a-z2-7]{52}", "CID", line.rstrip())
    line = re.sub(r"0x[0-9a-f]{64}", "HEAD", line)
    return re.sub(r" +", " ", re.sub(r"\d[\d,]*\.\d+|\d+,\d+", "NUMBER", line))


def matches(printed: list[str], promised: list[str]) -> bool:
    """Whether the lines are the promised ones, where `…` alone stands for any lines."""
    if not promised:
        return not printed
    if promised[0].strip() == "…":
        return any(matches(printed[start:], promised[1:]) for start in range(len(printed) + 1))
    return bool(printed) and _shape(printed[0]) == _shape(promised[0]) and matches(printed[1:], promised[1:])


def test_the_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    """One after the other, in one directory, as a reader would."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "80"}
    commands = commands_of(README)
    assert len(commands) >= 6
    head = ""
    for command, promised in commands:
        # A head follows from the weights, and those, in their last bits, from the machine.
        done = subprocess.run(  # noqa: S602  # A shell is what a reader types into, and the README is ours.
            re.sub(r"0x[0-9a-f]{64}", head, command),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert matches(done.stdout.splitlines(), promised), f"{command}\n{done.stdout}"
        head = next(iter(re.findall(r"0x[0-9a-f]{64}", done.stdout)), head)


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
