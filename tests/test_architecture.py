"""The arrows between the packages, and what each may import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "protocol/fedpact": set(),
    "client/fedpact_client": {"fedpact"},
    "coordinator/fedpact_coordinator": {"fedpact"},
    "simulation/fedpact_simulation": {"fedpact", "fedpact_client", "fedpact_coordinator"},
}
OURS = {Path(package).name for package in ALLOWED}


def _imports(package: str) -> set[str]:
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("package", list(ALLOWED))
def test_arrows_run_one_way(package: str) -> None:
    """protocol, then client and coordinator, then simulation; client and coordinator never import each other."""
    assert _imports(package) & OURS - {Path(package).name} <= ALLOWED[package]


@pytest.mark.parametrize("package", list(ALLOWED))
def test_nothing_pickles(package: str) -> None:
    """Bytes from elsewhere are never unpickled, so the modules that do it are not imported at all."""
    assert not _imports(package) & {"pickle", "shelve", "dill", "joblib", "cloudpickle", "marshal"}


def test_each_folder_holds_one_package() -> None:
    """The layout needs no path configuration."""
    for package in ALLOWED:
        folder = (ROOT / package).parent
        assert [path.name for path in folder.iterdir() if path.is_dir()] == [Path(package).name]
