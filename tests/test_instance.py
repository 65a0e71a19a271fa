"""One process for each key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from chains import ACCOUNTS
from fedpact.errors import InputError
from fedpact.service.instance import only_instance

OWN, OTHER = ACCOUNTS[:2]


def test_a_second_one_is_refused_and_told_who_holds_the_key(tmp_path: Path) -> None:
    """The lock is the system's: within a process it holds as well."""
    with only_instance(tmp_path, OWN):
        found = f"^account {OWN}: another process \\({os.getpid()}\\) runs with its key, by .*; one at a time$"
        with pytest.raises(InputError, match=found), only_instance(tmp_path, OWN):
            pass
        with only_instance(tmp_path, OTHER):
            pass
    with only_instance(tmp_path, OWN):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """What it leaves is a file, which holds nobody up."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom fedpact.service.instance import only_instance\n"
        f"with only_instance(Path(sys.argv[1]), {str(OWN)!r}):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"another process \\({process.pid}\\)"), only_instance(tmp_path, OWN):
            pass
        process.kill()
        process.wait(10)
    with only_instance(tmp_path, OWN):
        assert (tmp_path / f"{OWN}.lock").read_text() == str(os.getpid())


def test_the_state_directory_is_made(tmp_path: Path) -> None:
    """With those above it; the file is its owner's alone."""
    with only_instance(tmp_path / "a/b", OWN):
        assert (tmp_path / f"a/b/{OWN}.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("what", ["a file in the way", "a file above", "a link", "a directory"])
def test_a_state_that_cannot_be_used_is_one_line(tmp_path: Path, what: str) -> None:
    """It is named, with the reason."""
    state = tmp_path / "state"
    if what == "a file in the way":
        state.write_bytes(b"")
    elif what == "a file above":
        state.write_bytes(b"")
        state = state / "below"
    else:
        state.mkdir()
        lock = state / f"{OWN}.lock"
        if what == "a link":
            lock.symlink_to(tmp_path / "elsewhere")
        else:
            lock.mkdir()
    with pytest.raises(InputError, match=f"^state {state}: [A-Z][a-z ]+") as caught, only_instance(state, OWN):
        pass
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_with_anything_in_it_is_no_trouble(tmp_path: Path) -> None:
    """Only a number is shown as one."""
    (tmp_path / f"{OWN}.lock").write_bytes(b"\xff\x1b[31m" * 100)
    with only_instance(tmp_path, OWN):
        assert (tmp_path / f"{OWN}.lock").read_text() == str(os.getpid())
