"""anvil as a chain that is stopped, killed, started again and told to change its mind."""

from __future__ import annotations

import http.client
import json
import os
import time
from pathlib import Path
from typing import Any

from fedpact_simulation.devnet import find_anvil

from ordeal.processes import HOST, Child, free_port

_INSTALLED = Path(__file__).parents[2] / ".cache/nodes/node_modules/.bin/anvil"
_START_SECONDS = 30.0
_STATES = 64  # Blocks whose state it keeps, so that a reorganisation can go back to them.


class Chain:
    """A chain on one port of this machine, whatever happens to the node behind it.

    Args:
        directory: for its state and its log.
        block_time: seconds from block to block; none: a block for every transaction, at once.
        keeps: whether its state is written to a file every second, so that it goes on from there when it is started
            again.
    """

    def __init__(self, directory: Path, *, block_time: float | None = None, keeps: bool = False) -> None:
        program = find_anvil(os.environ) or _INSTALLED
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        command = [str(program), "--host", HOST, "--port", str(self.port), "--no-cors", "--silent"]
        command += ["--prune-history", str(_STATES), "--accounts", "0"]
        command += [] if block_time is None else ["--block-time", f"{block_time:g}"]
        self._state, self._kept = directory / "chain.json", directory / "chain.kept.json"
        command += ["--state", str(self._state), "--state-interval", "1"] if keeps else []
        self.child = Child("anvil", command, directory, directory / "anvil.log", {})

    def keep(self) -> None:
        """Keeps a whole copy of the state: anvil writes the file in place, and may be ended while it does."""
        end = time.monotonic() + _START_SECONDS
        while not _is_whole(data := self._state.read_bytes() if self._state.exists() else b""):
            assert time.monotonic() < end, f"anvil: no state in {_START_SECONDS:.0f} s"
            time.sleep(0.02)  # Another process writes; bounded above.
        self._kept.write_bytes(data)

    def fall_back(self) -> None:
        """Has the node go on from what was kept; it must not run."""
        self._state.write_bytes(self._kept.read_bytes())

    def start(self) -> None:
        """Starts the node, and waits until it answers."""
        if self._kept.exists() and not _is_whole(self._state.read_bytes()):
            self.fall_back()
        self.child.start()
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.ask("eth_chainId")
                return
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < end, f"anvil: no answer in {_START_SECONDS:.0f} s: {self.child.said()}"
                assert self.child.ended() is None, f"anvil: ended at once: {self.child.said()}"
                time.sleep(0.02)  # Another process starts; bounded above.

    def ask(self, method: str, *parameters: Any) -> Any:
        """The result of a request.

        Raises:
            OSError, http.client.HTTPException: the node is not there.
        """
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert "error" not in answer, f"anvil: {method}: {answer['error']}"
        return answer["result"]


def _is_whole(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True
