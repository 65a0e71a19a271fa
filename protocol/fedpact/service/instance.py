"""One process for each key: two that send with one key would take each other's nonces."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpact.errors import InputError
from fedpact.ledger.facts import Address


@contextmanager
def only_instance(state: Path, account: Address) -> Iterator[None]:
    """Holds the lock of a key in the state directory, for as long as the context or the process lasts.

    Raises:
        InputError: another process holds it, or the directory cannot be used.
    """
    path = state / f"{account}.lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(f"state {state}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise InputError(
                f"account {account}: another process{f' ({holder})' if holder.isdecimal() else ''} runs with its key, "
                f"by {path}; one at a time"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
