"""A connection to a chain through one or several JSON-RPC endpoints, of which any may fail.

Every request has a deadline, and is repeated with growing pauses and at the next endpoint while that can help: where
there was no connection, no whole answer, no JSON, or too much to do (429, 5xx). A JSON-RPC error is an answer like any
other (a revert, a nonce that is too low, a range that is too wide), but for those that say "too many requests".

An answer is bounded in bytes before it is read, and in how many values it may hold before it is parsed: each takes
memory, the empty ones many times that of their bytes.

An endpoint of another chain is never asked again. One whose head is behind that of another is asked only when no other
answers; which one is right where they differ for long, this cannot know. A URL may hold a key: nothing but its host and
port is ever shown.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from web3 import Web3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from fedpact.artifacts import canonical
from fedpact.errors import InputError, InvalidDocument, LedgerError
from fedpact.ledger.exchange import Exchange, Failed, TooLarge

logger = logging.getLogger(__name__)

TOO_LARGE = -32008  # As nodes say it themselves.
_TOO_MANY_REQUESTS = (429, -32005, -32007)
# Nodes use -32005 for answers with too many results, too: to ask again would give the same.
_TOO_MANY_RESULTS = re.compile(r"result|range|block|log|size", re.IGNORECASE)
_SEND = "eth_sendRawTransaction"
_LOGS = "eth_getLogs"
_MAX_BYTES = 4 << 20  # Of any answer but logs, which are asked for in smaller ranges where they are too much.
# What we ask for has a comma or bracket in 30 bytes or more; a short answer may have any.
_ANY_VALUES, _BYTES_PER_VALUE = 1 << 16, 16
_BLOCKS_BEHIND = 3
_LONGEST_REST = 600.0
_random = secrets.SystemRandom()


class NoAnswer(LedgerError):
    """No endpoint of a chain gave an answer."""

    advice = "look whether --rpc names a node of the chain, and whether it is up; several may be named"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what (seconds), and for how much.

    Attributes:
        connect: for a connection.
        answer: for a whole answer.
        total: for an answer with all repetitions.
        laps: how often each endpoint is asked at most.
        pause: the first pause; each is up to twice as long as the one before.
        longest_pause: the longest, even where a server asks for a longer one.
        survey: between two looks at the heads of all endpoints.
        max_bytes: of an answer; where it is none of `eth_getLogs`, 4 MiB are the most in any case.
    """

    connect: float = 5.0
    answer: float = 30.0
    total: float = 90.0
    laps: int = 5
    pause: float = 0.1
    longest_pause: float = 20.0
    survey: float = 10.0
    max_bytes: int = 16 << 20


def connect(urls: str | Sequence[str], *, chain_id: int | None = None, patience: Patience | None = None) -> Web3:
    """A connection to a chain. `web3.provider.close()` ends it.

    Args:
        urls: of its endpoints, the preferred one first.
        chain_id: which chain it must be. Where it is None, the first of several endpoints that answers decides.

    Raises:
        InputError: a URL is none of HTTP.
    """
    each = [urls] if isinstance(urls, str) else list(urls)
    web3 = Web3(Endpoints(each, chain_id=chain_id, patience=patience or Patience()))
    # Chains of appointed validators put their signatures where others have at most 32 bytes.
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3


@dataclass(slots=True, eq=False)
class _Endpoint:
    """One endpoint, and what is known of it.

    Attributes:
        name: scheme, host and port.
        refused: why it is never asked again.
        checked: whether it is known to be of the right chain.
        failures: how often it failed since it last answered.
        rests_until: when it may be asked again before others.
        head: its last block when the heads were last looked at.
        doubted: how often what it said made no sense.
    """

    name: str
    exchange: Exchange
    refused: str = ""
    checked: bool = False
    failures: int = 0
    rests_until: float = 0.0
    head: int | None = None
    doubted: int = 0


@dataclass(slots=True)
class _Attempt:
    """One request on its way through the endpoints.

    Attributes:
        said: what each endpoint said last.
        done: endpoints that are not asked this again.
        unknown: how often each may have taken it without saying so.
    """

    method: str
    body: bytes
    ids: list[Any]
    end: float
    said: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    unknown: dict[str, int] = field(default_factory=dict)


