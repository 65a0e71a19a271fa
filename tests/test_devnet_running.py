"""`fedpact devnet --running`: money on a chain that runs already."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chains import STRANGER
from fedpact_simulation.devnet import EthTesterNode
from runs import fedpact
from web3 import Web3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A chain that runs."""
    node = EthTesterNode(count=2, block_time=0.2)
    yield node.url
    node.stop()


def test_money_is_given_and_nothing_started(url: str) -> None:
    """To each account that is named, and it says so."""
    done = fedpact("devnet", "--running", url, "--fund", STRANGER)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{STRANGER}  100 ether\n", "")
    web3 = Web3(Web3.HTTPProvider(url))
    assert web3.eth.get_balance(Web3.to_checksum_address(STRANGER), "pending") == 100 * 10**18


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://127.0.0.1:1"], "expected --fund with it"),
        (["http://127.0.0.1:1", "--fund", STRANGER], "expected a devnet at this URL, found none: "),
        (["file:///etc/passwd", "--fund", STRANGER], "expected a URL, http://host:port, found otherwise"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], said: str) -> None:
    """Nobody to give to, nobody there, no URL of a chain."""
    done = fedpact("devnet", "--running", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("fedpact: error: running: ")
    assert said in done.stderr
