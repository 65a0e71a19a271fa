"""An IPFS node's RPC through the package ipfshttpclient, for a node that is trusted not to send more than it should.

The package takes an answer in whole before anybody can count its bytes, follows redirects, and each read has a timeout
but the answer has none; so `node_http` is what everybody gets who does not ask for this one. It is made with
`Client(address)`: its `connect` refuses every node of today.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fedpact.errors import InputError
from fedpact.store.blocks import MAX_BLOCK
from fedpact.store.car import car
from fedpact.store.cid import Cid
from fedpact.store.remote.http import Place
from fedpact.store.remote.node import (
    STREAM_FLOOR,
    Answer,
    NodeRefused,
    NodeSilent,
    in_short,
    read_pin,
    read_pinned,
    refuse_errors,
)

_GRACE = 3.0  # Seconds that a node has for its answer after those that it was told to look for something.


class ClientNode:
    """A node behind ipfshttpclient. Threads may share it.

    Args:
        place: where its RPC is, without `/api/v0`.

    Raises:
        InputError: the package is not installed.
    """

    def __init__(self, place: Place) -> None:
        try:
            import ipfshttpclient
            from ipfshttpclient import exceptions
        except ImportError:
            said = "expected the package ipfshttpclient, found none"
            raise InputError(f'store: {said}: pip install "fedpact[ipfs]", or name the node kubo+http://…') from None
        # The package passes urllib3 a parameter of old, which does nothing.
        warnings.filterwarnings("ignore", "The 'strict' parameter is no longer needed", FutureWarning)
        self.name = f"node {place.origin}"
        scheme = place.origin.partition(":")[0]
        port = place.port or {"http": 80, "https": 443}[scheme]
        address = f"/{_kind(place.host)}/{place.host}/tcp/{port}/{scheme}"
        self._exceptions = exceptions
        self._client = ipfshttpclient.Client(address, f"{place.path}/api/v0", auth=place.user, session=True)

    def block_get(self, cid: Cid, seconds: float, *, offline: bool = False) -> bytes:
        with self._translated():
            found = self._client.block.get(cid, offline=offline, **_limits(seconds))
            return bytes(found[: MAX_BLOCK + 1])

    def cat(self, root: Cid, start: int, length: int, seconds: float) -> Generator[bytes, Any, None]:
        limits = {"timeout": (_GRACE, seconds), "opts": {"offset": start, "length": length}}
        left = seconds
        with self._translated(), self._client.cat(root, stream=True, **limits) as pieces:
            began = time.monotonic()
            for piece in pieces:
                left = min(seconds, left - (time.monotonic() - began) + len(piece) / STREAM_FLOOR)
                if left < 0:
                    raise NodeSilent("no answer in time")
                yield piece[:length]
                length -= len(piece)
                if length <= 0:
                    return
                began = time.monotonic()

    def block_stat(self, cid: Cid, seconds: float) -> None:
        with self._translated():
            refuse_errors(self._client.block.stat(cid, offline=True, **_limits(seconds)))

    def dag_import(self, blocks: Sequence[tuple[Cid, bytes]], seconds: float) -> list[Answer]:
        file = io.BytesIO(b"".join(car(blocks[0][0], blocks)))
        options = _limits(seconds, {"pin-roots": "false", "stats": "true"})
        # As a stream: otherwise the package expects one line of answer, and there may be none.
        with self._translated(), self._client.dag.imprt(file, stream=True, **options) as lines:
            return [refuse_errors(line) for line in lines]

    def pin_add(self, root: Cid, seconds: float, *, offline: bool = False) -> list[str]:
        with self._translated():
            return read_pinned(refuse_errors(self._client.pin.add(root, offline=offline, **_limits(seconds))))

    def pin_rm(self, root: Cid, seconds: float) -> None:
        with self._translated():
            refuse_errors(self._client.pin.rm(root, offline=True, **_limits(seconds)))

    def pin_ls(self, seconds: float) -> list[str]:
        options = _limits(seconds, {"stream": "true"})
        with self._translated(), self._client.pin.ls(type="recursive", stream=True, **options) as lines:
            return [read_pin(refuse_errors(line)) for line in lines]

    def close(self) -> None:
        """Closes all connections. The node can be asked again."""
        self._client.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The failures of the package, and of those below it, as the port knows them."""
        import requests

        try:
            yield
        except self._exceptions.ErrorResponse as error:
            raise NodeRefused(in_short(error.args[0] if error.args else error)) from None
        except self._exceptions.StatusError as error:
            status = getattr(getattr(error.original, "response", None), "status_code", "that is an error")
            raise NodeSilent(f"answers with HTTP status {status}") from None
        except (self._exceptions.TimeoutError, requests.Timeout):
            raise NodeSilent("no answer in time") from None
        except self._exceptions.ConnectionError:
            raise NodeSilent("cannot be reached") from None
        except self._exceptions.DecodingError:
            raise NodeSilent("answers with something else than a JSON object") from None
        except (self._exceptions.Error, requests.RequestException, OSError) as error:
            raise NodeSilent(f"the answer is broken off, or not HTTP ({type(error).__name__})") from None
        except AssertionError:  # How the package says that there are more or fewer lines than there should be.
            raise NodeSilent("answers with more or less than expected") from None


def _limits(seconds: float, options: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """What a node is told, and what it has time for."""
    return {"timeout": (_GRACE, seconds + _GRACE), "opts": {"timeout": f"{seconds:.3f}s", **options}}


def _kind(host: str) -> str:
    """What a host is called in the addresses of the package."""
    try:
        return f"ip{ipaddress.ip_address(host).version}"
    except ValueError:
        return "dns"
