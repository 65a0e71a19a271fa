"""Private keys: read from where they are kept, and kept encrypted. Neither they nor passwords are part of a message."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from fedpact.artifacts import canonical
from fedpact.errors import InputError, InvalidDocument, LedgerError
from fedpact.files import create
from fedpact.ledger.ethereum import account_from_key
from fedpact.ledger.facts import Address, address

KEY = "FEDPACT_KEY"
"""The variable that may hold a key."""
PASSWORD = "FEDPACT_PASSWORD"  # noqa: S105  # The name of a variable.
"""The variable that may hold the password of a key file."""
_MAX_FILE = 1 << 16
_MAX_PASSWORD = 1024
_SCRYPT = 1 << 18
"""What a password costs to try, as everyone's wallets have it: about a second."""
_RAW = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


def read_account(
    file: Path | None, environment: Mapping[str, str], ask: Callable[[], str], password_file: Path | None = None
) -> LocalAccount:
    """The account of a key.

    Args:
        file: an encrypted keystore (Web3 Secret Storage) or the key itself in hexadecimal digits; without one the
            variable `KEY` holds the latter.
        environment: the process's variables.
        ask: asks a person for the password of a keystore, where nothing else has it.
        password_file: holds the password of a keystore; else the variable `PASSWORD` does.

    Raises:
        InputError: there is no key, or it cannot be read.
    """
    if file is None:
        if not environment.get(KEY):
            expected = f"expected a file (--key-file) or the variable {KEY}, found neither"
            raise InputError(f"key: {expected}; fedpact key new FILE makes one")
        return _account(f"variable {KEY}", environment[KEY])
    name, text = f"key file {file}", _read(file)
    if not text.startswith("{"):
        return _account(name, text, "a keystore or ")
    return _decrypt(name, text, read_password(password_file, environment, ask))


def read_password(file: Path | None, environment: Mapping[str, str], ask: Callable[[], str]) -> str:
    """A keystore's password: what is in the file, else in the variable `PASSWORD`, else what a person types.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    if file is None:
        return environment[PASSWORD] if PASSWORD in environment else ask()
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_PASSWORD + 3)
        password = data.decode().removesuffix("\n").removesuffix("\r")  # An editor's; spaces may be the password's.
    except OSError as error:
        raise InputError(f"password file {file}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"password file {file}: expected text, found other bytes") from None
    if not password or len(password) > _MAX_PASSWORD or "\n" in password:
        raise InputError(f"password file {file}: expected one line of 1 to {_MAX_PASSWORD} bytes, found something else")
    return password


def read_key(text: str, name: str) -> LocalAccount:
    """The account of a key in hexadecimal digits.

    Args:
        name: where the text is from, for the error.

    Raises:
        InputError: it is none.
    """
    return _account(name, text)


def read_key_file(file: Path) -> LocalAccount:
    """The account of a file with a key in hexadecimal digits.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    return _account(f"key file {file}", _read(file))


def stated_address(file: Path) -> Address | None:
    """The account of a key file, without its password: a keystore's own word, which may be missing.

    Raises:
        InputError: the file cannot be read, or is none of a key.
    """
    name, text = f"key file {file}", _read(file)
    if not text.startswith("{"):
        return address(_account(name, text, "a keystore or ").address)
    return _stated(_keystore(name, text))


def write_keystore(file: Path, account: LocalAccount, password: str, *, iterations: int = _SCRYPT) -> None:
    """Writes a key as an encrypted keystore (Web3 Secret Storage, version 3, scrypt) that only its owner may read.

    Args:
        iterations: the cost of scrypt, a power of two; less is for tests.

    Raises:
        InputError: there is a file already, it cannot be written, or the password is empty.
    """
    if not password:
        raise InputError("password: expected at least one character, found none")
    keystore = Account.encrypt(account.key, password, kdf="scrypt", iterations=iterations)
    keystore["address"] = address(account.address).removeprefix("0x")  # As geth writes it.
    try:
        create(file, canonical.encode(keystore) + b"\n")
    except FileExistsError:
        raise InputError(f"key file {file}: there already, and never written over") from None
    except OSError as error:
        raise InputError(f"key file {file}: cannot be written: {error.strerror}") from None


def open_to_others(file: Path) -> bool:
    """Whether other users of this machine may read a file."""
    try:
        return bool(stat.S_IMODE(file.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_FILE + 1)
        text = data.decode().strip()
    except FileNotFoundError:
        raise InputError(f"key file {file}: expected a keystore, found no file; fedpact key new makes one") from None
    except OSError as error:
        raise InputError(f"key file {file}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"key file {file}: expected a keystore or {_EXPECTED}, found bytes that are no text") from None
    if len(data) > _MAX_FILE:
        raise InputError(f"key file {file}: expected at most {_MAX_FILE} bytes")
    return text


_EXPECTED = "a key of 64 hexadecimal digits"


def _account(name: str, text: str, other: str = "") -> LocalAccount:
    found = _RAW.fullmatch(text.strip())
    try:
        if found is not None:
            return account_from_key(bytes.fromhex(found[1]))
    except ValueError:  # Zero, or beyond the curve's order.
        pass
    # What was found may be a key with a slip in it: it is not shown.
    raise InputError(f"{name}: expected {other}{_EXPECTED}, found something else")


def _keystore(name: str, text: str) -> dict[str, Any]:
    try:
        found = canonical.parse(text.encode(), name)
    except InvalidDocument as error:
        raise InputError(str(error)) from None
    if not isinstance(found, dict) or found.get("version") != 3:
        raise InputError(f"{name}: expected a keystore of version 3 with a key, found something else")
    return found


def _stated(keystore: Mapping[str, Any]) -> Address | None:
    try:
        return address("0x" + str(keystore["address"]).lower().removeprefix("0x"))
    except (KeyError, LedgerError):
        return None


def _decrypt(name: str, text: str, password: str) -> LocalAccount:
    keystore = _keystore(name, text)
    try:
        account = account_from_key(bytes(Account.decrypt(json.dumps(keystore), password)))
    except Exception as error:  # Whatever it is, it may quote the key: nothing of it is passed on.
        if isinstance(error, ValueError) and "MAC" in str(error):
            raise InputError(f"{name}: the password is not the keystore's") from None
        raise InputError(f"{name}: expected a keystore of version 3 with a key, found something else") from None
    stated = _stated(keystore)
    if stated not in (None, address(account.address)):
        raise InputError(f"{name}: expected the key of {stated}, as it says, found that of {address(account.address)}")
    return account
