"""A service's figures in the format of Prometheus, and its health, over HTTP.

GET /metrics    the figures
GET /health     200 while the last step went well, 503 with a line that says what went wrong
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from fedpact.errors import InputError
from fedpact.ledger.facts import SCORE_UNIT, Address, Phase
from fedpact.ledger.view import View

WEI = 10**18


class Figures:
    """The figures of one coordinator or silo.

    Args:
        role: `coordinator` or `silo`.
    """

    def __init__(self, role: str, account: Address) -> None:
        self.registry = CollectorRegistry()
        self._trouble = ""
        self._gauges: dict[str, Gauge] = {}
        self._role = {"role": role, "account": account}
        self.excluded = Counter(
            "fedpact_excluded", "Updates excluded, by reason.", [*self._role, "reason"], registry=self.registry
        )
        self.failures = Counter("fedpact_failures", "Steps that failed.", [*self._role], registry=self.registry)
        self.failures.labels(**self._role)

    def set(self, name: str, help: str, value: float) -> None:  # noqa: A002  # As Prometheus calls it.
        """Sets a figure; it is made when it is first set."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"fedpact_{name}", help, [*self._role], registry=self.registry)
        self._gauges[name].labels(**self._role).set(value)

    def saw(self, view: View, now: int, confirmed: int) -> None:
        """Takes over what a view says.

        Args:
            now: the ledger's time.
            confirmed: the last block that counts as confirmed.
        """
        current = view.round
        self.set("round", "The round that is open, or was last.", view.number)
        phase = Phase.IDLE if current is None else current.phase(now)
        self.set("phase", "0 idle, 1 registration, 2 commitment, 3 submission, 4 publication, 5 takeover.", phase)
        self.set("submissions", "Submissions of that round.", 0 if current is None else len(current.submissions))
        self.set("expected", "Members that it waits for.", 0 if current is None else current.awaited)
        self.set("published_rounds", "Rounds that ended with a model.", len(view.published))
        self.set("confirmed_block", "The last block that counts as confirmed.", confirmed)
        self.set("ledger_seconds", "The ledger's time: that of the next block.", now)
        self.set("lag_seconds", "How far the ledger's time is behind this machine's.", time.time() - now)

    def spent(self, gas: int, wei: int, balance: int) -> None:
        """Takes over what the account has spent since the start, and what is left."""
        self.set("gas_used", "Gas of the transactions since the start.", gas)
        self.set("spent_ether", "What they cost.", wei / WEI)
        self.set("balance_ether", "What is left on the account.", balance / WEI)

    def moved(self, read: int, written: int) -> None:
        """Takes over how much went out of and into the store."""
        self.set("store_read_bytes", "Read from stores.", read)
        self.set("store_written_bytes", "Written to stores.", written)

    def scored(self, score: float) -> None:
        """Takes over the members' mean score, in millionths."""
        self.set("mean_score", "The members' mean score of the last published round.", score / SCORE_UNIT)

    def exclude(self, reason: str) -> None:
        """Counts an excluded update."""
        self.excluded.labels(**self._role, reason=reason).inc()

    def failed(self, error: Exception) -> None:
        """Takes note that a step failed."""
        self._trouble = str(error)
        self.failures.labels(**self._role).inc()

    def went_well(self) -> None:
        """Takes note that a step did not fail."""
        self._trouble = ""

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Offers them for as long as the context lasts; yields the port.

        Raises:
            InputError: the port cannot be had.
        """
        try:
            server = (_Server6 if ":" in host else _Server)((host, port), _Silent)
        except (OSError, OverflowError) as error:
            raise InputError(f"metrics {host}:{port}: {getattr(error, 'strerror', None) or error}") from None
        server.set_app(self._answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True, name="figures")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            found: Iterable[bytes] = make_wsgi_app(self.registry)(environ, start)
            return found
        status, body = "404 Not Found", "see /metrics and /health"
        if path == "/health":
            status, body = ("503 Service Unavailable", self._trouble) if self._trouble else ("200 OK", "ok")
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")])
        return [body.encode() + b"\n"]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each in a thread of its own: whoever connects and asks nothing keeps nobody waiting."""

    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        # Not the name that belongs to the address: to ask for it may take seconds.
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: whoever asked has gone."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # As the class above calls it.
        """Says nothing: whoever looks at figures does so every few seconds."""
