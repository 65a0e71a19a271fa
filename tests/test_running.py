"""The units, the container file and the page about them: their commands are those that there are."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from chains import COORDINATOR
from fedpact.errors import LedgerError
from fedpact.service.figures import Figures
from fedpact.settings import SETTINGS, variable
from runs import fedpact

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UNITS = ["fedpact-coordinator.service", "fedpact-silo.service"]
PAGE = (ROOT / "docs/how-to/real-deployment.md").read_text("utf-8")
CONTAINERFILE = (DEPLOY / "Containerfile").read_text("utf-8").replace("\\\n", " ")


@functools.cache
def options(*command: str) -> frozenset[str]:
    """What a command takes."""
    done = fedpact(*command, "--help")
    assert done.returncode == 0, done.stderr
    return frozenset(re.findall(r"--[a-z-]+", done.stdout))


def check(command: list[str]) -> None:
    """A command line names a command, and options that it takes."""
    assert Path(command[0]).name == "fedpact"
    names = [each for each in command[1:3] if re.fullmatch("[a-z]+", each)]
    assert {each.partition("=")[0] for each in command if each.startswith("--")} <= options(*names), command


def unit(name: str) -> dict[str, list[str]]:
    """The assignments of a unit."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text("utf-8").replace("\\\n", " ").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_a_units_command_is_one(name: str, tmp_path: Path) -> None:
    """Its options are taken; run with files that hold no key, it says so, and asks nobody for a password."""
    (start,) = unit(name)["ExecStart"]
    check(shlex.split(start))
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    for line in unit(name)["LoadCredential"]:
        (credentials / line.partition(":")[0]).write_text("")
    (credentials / "fedpact.toml").write_text('trainer = "ward:make"\ncharter = "charter.toml"\n')
    filled = start.replace("${CREDENTIALS_DIRECTORY}", str(credentials)).replace("${STATE_DIRECTORY}", str(state))
    done = fedpact(*shlex.split(filled)[1:], cwd=tmp_path)
    expected = f"fedpact: error: key file {credentials}/key: expected a keystore or a key of 64 hexadecimal digits"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(expected)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_one(name: str, tmp_path: Path) -> None:
    """As systemd says itself, where it is installed; nothing in it runs as root or lets a key lie about."""
    found = unit(name)
    assert found["DynamicUser"] == found["NoNewPrivileges"] == ["yes"]
    assert found["Restart"] == ["on-failure"]
    assert [line.partition(":")[0] for line in found["LoadCredential"]] == ["key", "password", "fedpact.toml"]
    assert not any("PASSWORD" in value or "FEDPACT_KEY" in value for value in found.get("Environment", []))
    if shutil.which("systemd-analyze"):
        text = (DEPLOY / name).read_text("utf-8").replace("/opt/fedpact/bin/fedpact", sys.executable)
        (tmp_path / name).write_text(text)
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_units_differ_in_nothing_but_the_role() -> None:
    """What is mended in one is mended in both."""
    one, other = ((DEPLOY / name).read_text("utf-8") for name in UNITS)
    assert one.replace("coordinator", "silo").replace("9464", "9465") == other


def test_the_image_holds_no_secret_and_runs_nothing_as_root() -> None:
    """What is copied into it is named piece by piece; settings that it sets are settings."""
    instructions = [line.split(None, 1) for line in CONTAINERFILE.splitlines() if line and not line.startswith("#")]
    last_stage = instructions[[name for name, _ in instructions].index("FROM", 1) :]
    assert [value for name, value in last_stage if name == "USER"] == ["10001"]
    for name, value in instructions:
        assert name != "ADD"
        if name == "COPY" and not value.startswith("--from=build"):
            for source in value.split()[:-1]:
                assert source in {
                    "pyproject.toml",
                    "README.md",
                    "LICENSE",
                    "protocol",
                    "coordinator",
                    "client",
                    "simulation",
                }
                assert (ROOT / source).exists()
    names = set(re.findall(r"(FEDPACT_[A-Z_]+)=", CONTAINERFILE))
    assert names <= {variable(name) for name in SETTINGS}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {value.split()[0] for name, value in instructions if name == "COPY"}
    assert {each.partition("/")[0] for each in packages["packages"]} <= copied


def test_the_images_health_check_follows_the_service() -> None:
    """It passes after a step that went well, and fails after one that did not, or where nobody answers."""
    (check_line,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])", CONTAINERFILE)
    assert "127.0.0.1:9464/health" in check_line
    assert "FEDPACT_METRICS=127.0.0.1:9464" in CONTAINERFILE
    figures = Figures("silo", COORDINATOR)
    with figures.served("127.0.0.1", 0) as port:
        command = [sys.executable, *tomllib.loads(f"command = {check_line}")["command"][1:]]
        command = [each.replace("9464", str(port)) for each in command]

        def passes() -> bool:
            return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

        assert passes()
        figures.failed(LedgerError("no node"))
        assert not passes()
    assert not passes()


def test_the_page_names_commands_settings_and_figures_that_there_are() -> None:
    """Every command line, every setting of its file, every variable and every figure."""
    text = PAGE.replace("\\\n", " ")
    for line in re.findall(r"^    (fedpact .*)$", text, re.MULTILINE) + re.findall(r"`(fedpact [a-z]+ [a-z]+)`", text):
        check(shlex.split(line))
    (run,) = re.findall(r"^    podman run .* (fedpact silo run)$", text, re.MULTILINE)
    check(shlex.split(run))
    assert tomllib.loads(text.partition("```toml\n")[2].partition("```")[0]).keys() <= SETTINGS.keys()
    known = {variable(name) for name in SETTINGS} | {"FEDPACT_KEY", "FEDPACT_PASSWORD", "FEDPACT_CONFIG"}
    assert set(re.findall(r"FEDPACT_[A-Z_]+", text)) <= known
    figures = (ROOT / "protocol/fedpact/service/figures.py").read_text("utf-8")
    for name in re.findall(r"`fedpact_(\w+?)(?:_total)?`", text):
        assert f'"{name}"' in figures or f'"fedpact_{name}"' in figures, name
    for path in re.findall(r"deploy/[\w.-]+", text):
        assert (ROOT / path).exists()