class _Trouble(Exception):
    """An endpoint gave no answer that can be used.

    Attributes:
        wait: seconds that it asks for.
        final: whether it would say the same again.
        unsent: whether it cannot have seen the request.
    """

    def __init__(self, why: str, *, wait: float = 0.0, final: bool = False, unsent: bool = False) -> None:
        super().__init__("".join(each if each.isprintable() else "?" for each in why[:200]))
        self.wait, self.final, self.unsent = wait, final, unsent


class Endpoints(JSONBaseProvider):
    """Several endpoints as one provider of web3. Threads may share it. See `connect`."""

    def __init__(self, urls: Sequence[str], *, chain_id: int | None, patience: Patience) -> None:
        super().__init__()
        if not urls:
            raise InputError("rpc: expected the URL of a node, found none")
        self._patience = patience
        self._chain_id = chain_id
        self._endpoints: list[_Endpoint] = []
        for url in urls:
            name = _name(url)
            same = sum(endpoint.name.split(" ")[0] == name for endpoint in self._endpoints)
            exchange = Exchange(url, connect=patience.connect)
            self._endpoints.append(_Endpoint(f"{name} ({same + 1})" if same else name, exchange))
        self._answered: _Endpoint | None = None
        self._surveyed = -patience.survey
        self._surveying = threading.Lock()

    def __str__(self) -> str:
        return ", ".join(endpoint.name for endpoint in self._endpoints)

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """As web3 expects it.

        Raises:
            NoAnswer: no endpoint answered.
        """
        body = self.encode_rpc_request(method, params)
        return cast(RPCResponse, self._ask(str(method), body, [json.loads(body)["id"]], batch=False))

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse] | RPCResponse:
        """As `make_request`, for several at once; one error where the endpoint takes no batches."""
        each = [self.encode_rpc_request(method, params) for method, params in requests]
        ids = [json.loads(body)["id"] for body in each]
        return cast(
            list[RPCResponse] | RPCResponse,
            self._ask(f"{requests[0][0]} and others", b"[" + b",".join(each) + b"]", ids, batch=True),
        )

    def is_connected(self, show_traceback: bool = False) -> bool:
        try:
            return super().is_connected(show_traceback)
        except NoAnswer:
            return False

    def doubt(self) -> None:
        """What was answered last makes no sense together: another endpoint is asked first for a while, if there is one.

        Each time for twice as long: an endpoint that lies about its head looks like the best one.
        """
        endpoint = self._answered
        if endpoint is not None and len(self._endpoints) > 1:
            rest = min(self._patience.longest_pause * 2**endpoint.doubted, _LONGEST_REST)
            endpoint.doubted = min(endpoint.doubted + 1, 10)
            endpoint.rests_until = time.monotonic() + rest
            logger.warning("rpc %s: its answers contradict one another; others first for %d s", endpoint.name, rest)

    def close(self) -> None:
        """Closes all connections."""
        for endpoint in self._endpoints:
            endpoint.exchange.close()

    # ------------------------------------------------------------------------------------------------ the next endpoint

    def _ask(self, method: str, body: bytes, ids: list[Any], *, batch: bool) -> Any:
        now = time.monotonic()
        if len(self._endpoints) > 1 and now - self._surveyed >= self._patience.survey:
            self._survey()
        attempt = _Attempt(method, body, ids, now + self._patience.total)
        for lap in range(self._patience.laps):
            for endpoint in self._in_order():
                if endpoint.name in attempt.done:
                    continue
                if time.monotonic() >= attempt.end:
                    break
                try:
                    self._check(endpoint, attempt.end)
                    answer = self._post(endpoint, attempt, batch=batch)
                except _Trouble as trouble:
                    self._note(endpoint, attempt, trouble)
                else:
                    if endpoint.failures > 1:
                        logger.info("rpc %s: answers again", endpoint.name)
                    endpoint.failures, endpoint.rests_until = 0, 0.0
                    self._answered = endpoint
                    return answer
            open_ = [each for each in self._in_order() if each.name not in attempt.done]
            pause = self._pause(lap, open_)
            if not open_ or lap + 1 == self._patience.laps or time.monotonic() + pause >= attempt.end:
                break
            time.sleep(pause)
        said = {endpoint.name: endpoint.refused for endpoint in self._endpoints if endpoint.refused} | attempt.said
        raise NoAnswer(f"rpc: {method}: " + ("; ".join(f"{name}: {why}" for name, why in said.items()) or "no time"))

    def _in_order(self) -> list[_Endpoint]:
        """Those that may be asked, the best first."""
        now = time.monotonic()
        best = max((endpoint.head or 0 for endpoint in self._endpoints), default=0)
        usable = [endpoint for endpoint in self._endpoints if not endpoint.refused]
        return sorted(
            usable,
            key=lambda each: (each.rests_until > now, each.head is not None and each.head < best - _BLOCKS_BEHIND),
        )

    def _pause(self, lap: int, endpoints: Sequence[_Endpoint]) -> float:
        """Seconds until it is worth asking again: at random, so that those who failed together part."""
        jitter = _random.uniform(0, min(self._patience.pause * 2**lap, self._patience.longest_pause))
        asked_for = min((each.rests_until for each in endpoints), default=0.0) - time.monotonic()
        return max(jitter, asked_for)

    def _note(self, endpoint: _Endpoint, attempt: _Attempt, trouble: _Trouble) -> None:
        """Remembers that an endpoint failed."""
        name = endpoint.name
        attempt.said[name] = str(trouble)
        if endpoint.refused:
            return
        attempt.unknown[name] = attempt.unknown.get(name, 0) + (not trouble.unsent)
        # It may have taken the transaction; to ask it once more finds out, and more is of no use.
        if trouble.final or (attempt.method == _SEND and attempt.unknown[name] > 1):
            attempt.done.add(name)
        if endpoint.failures == 0 and not trouble.final:
            logger.info("rpc %s: %s", name, trouble)  # Whoever asked is told where nobody answers.
        endpoint.failures += 1
        endpoint.checked = False  # Another node may be there when it answers again.
        wait = trouble.wait
        if len(self._endpoints) > 1:
            wait = max(wait, _random.uniform(0, self._patience.pause * 2 ** min(endpoint.failures, 20)))
        endpoint.rests_until = time.monotonic() + min(wait, self._patience.longest_pause)

    # ------------------------------------------------------------------------------------------------ what is there

    def _check(self, endpoint: _Endpoint, end: float) -> None:
        """Asks an endpoint for its chain, if that is not known."""
        if endpoint.checked or (self._chain_id is None and len(self._endpoints) == 1):
            return
        answer = self._ask_one(endpoint, "eth_chainId", [], end)
        try:
            found = int(answer["result"], 16)
        except (KeyError, TypeError, ValueError):
            raise _Trouble("expected the id of a chain, found something else") from None
        if self._chain_id is None:
            self._chain_id = found
        if found != self._chain_id:
            endpoint.refused = f"expected chain {self._chain_id}, found chain {found}"
            if len(self._endpoints) > 1:  # Otherwise whoever asked is told.
                logger.warning("rpc %s: %s; it is not asked again", endpoint.name, endpoint.refused)
            raise _Trouble(endpoint.refused, final=True)
        endpoint.checked = True

    def _survey(self) -> None:
        """Looks at the heads of all endpoints that do not rest. One thread does; the others do not wait for it.

        The block is asked for, not its number: what an endpoint cannot show counts for nothing.
        """
        if not self._surveying.acquire(blocking=False):
            return
        try:
            for endpoint in self._endpoints:
                now = time.monotonic()
                if endpoint.refused or endpoint.rests_until > now:
                    continue
                end = now + self._patience.connect
                attempt = _Attempt("eth_getBlockByNumber", b"", [], end)
                try:
                    self._check(endpoint, end)
                    block = self._ask_one(endpoint, attempt.method, ["latest", False], end)["result"]
                    endpoint.head = int(block["number"], 16)
                except (_Trouble, KeyError, TypeError, ValueError) as error:
                    wrong = _Trouble("expected the latest block, found something else")
                    self._note(endpoint, attempt, error if isinstance(error, _Trouble) else wrong)
                    # One that is not there may take all of its time to say so, and others wait for that.
                    endpoint.rests_until = now + self._patience.survey * min(endpoint.failures, 6)
            self._surveyed = time.monotonic()
        finally:
            self._surveying.release()

    def _ask_one(self, endpoint: _Endpoint, method: str, parameters: Any, end: float) -> Any:
        body = self.encode_rpc_request(RPCEndpoint(method), parameters)
        return self._post(endpoint, _Attempt(method, body, [json.loads(body)["id"]], end), batch=False)

    # ------------------------------------------------------------------------------------------------ one answer

    def _post(self, endpoint: _Endpoint, attempt: _Attempt, *, batch: bool) -> Any:
        """One exchange with one endpoint."""
        seconds = max(min(attempt.end - time.monotonic(), self._patience.answer), 0.001)
        most = self._patience.max_bytes if attempt.method == _LOGS else min(self._patience.max_bytes, _MAX_BYTES)
        try:
            status, later, data = endpoint.exchange.post(attempt.body, seconds, most)
        except Failed as error:
            raise _Trouble(str(error), unsent=error.unsent) from None
        except TooLarge:
            # To ask another would give the same; whoever asked can ask for less.
            message = f"the answer has more than {most} bytes"
            return {"jsonrpc": "2.0", "id": attempt.ids[0], "error": {"code": TOO_LARGE, "message": message}}
        if status == 429 or status >= 500:
            wait = float(later) if re.fullmatch(r"\d{1,6}", later) else 0.0
            raise _Trouble(f"the node answers with HTTP status {status}", wait=wait)
        try:
            answers = _answers(data, attempt.ids, batch=batch)
        except _Trouble:
            if status != 200:
                raise _Trouble(f"the node answers with HTTP status {status}", final=True) from None
            raise
        for answer in answers if isinstance(answers, list) else [answers]:
            if _says_too_many_requests(answer.get("error")):
                raise _Trouble("the node says that these are too many requests")
        return answers


