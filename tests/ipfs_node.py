"""Real IPFS nodes, for tests marked `nodes`: js-ipfs, which `make test-nodes` installs from npm, or a Kubo.

A Kubo is taken where the variable FEDPACT_TEST_IPFS names one, or `ipfs` is on the PATH. Every node listens on ports of
its own on loopback, knows nobody, looks for nobody, and ends with this process.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ordeal.processes import HOST, Child

INSTALLED = Path(__file__).parent.parent / ".cache/ipfs-node"
_START_SECONDS = 120.0  # Node.js reads 900 packages, on a busy machine several times at once.
_ANY_PORT = f"/ip4/{HOST}/tcp/0"
_ALONE: dict[str, Any] = {
    "Addresses": {"Swarm": [_ANY_PORT], "API": _ANY_PORT, "Gateway": _ANY_PORT, "RPC": _ANY_PORT, "Delegates": []},
    "AutoConf": {"Enabled": False},
    "AutoTLS": {"Enabled": False},
    "Bootstrap": [],
    "DNS": {"Resolvers": {}},
    "Discovery": {"MDNS": {"Enabled": False}, "webRTCStar": {"Enabled": False}},
    "Pubsub": {"Enabled": False},
    "Routing": {"Type": "none"},
    "Swarm": {"DisableNatPortMap": True},
}
"""The settings that keep a node to itself; each kind passes over those of the other."""


class IpfsNode:
    """A node that is stopped and started again.

    Args:
        directory: for its repository and its log; it is made.

    Attributes:
        url: of its RPC, since it was started last.
    """

    def __init__(self, directory: Path) -> None:
        self.url = ""
        self._repository = directory / "repository"
        self._kubo = os.environ.get("FEDPACT_TEST_IPFS") or shutil.which("ipfs")
        directory.mkdir(parents=True)
        (directory / "alone.json").write_text(json.dumps(_ALONE))
        javascript = INSTALLED / "node_modules/ipfs/src/cli.js"
        assert self._kubo or javascript.exists(), f"no IPFS node: `make test-nodes` puts one into {INSTALLED}"
        command: list[str | Path] = ["node", "--require", INSTALLED / "polyfill.cjs", javascript, "daemon"]
        command += ["--init-config", directory / "alone.json", "--enable-preload=false"]
        self._variables = {"IPFS_PATH": str(self._repository), "IPFS_TELEMETRY": "off"}
        if self._kubo:
            command = [self._kubo, "daemon"]
        self.child = Child("ipfs", command, directory, directory / "ipfs.log", self._variables)

    def start(self, *, wait: bool = True) -> None:
        """Starts it, and waits until it answers."""
        if self._kubo and not self._repository.exists():
            environment = {**os.environ, **self._variables}
            command = [self._kubo, "init", "--profile=test", "--empty-repo"]
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_START_SECONDS)
            file = self._repository / "config"
            file.write_text(json.dumps(_merged(json.loads(file.read_text()), _ALONE)))
        (self._repository / "api").unlink(missing_ok=True)
        shutil.rmtree(self._repository / "repo.lock", ignore_errors=True)  # js-ipfs believes for a while in a dead one.
        self.child.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Waits until it answers."""
        end = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, AttributeError):
                found = re.search(r"/tcp/(\d+)", (self._repository / "api").read_text())
                self.url = f"http://{HOST}:{found[1]}"  # type: ignore[index]  # Half a file is an AttributeError.
                self.ask("id")
                return
            assert time.monotonic() < end, f"IPFS node: no answer in {_START_SECONDS:.0f} s: {self.child.said()}"
            assert self.child.ended() is None, f"IPFS node: ended: {self.child.said()}"
            time.sleep(0.05)  # Another process starts; bounded above.

    def ask(self, command: str, body: bytes | None = None, seconds: float = 60.0, **options: Any) -> list[Any]:
        """The lines of an answer to a command of its RPC, each as JSON; names with `_` for `-`."""
        found = self.ask_bytes(command, body, seconds, **options)
        return [json.loads(line) for line in found.splitlines() if line.strip()]

    def ask_bytes(self, command: str, body: bytes | None = None, seconds: float = 60.0, **options: Any) -> bytes:
        """An answer as it is.

        Args:
            body: the one file that goes with the command.

        Raises:
            OSError, http.client.HTTPException: the node is not there.
        """
        query = urlencode({name.replace("_", "-"): value for name, value in options.items()})
        connection = http.client.HTTPConnection(HOST, int(self.url.rpartition(":")[2]), timeout=seconds)
        headers = {}
        if body is not None:
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
            body = head + b"Content-Type: application/octet-stream\r\n\r\n" + body + b"\r\n--x--\r\n"
            headers["Content-Type"] = "multipart/form-data; boundary=x"
        try:
            connection.request("POST", f"/api/v0/{command}?{query}", body, headers)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, f"{command}: {answer[:300]!r}"
            return answer
        finally:
            connection.close()

    def addresses(self) -> list[str]:
        """Where others reach it."""
        return [str(each) for each in self.ask("id")[0]["Addresses"]]

    def connect(self, other: IpfsNode) -> None:
        """Makes two nodes peers."""
        self.ask("swarm/connect", arg=other.addresses()[0])

    def stop(self) -> None:
        """Ends it at once; it can be started again."""
        self.child.kill()

    def close(self) -> None:
        """Ends it for good."""
        self.child.kill()
        self.child.stop()


@contextlib.contextmanager
def running(directory: Path, count: int = 1) -> Iterator[Sequence[IpfsNode]]:
    """Some nodes, each connected to all others."""
    nodes = [IpfsNode(directory / f"ipfs-{number}") for number in range(count)]
    try:
        for node in nodes:
            node.start(wait=False)
        for place, node in enumerate(nodes):
            node.wait()
            for other in nodes[:place]:
                node.connect(other)
        yield nodes
    finally:
        for node in nodes:
            node.close()


def _merged(into: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    found = dict(into)
    for name, value in values.items():
        known = found.get(name)
        found[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return found
