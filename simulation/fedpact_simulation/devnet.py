"""A local chain that programs reach over HTTP: anvil as a process of its own, or `devchain` behind JSON-RPC.

Both listen on this machine only, make a block at an interval, and give the same test accounts money.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from fedpact.artifacts import canonical
from fedpact.errors import FedpactError, InputError, InvalidDocument, LedgerError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from fedpact.ledger.facts import Address

    from fedpact_simulation.devchain import DevChain

ANVIL, ETH_TESTER = "anvil", "eth-tester"
ANVIL_VARIABLE = "FEDPACT_ANVIL"
"""The variable that may name anvil's program."""
MNEMONIC = "test test test test test test test test test test test junk"
"""What development chains make their accounts from; everyone knows these keys."""
HOST = "127.0.0.1"
_BALANCE = 10_000
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_MAX_BODY = 4 << 20
_MAX_BATCH = 1000
_IDLE_SECONDS = 60.0
# Starts a program, and ends everything that it started when our end of the pipe closes: whatever way this process ends.
_UNTIL_WE_END = 'exec 3<&0; (cat >/dev/null; kill -KILL 0) <&3 3<&- & exec "$@" </dev/null 3<&-'


class Node(Protocol):
    """A chain that runs."""

    url: str

    def wait(self) -> None:
        """Returns when the node has ended by itself."""
        ...

    def stop(self) -> None:
        """Ends it."""
        ...


def accounts(count: int) -> list[LocalAccount]:
    """The test accounts."""
    from eth_account import Account

    Account.enable_unaudited_hdwallet_features()
    return [Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}") for index in range(count)]


def find_anvil(environment: Mapping[str, str]) -> str | None:
    """Where anvil is, if it is installed.

    Raises:
        InputError: the variable names something else than a program.
    """
    named = environment.get(ANVIL_VARIABLE)
    if not named:
        return shutil.which(ANVIL, path=environment.get("PATH"))
    found = shutil.which(named)
    if found is None:
        raise InputError(f"variable {ANVIL_VARIABLE}: expected the path of anvil, found no program at {named[:200]}")
    return found


# --------------------------------------------------------------------------------------------------------------- anvil


class AnvilNode:
    """anvil as a process of its own, which ends with this one, however that ends.

    Args:
        program: its path.
        port: to listen on.
        count: of the accounts with money.
        block_time: seconds from block to block.
        state: a file that keeps the chain from one run to the next.

    Raises:
        InputError: the port is taken.
        FedpactError: it does not start.
    """

    def __init__(
        self, program: str, *, port: int = 0, count: int = 10, block_time: float = 1.0, state: Path | None = None
    ) -> None:
        with _listening(port) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://{HOST}:{port}"
        numbers = {"--port": port, "--accounts": count, "--balance": _BALANCE, "--block-time": f"{block_time:g}"}
        command = [program, "--host", HOST, "--mnemonic", MNEMONIC, "--prune-history", "--no-cors", "--silent"]
        command += [str(each) for option in numbers.items() for each in option]
        if state is not None:
            command += ["--state", str(state), "--state-interval", "1"]
        try:
            # A session of its own: a signal from the terminal is for us to handle, and all of it can be ended at once.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_WE_END, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise FedpactError(f"anvil: cannot be started: {error.strerror}") from None
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        self._process.wait()

    def stop(self) -> None:
        """Ends it; it writes its state first."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        cast(IO[bytes], self._process.stdin).close()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise FedpactError(f"anvil: ended at once, with exit code {self._process.returncode}")
            with contextlib.suppress(OSError):
                _ask(self.url, "eth_chainId")
                return
            time.sleep(0.02)  # For a process to start; bounded above.
        raise FedpactError(f"anvil: no answer after {_START_SECONDS:g} s")


def chain_id(url: str) -> int:
    """The id of the chain behind a URL. Raises OSError where there is none."""
    return _number(url, "eth_chainId")


def fund(url: str, chain: int, rich: LocalAccount, others: Sequence[Address]) -> None:
    """Sends an account's money to others, 100 ether each.

    Raises:
        LedgerError: the node did not take it.
    """
    from eth_utils.address import to_checksum_address

    try:
        first = _number(url, "eth_getTransactionCount", rich.address, "latest")
    except OSError as error:
        raise LedgerError(f"fund: the node does not say what was sent: {error}") from None
    for nonce, other in enumerate(others, first):
        transaction: dict[str, Any] = {
            "to": to_checksum_address(other),
            "value": 100 * 10**18,
            "gas": 21_000,
            "nonce": nonce,
            "chainId": chain,
            "maxFeePerGas": 100 * 10**9,
            "maxPriorityFeePerGas": 1,
            "type": 2,
        }
        signed = rich.sign_transaction(transaction)
        try:
            _ask(url, "eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        except OSError as error:
            raise LedgerError(f"fund {other}: the node did not take it: {error}") from None


def _number(url: str, method: str, *parameters: str) -> int:
    """A number that a node gives. Raises OSError where it does not."""
    found = _ask(url, method, *parameters)
    if not re.fullmatch("0x[0-9a-fA-F]{1,64}", found):
        raise OSError(f"{method}: expected a number, found {found[:80]!r}")
    return int(found, 16)


def _ask(url: str, method: str, *parameters: str) -> str:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # Our own URL.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return str(json.loads(answer.read(1 << 16))["result"])
    except (HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:  # Of whatever else answers there.
        raise OSError(f"no answer of a node ({type(error).__name__})") from None


# ---------------------------------------------------------------------------------------------------------- eth-tester


class EthTesterNode:
    """`DevChain` behind JSON-RPC over HTTP, with a thread that makes the blocks.

    Args:
        port: to listen on.
        count: of the accounts with money.
        block_time: seconds from block to block.

    Raises:
        InputError: the port is taken.
    """

    def __init__(self, *, port: int = 0, count: int = 10, block_time: float = 1.0) -> None:
        with _listening(port) as listening:
            from fedpact_simulation.devchain import DevChain

            self.chain = DevChain([bytes.fromhex(each.address[2:]) for each in accounts(count)])
            self._server = _Server((HOST, port), _Handler, bind_and_activate=False)
            self._server.chain = self.chain
            self._server.socket.close()
            self._server.socket = listening.dup()
        self._server.server_address = self._server.socket.getsockname()
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self._stopped = threading.Event()
        self._block_time = block_time
        self._threads = [
            threading.Thread(target=work, name=f"fedpact-devnet-{name}", daemon=True)
            for name, work in (("server", self._server.serve_forever), ("blocks", self._make_blocks))
        ]
        for each in self._threads:
            each.start()

    def wait(self) -> None:
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        for each in self._threads:
            each.join(_STOP_SECONDS)

    def _make_blocks(self) -> None:
        while not self._stopped.wait(self._block_time):
            self.chain.tick()


def _listening(port: int) -> socket.socket:
    """A socket that listens on a port of this machine.

    Raises:
        InputError: the port is taken, or not for us.
    """
    try:
        return socket.create_server((HOST, port), backlog=128)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while ")[0]
        raise InputError(f"port {port}: cannot listen there: {reason}") from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    chain: DevChain

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nobody to tell."""


