"""The file of a federation to be deployed: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chains import ACCOUNTS
from deployments import CHARTER, MIXED, make_plan, write_federation
from fedpact.deployment.plan import Plan, read_plan
from fedpact.errors import InputError
from fedpact.ledger.facts import address


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("membres = []", "membres: unknown; expected one of charter, "),
        ("owner = 7", "owner: expected text, found the number 7"),
        ("owner = 'me'", "owner: expected an address, 0x and 40 hexadecimal digits, found 'me'"),
        ("owner = '0x" + "0" * 40 + "'", "owner: expected the address of an account, found the zero address"),
        (f"members = ['{MIXED[:-1]}D']", "members.0: expected an address whose capitals are its checksum"),
        (f"members = ['{ACCOUNTS[0]}', '0X{ACCOUNTS[1][2:]}']", "members.1: expected an address"),
        (f"members = ['{MIXED}', '{MIXED.lower()}']", f"members: expected each address once, found {MIXED.lower()} tw"),
        (f"coordinators = ['{MIXED}', '{MIXED}']", "coordinators: expected each address once"),
        ("members = 'all'", "members: expected a list, found 'all'"),
        ("members = [", "Invalid value"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(folder: Path, more: str, said: str) -> None:
    """The setting, what was expected, what was found."""
    with pytest.raises(InputError) as raised:
        read_plan(write_federation(folder, more))
    assert str(raised.value).startswith(f"{folder / 'federation.toml'}: {said}")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_more_members_than_the_contract_can_count_are_refused(folder: Path) -> None:
    """65,535 are not."""
    accounts = [f"0x{number:040x}" for number in range(1, 65_537)]
    with pytest.raises(InputError, match="members: expected at most 65535, found 65536"):
        read_plan(write_federation(folder, f"members = {accounts}"))
    assert len(read_plan(write_federation(folder, f"members = {accounts[:-1]}")).members) == 65_535


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"charter": "none.toml"}, "charter .*none.toml: No such file or directory"),
        ({"charter": "federation.toml"}, "charter .*federation.toml: "),
        ({"genesis": "none.safetensors"}, "genesis: expected a file or 'zeros', found nothing at "),
        ({"genesis": "short"}, "genesis: .*short: expected 188 bytes, found 187"),
        ({"genesis": "other"}, "genesis: .*other: header: names, shapes or dtypes are not those that the charter"),
        ({"genesis": "nan"}, r"genesis: .*nan: expected finite values, found nan at weight\[1, 2\]"),
        ({"genesis": "infinite"}, r"genesis: .*infinite: expected finite values, found -inf at bias\[0\]"),
        ({"genesis": "a\0b"}, "genesis: expected a file or 'zeros', found"),
    ],
)
def test_files_that_are_not_what_the_file_says(folder: Path, names: dict[str, str], said: str) -> None:
    """A charter that is none, and a first model that is not one of the charter's, finite in all of its elements."""
    layout = CHARTER.layout()
    good = {"bias": np.zeros(3, "f4"), "weight": np.zeros((4, 3), "f4")}
    nan = {name: values.copy() for name, values in good.items()}
    infinite = good | {"bias": np.array([-np.inf, 0, 0], "f4")}
    nan["weight"][1, 2] = np.nan
    files = {"short": layout.encode(good)[:-1], "other": bytes(layout.size)}
    files |= {"nan": layout.encode(nan), "infinite": layout.encode(infinite)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_plan(write_federation(folder, **names))


def test_a_file_that_is_good(folder: Path) -> None:
    """Addresses in any case are the same address; a model is taken as it is; the charter is found beside the file."""
    data = CHARTER.layout().encode({"bias": np.ones(3, "f4"), "weight": np.ones((4, 3), "f4")})
    (folder / "model.safetensors").write_bytes(data)
    shout = "0x" + ACCOUNTS[0][2:].upper()
    plan = read_plan(write_federation(folder, f"owner = '{MIXED}'\nmembers = ['{shout}']", genesis="model.safetensors"))
    assert plan == Plan(CHARTER, data, address(MIXED), (ACCOUNTS[0],), ())
    assert read_plan(write_federation(folder)) == make_plan(members=(), coordinators=())
