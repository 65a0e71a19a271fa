"""How a service that is asked to stop ends. Nothing is imported here, so that it holds from the first moment on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from fedpact.errors import Interrupted


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is how the system asks a service to stop: that is no failure, so its exit code is 0.

    Raises:
        Interrupted: with the exit code of the process.
    """
    try:
        yield
    except Interrupted as error:
        if error.exit_code == 128 + signal.SIGTERM:
            error.exit_code = 0
        raise