class _Handler(BaseHTTPRequestHandler):
    """JSON-RPC 2.0, for programs on this machine: a page in a browser gets no answer, under whatever name it comes."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if (self.headers.get("Host") or "").rpartition(":")[0] not in (HOST, "localhost"):
            self._send(403, b"expected the host 127.0.0.1 or localhost\n")
        elif self.headers.get_content_type() != "application/json":
            self._send(415, b"expected application/json\n")
        elif not length.isdecimal() or self.headers.get("Transfer-Encoding"):
            self._send(411, b"expected Content-Length\n")
        elif len(length) > 9 or int(length) > _MAX_BODY:
            self._send(413, b"expected at most %d bytes\n" % _MAX_BODY)
        else:
            answer = _answer(cast(_Server, self.server).chain, self.rfile.read(int(length)))
            if answer is None:
                self._send(204, b"", "application/json")
            else:
                self._send(200, json.dumps(answer).encode(), "application/json")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # As in the standard library.
        pass

    def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status >= 400:  # What is left of the request would be taken for the next one.
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)


def _answer(chain: DevChain, body: bytes) -> Any:
    """The answer to one request or to several; none where nobody asked for one."""
    try:
        asked = canonical.parse(body, "request")  # It bounds the depth.
    except InvalidDocument:
        return _error(None, -32700, "expected JSON")
    if not isinstance(asked, list):
        return _answer_one(chain, asked)
    if not 0 < len(asked) <= _MAX_BATCH:
        return _error(None, -32600, f"expected 1 to {_MAX_BATCH} requests at once, found {len(asked)}")
    answers = [answer for each in asked if (answer := _answer_one(chain, each)) is not None]
    return answers or None


def _answer_one(chain: DevChain, asked: Any) -> dict[str, Any] | None:
    from fedpact_simulation.devchain import RpcError

    if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
        return _error(None, -32600, "expected an object with a method")
    number, parameters = asked.get("id"), asked.get("params", [])
    try:
        if not isinstance(parameters, list):
            raise RpcError(-32602, "invalid parameters: expected a list")
        answer = {"jsonrpc": "2.0", "id": number, "result": chain.answer(asked["method"], parameters)}
    except RpcError as error:
        answer = _error(number, error.code, str(error), error.data)
    except Exception as error:  # A mistake in what we stand on must not look like a node that is gone.
        answer = _error(number, -32603, f"internal error: {type(error).__name__}")
    return answer if "id" in asked else None


def _error(number: Any, code: int, message: str, data: bytes | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = f"0x{data.hex()}"
    return {"jsonrpc": "2.0", "id": number, "error": error}


def start(
    engine: str | None,
    environment: Mapping[str, str],
    *,
    port: int = 0,
    count: int = 10,
    block_time: float = 1.0,
    state: Path | None = None,
) -> tuple[str, Node]:
    """Starts a chain; returns which one, and the chain.

    Args:
        engine: `ANVIL` or `ETH_TESTER`; anvil where it is installed if none is named.
        environment: the process's variables, which say where anvil is.

    Raises:
        InputError: what is asked for is not there.
        FedpactError: it does not start.
    """
    program = None if engine == ETH_TESTER else find_anvil(environment)
    if engine == ANVIL and program is None:
        raise InputError(f"engine: expected anvil on the PATH or in the variable {ANVIL_VARIABLE}, found it in neither")
    if program is not None:
        return ANVIL, AnvilNode(program, port=port, count=count, block_time=block_time, state=state)
    if state is not None:
        raise InputError("state: expected anvil, which can keep it; eth-tester forgets everything")
    return ETH_TESTER, EthTesterNode(port=port, count=count, block_time=block_time)


ENGINES: Sequence[str] = (ANVIL, ETH_TESTER)
