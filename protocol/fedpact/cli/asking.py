"""What a person is asked on a terminal, and is not shown while it is typed."""

from __future__ import annotations

import getpass
import sys

from fedpact.errors import InputError

_MAX_TYPED = 1 << 10


def ask_password() -> str:
    """Asks for the password of a keystore.

    Raises:
        InputError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise InputError(
            "password: expected --password-file, the variable FEDPACT_PASSWORD or a terminal to ask on, found none"
        )
    return _ask("password", "password of the key file: ")


def ask_new_password() -> str:
    """Asks for the password of a new keystore, twice.

    Raises:
        InputError: there is no terminal, or the two differ.
    """
    password = ask_password()
    if password and _ask("password", "the same password again: ") != password:
        raise InputError("password: expected the same twice, found two")
    return password


def ask_key() -> str:
    """Asks for a key, or reads the first line of what is piped in.

    Raises:
        InputError: nothing came.
    """
    if sys.stdin.isatty():
        return _ask("key", "key, 64 hexadecimal digits: ")
    return sys.stdin.readline(_MAX_TYPED)


def _ask(name: str, prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise InputError(f"{name}: expected a line, found the end of the input") from None
