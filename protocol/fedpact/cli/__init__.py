"""The `fedpact` command: turns what goes wrong into one line and an exit code. The commands are in `application`."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from fedpact.deferred import defer
from fedpact.errors import FedpactError, Interrupted

_MOMENT = 0.01
"""Seconds until an interruption that was lost comes again."""


def main(work: Callable[[], int] | None = None) -> NoReturn:
    """The console script.

    Args:
        work: what another program does in place of the command that was typed, and its exit code. It is interrupted,
            fails and ends as a command does.
    """
    # What is imported stays: looking through it again and again for garbage would be a fifth of the time that it takes.
    gc.set_threshold(100_000, 20, 20)
    # Keys of accounts come with those of validators, whose pairings nobody here computes: a second for each process.
    defer("py_ecc.optimized_bls12_381.optimized_pairing")
    defer("py_ecc.bls12_381.bls12_381_pairing")
    logging.basicConfig(level=logging.ERROR, format="fedpact: %(message)s")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _once_more
    try:
        code = run(*sys.argv[1:] or ["--help"]) if work is None else work()
        sys.stdout.flush()
        _leave(code)
    except Interrupted as error:
        if error.exit_code == 0:  # A service that was asked to stop, and said so.
            _leave(0)
        _fail(str(error), error.exit_code)
    except FedpactError as error:
        _fail(error.in_full, error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say to anyone.
        _leave(1)
    except OSError as error:
        _fail(f"output: {error.strerror or error}", 1)
    except Exception as error:
        # The command line's own errors, whichever library under typer they come from.
        if not hasattr(error, "format_message"):
            raise
        from fedpact.cli import usage

        if usage.asks_for_help(error):
            sys.stdout.write(f"{error.format_message()}\n")
            _leave(0)
        _fail(usage.in_words(error), 2)


def run(*arguments: str) -> int:
    """Runs a command within this process; returns its exit code.

    Raises:
        FedpactError: it failed.
        Interrupted: a signal asked it to stop, which only a process that began with `main` understands.
    """
    # Only now, so that an interrupt is understood from the first moment on.
    from fedpact.cli.application import application

    code = application()(list(arguments), prog_name="fedpact", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # What cleans up after the first signal must not be cut off by a second.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted(number)


def _once_more(unraisable: sys.UnraisableHookArgs) -> None:
    """An interruption that fell into a destructor, out of which Python lets no error, comes again a moment later."""
    error = unraisable.exc_value
    if not isinstance(error, Interrupted):
        sys.__unraisablehook__(unraisable)
        return
    asked = error.exit_code - 128
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(asked))
    signal.setitimer(signal.ITIMER_REAL, _MOMENT)


def _fail(message: str, code: int) -> NoReturn:
    one_line = "".join(each if each.isprintable() else " " for each in " ".join(message.split()))
    sys.stderr.write(f"fedpact: error: {one_line}\n")
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Ends the process, once all that it wrote is on its way. Python would take half a second to take apart an EVM and
    scikit-learn, object by object; the system frees them at once."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # It is none where the shell closed it.
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)
