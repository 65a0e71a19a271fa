"""Who asks a command to stop is heard, whatever Python is doing at that moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

DESTRUCTORS = """
import os, signal, time, weakref
from fedpact.cli import main

class Leaving:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000): pass  # Here it is heard, and lost.

class Thing:
    pass

def once_more(_):
    os.kill(os.getpid(), signal.{name})
    for _ in range(1000): pass

def work():
    leaving = Leaving()
    del leaving
    {then}
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.01)
    return 0

main(work)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("then", ["pass", "thing = Thing(); seen = weakref.ref(thing, once_more); del thing"])
def test_a_signal_that_falls_into_a_destructor_is_not_lost(number: signal.Signals, then: str) -> None:
    """One line and the signal's exit code, a moment later; also where the second one meets the same."""
    script = DESTRUCTORS.format(name=number.name, then=then)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "fedpact: error: interrupted\n")
    assert time.monotonic() - began < 15


def test_another_error_in_a_destructor_is_said_as_ever() -> None:
    """It is none of ours."""
    script = (
        "from fedpact.cli import main\n"
        "class Leaving:\n"
        "    def __del__(self): raise KeyError('gone')\n"
        "def work():\n"
        "    Leaving()\n"
        "    return 0\n"
        "main(work)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "Exception ignored in" in done.stderr
    assert "KeyError: 'gone'" in done.stderr
