"""A process that is killed (signal 9) at each point of sending an update to a real node, and started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import ask, running
from chains import CHARTER, COORDINATOR, GENESIS, KEYS, LIMITS, MEMBERS, OWNER
from fedpact.ledger.actions import Admit, Appoint, OpenRound
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.events import UpdateSubmitted
from fedpact.ledger.facts import Terms
from fedpact.ledger.port import Follower
from sending import SEND
from web3 import Web3

pytestmark = pytest.mark.nodes

SILO = """
import os, signal, sys
from pathlib import Path
from fedpact.ledger.actions import Submit
from fedpact.ledger.ethereum import EthereumLedger, account_from_key
from fedpact.ledger.facts import Update
from fedpact.store.cid import Cid
from web3 import Web3

url, contract, key, journal, moment, method, number = sys.argv[1:]
account = account_from_key(bytes.fromhex(key))
provider = Web3.HTTPProvider(url)
ask = provider.make_request

def dying(asked, parameters):
    if (asked, moment) == (method, "before"):
        os.kill(os.getpid(), signal.SIGKILL)
    answer = ask(asked, parameters)
    if (asked, moment) == (method, "after"):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

provider.make_request = dying
ledger = EthereumLedger(Web3(provider), contract, [account], journal=Path(journal))
receipt = ledger.send(account.address.lower(), Submit(int(number), Update(Cid.of(b"update"), 100, 500_000, 1000)))
print(receipt.transaction.hex(), ledger.spent.transactions, ledger.spent.reverts)
"""


@pytest.fixture
def web3() -> Iterator[Web3]:
    with running() as web3:
        yield web3


def _open(web3: Web3) -> EthereumLedger:
    """A federation with an open round."""
    ledger, _ = EthereumLedger.deploy(web3, KEYS[0], CHARTER, GENESIS, LIMITS, accounts=KEYS[1:])
    ledger.send(OWNER, Admit(tuple(MEMBERS)))
    ledger.send(OWNER, Appoint(COORDINATOR))
    ledger.send(COORDINATOR, OpenRound(1, Terms(0, 0, ledger.now() + 500, ledger.now() + 900, 1)))  # type: ignore[arg-type]  # A number.
    return ledger


def _silo(web3: Web3, ledger: EthereumLedger, journal: Path, moment: str = "", method: str = "") -> Any:
    url: Any = web3.provider.endpoint_uri  # type: ignore[attr-defined]  # It is one of HTTP.
    key = bytes(KEYS[2].key).hex()
    command = [sys.executable, "-c", SILO, url, ledger.identity.contract, key, str(journal), moment, method, "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("automine", [True, False], ids=["mined at once", "mined later"])
@pytest.mark.parametrize(
    ("moment", "method"),
    [
        pytest.param("before", "eth_feeHistory", id="before the journal"),
        pytest.param("before", SEND, id="in the journal, not sent"),
        pytest.param("after", SEND, id="sent, not answered"),
        pytest.param("before", "eth_getTransactionReceipt", id="sent, no receipt"),
        pytest.param("after", "eth_getTransactionReceipt", id="receipt there, not given"),
    ],
)
def test_one_transaction_whenever_it_is_killed(
    web3: Web3, tmp_path: Path, automine: bool, moment: str, method: str
) -> None:
    """The second process finds out what the first had done; one transaction is on the chain, and nothing failed."""
    ledger = _open(web3)
    ask(web3, "evm_setAutomine", automine)
    killed = _silo(web3, ledger, tmp_path / "journal", moment, method)
    assert (killed.returncode, killed.stdout, killed.stderr) == (-signal.SIGKILL, "", "")
    ask(web3, "evm_setAutomine", True)
    again = _silo(web3, ledger, tmp_path / "journal")
    assert (again.returncode, again.stderr) == (0, "")
    sender = Web3.to_checksum_address(MEMBERS[0])
    assert web3.eth.get_transaction_count(sender, "pending") == web3.eth.get_transaction_count(sender) == 1
    follower = Follower(ledger)
    follower.refresh()
    (entry,) = [entry for entry in follower.entries if isinstance(entry.event, UpdateSubmitted)]
    assert again.stdout.split() == [entry.transaction.hex(), "1", "0"]
