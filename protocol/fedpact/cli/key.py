"""`fedpact key`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpact.cli.options import AsJson, warn, with_settings
from fedpact.errors import InputError
from fedpact.settings import Settings, key_file

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

key_group = typer.Typer(help="Keys, kept encrypted.", no_args_is_help=True, rich_markup_mode=None)
_Keystore = Annotated[Path, typer.Argument(metavar="FILE", help="The keystore to write; never over another file.")]


@key_group.command()
@with_settings("password_file")
def new(settings: Settings, file: _Keystore, as_json: AsJson = False) -> None:
    """Make a new key, and print its address.

    FILE is a keystore as Ethereum wallets have it (version 3, scrypt). The password comes from --password-file, else
    from the variable FEDPACT_PASSWORD, else it is asked for. Whoever loses file or password has lost the account.

    \b
    Examples:
      fedpact key new owner.json
      fedpact key new silo.json --password-file silo.password
    """
    from eth_account import Account

    _check_free(file)
    _write(file, Account.create(), settings, as_json=as_json)


@key_group.command("import")
@with_settings("password_file")
def import_(
    settings: Settings,
    file: _Keystore,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="KEY", help="A file with the key, 64 hexadecimal digits; else it is asked for."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a key that you have in a keystore, and print its address.

    The key is asked for, or read from --from or a pipe; it is never on the command line.

    \b
    Examples:
      fedpact key import owner.json
      fedpact key import owner.json --from owner.key
    """
    from fedpact.cli.asking import ask_key
    from fedpact.keys import read_key, read_key_file

    _check_free(file)
    account = read_key(ask_key(), "key") if source is None else read_key_file(source)
    _write(file, account, settings, as_json=as_json)


@key_group.command()
@with_settings("password_file")
def show(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A keystore, or a file with a key.")],
    check: Annotated[
        bool, typer.Option("--check", help="Decrypt it: whether the password fits, and the address is the key's.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the address of a key; never the key.

    A keystore says its address itself, so no password is needed where it does. --check decrypts it all the same.

    \b
    Example:
      fedpact key show owner.json --check
    """
    from fedpact.keys import stated_address
    from fedpact.ledger.facts import address

    found = None if check else stated_address(file)
    if found is None:
        found = address(_account(settings, file).address)
    if as_json:
        _answer(file, found, as_json=True)
    else:
        typer.echo(found)  # Alone, for whoever puts it into a file.


def read_owner(settings: Settings) -> LocalAccount:
    """The account of the key that the settings name.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    return _account(settings, key_file(settings, os.environ))


def _account(settings: Settings, file: Path | None) -> LocalAccount:
    from fedpact.cli.asking import ask_password
    from fedpact.keys import read_account

    _check_password_file(settings)
    return read_account(file, os.environ, ask_password, settings.password_file)


def _check_password_file(settings: Settings) -> None:
    """Says where a password lies open."""
    from fedpact.keys import open_to_others

    path = settings.password_file
    if path is not None and open_to_others(path):
        warn(f"password file {path}: other users of this machine may read it (chmod 600 {path})")


def _check_free(file: Path) -> None:
    """Finds out before anything is asked whether the file can be written.

    Raises:
        InputError: it cannot.
    """
    from fedpact.files import check_can_be_made

    try:
        if file.exists() or file.is_symlink():
            raise InputError(f"key file {file}: there already, and never written over")
        check_can_be_made(file)
    except (OSError, ValueError) as error:
        raise InputError(f"key file {file}: cannot be written: {getattr(error, 'strerror', error)}") from None


def _write(file: Path, account: LocalAccount, settings: Settings, *, as_json: bool) -> None:
    from fedpact.cli.asking import ask_new_password
    from fedpact.keys import read_password, write_keystore
    from fedpact.ledger.facts import address

    _check_password_file(settings)
    write_keystore(file, account, read_password(settings.password_file, os.environ, ask_new_password))
    _answer(file, address(account.address), as_json=as_json)


def _answer(file: Path, found: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"address": found, "file": str(file)}) + "\n")
    else:
        typer.echo(f"address: {found}")
