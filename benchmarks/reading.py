"""How long it takes to read a ledger of 100,000 entries from a node, and to fold them; and from what was kept of it.

    python benchmarks/reading.py [ROUNDS] [--no-times]

The node is a process of its own, with a chain of 1,000 rounds of 100 silos, each entry in a block of its own; with
`--no-times` it does not say in its logs when a block was made, as older nodes do not.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fedpact.ledger.abi import Abi
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish, Submit
from fedpact.ledger.artifact import federation
from fedpact.ledger.endpoints import connect
from fedpact.ledger.entry_log import EntryLog
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.events import Entry
from fedpact.ledger.facts import NO_TERMS, Address, Identity, Limits, RoundNumber, Terms, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor, Follower
from fedpact.ledger.view import View
from fedpact.store.cid import Cid

OWNER, COORDINATOR = (Address("0x" + each * 20) for each in ("0a", "0b"))
CHARTER, GENESIS = Cid.of(b"charter"), Cid.of(b"genesis")
LIMITS = Limits(min_quorum=1, min_phase=10, max_round=1000)
IDENTITY = Identity(7, Address("0x" + "c0" * 20))
SILOS = 100


def _entries(rounds: int) -> list[Entry]:
    ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=IDENTITY, now=1_800_000_000)
    silos = [Address(f"0x{each:040x}") for each in range(1, SILOS + 1)]
    ledger.send(OWNER, Admit(tuple(silos)))
    ledger.send(OWNER, Appoint(COORDINATOR))
    for number in map(RoundNumber, range(1, rounds + 1)):
        now = ledger.now()
        ledger.send(COORDINATOR, OpenRound(number, Terms(0, 0, now + 300, now + 400, SILOS)))
        for silo in silos:
            ledger.send(silo, Submit(number, Update(Cid.of(f"{number} {silo}".encode()), 100, 900_000, 2_680)))
        current = ledger.view.rounds[number]
        ledger.send(COORDINATOR, Publish(number, current.transcript, Cid.of(b"%d" % number), GENESIS, NO_TERMS))
    return list(ledger.read(Cursor()).entries)


def _hash(number: int) -> str:
    return "0x" + (b"%32d" % number).hex()


def serve(port: Any, rounds: int, times: bool) -> None:
    """A node; says its port when it is ready."""
    abi, code = Abi(federation().abi), "0x" + federation().runtime.hex()
    logs: dict[int, list[bytes]] = {}
    stamps: dict[int, int] = {}
    for entry in _entries(rounds):
        words = abi.words(entry.event)
        cut = 32 * abi.topics(entry.event)
        log = {
            "address": IDENTITY.contract,
            "topics": ["0x" + words[at : at + 32].hex() for at in range(0, cut, 32)],
            "data": "0x" + words[cut:].hex(),
            "blockHash": _hash(entry.block),
            "blockNumber": hex(entry.block),
            **({"blockTimestamp": hex(entry.time)} if times else {}),
            "transactionHash": "0x" + hashlib.sha256(entry.transaction).hexdigest(),
            "transactionIndex": "0x0",
            "logIndex": hex(entry.position),
            "removed": False,
        }
        logs.setdefault(entry.block, []).append(json.dumps(log).encode())
        stamps[entry.block] = entry.time
    stamps[0] = 0
    head = max(stamps)

    def header(number: int) -> bytes:
        fields = {"number": hex(number), "hash": _hash(number), "parentHash": _hash(number - 1)}
        rest = {"logsBloom": "0x" + bytes(256).hex(), "transactions": [_hash(0)], "timestamp": hex(stamps[number])}
        return json.dumps({**fields, **rest}).encode()

    def answer(asked: Any) -> bytes:
        match asked["method"], asked["params"]:
            case "eth_getLogs", [{"blockHash": block}]:
                found = logs.get(int(bytes.fromhex(block[2:])), [])
            case "eth_getLogs", [{"fromBlock": first, "toBlock": last}]:
                found = [log for block in range(int(first, 16), int(last, 16) + 1) for log in logs.get(block, [])]
            case "eth_getBlockByNumber", [number, _]:
                return _result(asked, header(head if number == "latest" else int(number, 16)))
            case "eth_getBlockByHash", [block, _]:
                return _result(asked, header(int(bytes.fromhex(block[2:]))))
            case _:
                return _result(asked, json.dumps({"eth_chainId": "0x7", "eth_getCode": code}[asked["method"]]).encode())
        return _result(asked, b"[" + b",".join(found) + b"]")

    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = b"[" + b",".join(map(answer, asked)) + b"]" if isinstance(asked, list) else answer(asked)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    port.put(server.server_port)
    server.serve_forever()


def _result(asked: Any, body: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (asked["id"], body)


def measure(rounds: int, *, times: bool) -> None:
    """Prints the figures."""
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    node = context.Process(target=serve, args=(port, rounds, times), daemon=True)
    node.start()
    web3 = connect(f"http://127.0.0.1:{port.get(timeout=300)}")
    path = Path(tempfile.mkdtemp()) / "entries.jsonl"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        ledger = EthereumLedger(web3, IDENTITY.contract)
        _timed("read", lambda: ledger.read(Cursor()))
        follower = Follower(ledger)
        _timed("read and fold", follower.refresh)
        _timed("fold", lambda: View(ledger.identity, follower.entries))
        _timed("refresh, nothing new", follower.refresh)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{len(follower.entries)} entries, {most >> 10} MB at most, {before >> 10} MB before")
        kept = Follower(ledger, EntryLog(path))
        _timed("read, fold and keep", kept.refresh)
        again = _timed("go on from what was kept", lambda: Follower(ledger, EntryLog(path)))
        if again.entries != follower.entries:
            raise RuntimeError("what was kept is not what was read")
        print(f"{path.stat().st_size >> 20} MB kept")
    finally:
        web3.provider.close()  # type: ignore[attr-defined]
        node.terminate()
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _timed(name: str, work: Any) -> Any:
    started, busy = time.perf_counter(), time.process_time()
    done = work()
    print(f"{name}: {time.perf_counter() - started:.2f} s, {time.process_time() - busy:.2f} s of them at work")
    return done


if __name__ == "__main__":
    gc.set_threshold(100_000, 20, 20)  # As the command has it.
    counts = [int(each) for each in sys.argv[1:] if each.isdecimal()]
    measure(*(counts or [1000]), times="--no-times" not in sys.argv)
