"""Keys: read from where they are, kept encrypted, and never shown."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest
from eth_account import Account
from fedpact.errors import InputError
from fedpact.files import create
from fedpact.keys import open_to_others, read_account, read_password, stated_address, write_keystore
from fedpact.ledger.ethereum import account_from_key
from runs import FEDPACT, fedpact

SECRET = "5e" * 32
ACCOUNT = account_from_key(bytes.fromhex(SECRET))
ADDRESS = ACCOUNT.address.lower()


def _never() -> str:
    raise AssertionError("nobody is to be asked")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected a keystore, found no file; fedpact key new makes one"),
        (SECRET[:-1].encode(), "expected a keystore or a key of 64 hexadecimal digits, found something else"),
        (b"00" * 32, "expected a keystore or a key of 64 hexadecimal digits, found something else"),
        (b"\xff\xfe", "found bytes that are no text"),
        (b"{" + SECRET.encode(), "not JSON"),
        (json.dumps({"version": 3, "crypto": {"kdf": SECRET}}).encode(), "expected a keystore of version 3"),
        (b"{}", "expected a keystore of version 3"),
        (b"5e" * 40_000, "expected at most 65536 bytes"),
    ],
)
def test_a_key_file_that_is_none_is_named_and_never_shown(tmp_path: Path, content: bytes | None, said: str) -> None:
    """What is in it may be a key with a slip in it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_account(file, {"FEDPACT_PASSWORD": "x"}, _never)
    assert str(raised.value).startswith(f"key file {file}: ")
    assert said in str(raised.value)
    assert "5e5e" not in str(raised.value)


def test_without_a_key_there_is_an_error() -> None:
    """It says where a key may be; a variable that holds none is named."""
    with pytest.raises(InputError, match=r"expected a file \(--key-file\) or the variable FEDPACT_KEY, found neither"):
        read_account(None, {}, _never)
    with pytest.raises(InputError, match="variable FEDPACT_KEY: expected a key of 64 hexadecimal digits") as raised:
        read_account(None, {"FEDPACT_KEY": SECRET + "0"}, _never)
    assert "5e5e" not in str(raised.value)


def test_a_key_is_read_from_where_it_is(tmp_path: Path) -> None:
    """A keystore, whose password is in a file, a variable or asked for; a file with the digits; a variable."""
    (tmp_path / "raw").write_text(f"0x{SECRET}\n")
    (tmp_path / "password").write_text("right\n")
    keystore = tmp_path / "keystore.json"
    keystore.write_text(json.dumps(Account.encrypt(SECRET, "right", kdf="pbkdf2", iterations=2)))
    assert read_account(tmp_path / "raw", {}, _never) == ACCOUNT
    assert read_account(None, {"FEDPACT_KEY": SECRET}, _never) == ACCOUNT
    assert read_account(keystore, {"FEDPACT_PASSWORD": "right"}, _never) == ACCOUNT
    assert read_account(keystore, {}, lambda: "right") == ACCOUNT
    assert read_account(keystore, {"FEDPACT_PASSWORD": "wrong"}, _never, tmp_path / "password") == ACCOUNT
    with pytest.raises(InputError, match="the password is not the keystore's"):
        read_account(keystore, {"FEDPACT_PASSWORD": "wrong"}, lambda: "right")


@pytest.mark.parametrize(
    ("content", "password"), [(b" a b \n", " a b "), (b"a\r\n", "a"), ("ü".encode(), "ü"), (b"x" * 1024, "x" * 1024)]
)
def test_a_password_file_is_one_line(tmp_path: Path, content: bytes, password: str) -> None:
    """Spaces belong to it, the end of the line does not."""
    file = tmp_path / "password"
    file.write_bytes(content)
    assert read_password(file, {"FEDPACT_PASSWORD": "another"}, _never) == password


@pytest.mark.parametrize("content", [None, b"", b"\n", b"hunter2\nhunter2\n", b"hunter2\xff", b"x" * 1025, b"x" * 9999])
def test_another_password_file_is_refused_and_never_shown(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, of several lines, no text, too long."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"^password file {file}: ") as raised:
        read_password(file, {}, _never)
    assert "hunter2" not in str(raised.value)


def test_a_keystore_is_the_standard_one(tmp_path: Path) -> None:
    """Wallets read it; only its owner may; the address is there without the password."""
    file = tmp_path / "keystore.json"
    write_keystore(file, ACCOUNT, "right", iterations=2)
    keystore = json.loads(file.read_bytes())
    assert (keystore["version"], keystore["crypto"]["kdf"], keystore["address"]) == (3, "scrypt", ADDRESS[2:])
    assert Account.decrypt(keystore, "right") == bytes.fromhex(SECRET)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (open_to_others(file), stated_address(file)) == (False, ADDRESS)
    assert [each.name for each in tmp_path.iterdir()] == ["keystore.json"]


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    """Whatever is there stays, and nothing lies beside it."""
    file = tmp_path / "keystore.json"
    file.write_bytes(b"somebody's")
    with pytest.raises(InputError, match="there already, and never written over"):
        write_keystore(file, ACCOUNT, "right", iterations=2)
    with pytest.raises(FileExistsError):
        create(file, b"another")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"keystore.json": b"somebody's"}
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        write_keystore(tmp_path / "none" / "key", ACCOUNT, "right", iterations=2)


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    """It would be no encryption."""
    with pytest.raises(InputError, match="password: expected at least one character, found none"):
        write_keystore(tmp_path / "key", ACCOUNT, "", iterations=2)
    assert not list(tmp_path.iterdir())