def _answers(data: bytes, ids: list[Any], *, batch: bool) -> Any:
    """The answer to a request, or those to a batch in their order."""
    wrong = "expected the answer of a node, found something else:"
    if sum(data.count(each) for each in (b",", b"[", b"{")) > _ANY_VALUES + len(data) // _BYTES_PER_VALUE:
        raise _Trouble(f"{wrong} more values than its size allows")
    try:
        value = canonical.parse(data, "answer")
    except InvalidDocument:
        raise _Trouble(f"{wrong} Could not decode it as JSON") from None
    if not batch or isinstance(value, dict):
        if not isinstance(value, dict) or not ("result" in value or isinstance(value.get("error"), dict)):
            raise _Trouble(f"{wrong} Malformed response, neither a result nor an error")
        # A server that could not read the id says null.
        if value.get("id") != ids[0] and (value.get("id") is not None or "error" not in value):
            raise _Trouble(f"{wrong} the answer to another request")
        return value
    found = {each.get("id"): each for each in value if isinstance(each, dict) and isinstance(each.get("id"), int)}
    if not isinstance(value, list) or len(value) != len(ids) or (list(found) != ids and set(found) != set(ids)):
        raise _Trouble(f"{wrong} not the answers to the requests")
    return [found[each] for each in ids]


def _says_too_many_requests(error: Any) -> bool:
    if not isinstance(error, dict) or error.get("code") not in _TOO_MANY_REQUESTS:
        return False
    return error["code"] == 429 or _TOO_MANY_RESULTS.search(str(error.get("message"))[:1000]) is None


def _name(url: str) -> str:
    """What may be shown of a URL.

    Raises:
        InputError: it is none of HTTP.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{parts.scheme}://{host}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
    except ValueError:
        # A URL may hold a key, so it is not shown.
        raise InputError("rpc: expected http://… or https://…, found something else") from None
