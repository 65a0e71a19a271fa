"""anvil: a real chain node with the newest rules, for tests marked `nodes`. `make test-nodes` installs it from npm."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chains import ACCOUNTS, START, Side
from web3 import Web3

NODES = Path(__file__).parent.parent / ".cache/nodes/node_modules"
_START_SECONDS = 30.0


@contextlib.contextmanager
def running(*options: str, states: int | None = None) -> Iterator[Web3]:
    """A node on a free port of this machine, on which the test accounts have money.

    Args:
        states: blocks whose state it keeps, so that a reorganisation can go back to them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(NODES / ".bin/anvil"), "--port", str(port), "--no-cors", "--silent", "--prune-history"]
    command += [] if states is None else [str(states)]
    process = subprocess.Popen([*command, "--timestamp", str(START), *options])
    try:
        web3 = Web3(Web3.HTTPProvider(f"http://127.0.0.1:{port}", request_kwargs={"timeout": 60}))
        end = time.monotonic() + _START_SECONDS
        while not web3.is_connected():
            assert time.monotonic() < end, "anvil did not start"
            assert process.poll() is None, "anvil ended"
            time.sleep(0.05)  # Waiting for another process; bounded above.
        for account in ACCOUNTS:
            ask(web3, "anvil_setBalance", account, hex(10**24))
        yield web3
    finally:
        process.terminate()
        process.wait(10)


def ask(web3: Web3, method: str, *parameters: Any) -> Any:
    """Calls what only anvil knows."""
    answer = web3.provider.make_request(method, list(parameters))  # type: ignore[arg-type]
    assert "error" not in answer, answer
    return answer["result"]


def anvil_side(web3: Web3) -> Side:
    """A node as one of two twins; its time moves on by one second a block, as eth-tester's does."""
    ask(web3, "anvil_setBlockTimestampInterval", 1)
    return Side(
        web3,
        lambda to: ask(web3, "evm_setNextBlockTimestamp", to),
        lambda: ask(web3, "evm_snapshot"),
        lambda mark: ask(web3, "evm_revert", mark),
    )