def test_a_keystore_that_says_another_address_is_refused(tmp_path: Path) -> None:
    """Its key would pay where nobody expects it."""
    file = tmp_path / "keystore.json"
    write_keystore(file, ACCOUNT, "right", iterations=2)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "address": "ab" * 20}))
    with pytest.raises(InputError, match=rf"expected the key of 0x{'ab' * 20}, as it says, found that of {ADDRESS}"):
        read_account(file, {"FEDPACT_PASSWORD": "right"}, _never)


@pytest.mark.parametrize("secret", ["ff" * 32, "00" * 32, "11" * 31, "11" * 33])
def test_a_keystore_without_a_usable_key_is_refused_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """A key beyond the curve's order, zero, or of another length: one line, and nothing of what was decrypted."""
    file = tmp_path / "owner.json"
    file.write_text(json.dumps(Account.encrypt(SECRET, "x", kdf="pbkdf2", iterations=2)))
    # No library makes such a keystore; somebody could.
    monkeypatch.setattr(Account, "decrypt", lambda *_: bytes.fromhex(secret))
    with pytest.raises(InputError, match="expected a keystore of version 3 with a key, found something else") as raised:
        read_account(file, {"FEDPACT_PASSWORD": "x"}, _never)
    assert raised.value.__suppress_context__
    assert secret[:16] not in str(raised.value)


def test_a_keystore_may_say_no_address(tmp_path: Path) -> None:
    """As the standard allows: then the password is needed."""
    file = tmp_path / "keystore.json"
    write_keystore(file, ACCOUNT, "right", iterations=2)
    keystore = json.loads(file.read_bytes())
    for address in ("", "0xzz", None):
        file.write_text(json.dumps({**keystore, "address": address}))
        assert stated_address(file) is None
        assert read_account(file, {"FEDPACT_PASSWORD": "right"}, _never) == ACCOUNT


# --------------------------------------------------------------------------------------------------------- the commands


def test_new_makes_a_key_that_show_knows(tmp_path: Path) -> None:
    """With the password of a file; one that others may read is a warning."""
    (tmp_path / "password").write_text("right")
    (tmp_path / "password").chmod(0o644)
    done = fedpact("key", "new", "a.json", "--password-file", "password", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["file"]) == (0, "a.json")
    assert done.stderr.startswith("fedpact: warning: password file password: other users of this machine may read it")
    (tmp_path / "password").chmod(0o600)
    shown = fedpact("key", "show", "a.json", cwd=tmp_path)
    assert (shown.stdout, shown.stderr) == (f"{answer['address']}\n", "")
    checked = fedpact("key", "show", "a.json", "--check", "--password-file", "password", cwd=tmp_path)
    assert (checked.stdout, checked.stderr) == (shown.stdout, "")
    wrong = fedpact("key", "show", "a.json", "--check", cwd=tmp_path, variables={"FEDPACT_PASSWORD": "wrong"})
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "fedpact: error: key file a.json: the password is not the keystore's\n",
    )
    again = fedpact("key", "new", "a.json", "--password-file", "password", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "never written over" in again.stderr


def test_import_takes_a_key_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    """And prints its address alone."""
    (tmp_path / "raw").write_text(SECRET)
    variables = {"FEDPACT_PASSWORD": "right"}
    by_file = fedpact("key", "import", "a.json", "--from", "raw", cwd=tmp_path, variables=variables)
    by_pipe = fedpact("key", "import", "b.json", cwd=tmp_path, variables=variables, typed=f"0x{SECRET}\n")
    for done, name in ((by_file, "a.json"), (by_pipe, "b.json")):
        assert (done.returncode, done.stdout, done.stderr) == (0, f"address: {ADDRESS}\n", "")
        assert read_account(tmp_path / name, variables, _never) == ACCOUNT
    slip = fedpact("key", "import", "c.json", cwd=tmp_path, variables=variables, typed=SECRET[1:])
    assert (slip.returncode, slip.stdout) == (2, "")
    assert slip.stderr == "fedpact: error: key: expected a key of 64 hexadecimal digits, found something else\n"
    assert not (tmp_path / "c.json").exists()


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    """It ends with one line, and no file."""
    done = fedpact("key", "new", "a.json", cwd=tmp_path, typed="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fedpact: error: password: expected --password-file, the variable FEDPACT_PASSWORD or a terminal to ask on, "
        "found none\n"
    )
    assert not list(tmp_path.iterdir())


def _type(directory: Path, *answers: str) -> tuple[int, str]:
    """Runs `fedpact key new` on a terminal and answers each question; returns its exit code and what it showed."""
    ours, theirs = pty.openpty()
    shown = b""
    try:
        with subprocess.Popen(
            [FEDPACT, "key", "new", "a.json"],
            cwd=directory,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_")},
        ) as process:
            assert process.stdout is not None
            for answer in answers:
                while not shown.endswith(b": "):
                    piece = os.read(process.stdout.fileno(), 1)
                    assert piece, shown
                    shown += piece
                os.write(ours, answer.encode() + b"\n")
                shown += b"|"
            shown += process.stdout.read()
            return process.wait(60), shown.decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_new_password_is_asked_for_twice(tmp_path: Path) -> None:
    """A slip is found before it costs the account."""
    code, shown = _type(tmp_path, "right", "rihgt")
    assert code == 2
    assert shown.endswith("fedpact: error: password: expected the same twice, found two\n")
    assert not (tmp_path / "a.json").exists()
    code, shown = _type(tmp_path, "right", "right")
    assert code == 0
    assert "right" not in shown
    made = read_account(tmp_path / "a.json", {"FEDPACT_PASSWORD": "right"}, _never)
    assert shown.endswith(f"address: {made.address.lower()}\n")
