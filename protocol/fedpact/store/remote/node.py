"""The port to an IPFS node: the few commands of its RPC (`/api/v0`) that are used here.

`node_http` speaks them over httpcore, `node_ipfshttpclient` through the package of that name; what the answers mean is
the matter of `kubo`.

Source: https://docs.ipfs.tech/reference/kubo/rpc/
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

from fedpact.store.cid import Cid

Answer = Mapping[str, Any]
"""A JSON object of a node's answer."""
SHOWN = 200
"""Characters of a node's own words that are shown at most."""
MAX_PINS_BYTES = 64 << 20
"""Bytes that a list of pins has at most: about 700,000 pins."""


STREAM_FLOOR = 1_000_000
"""Bytes of a whole file that come in a second, at least: what is slower is no better than many blocks at once."""


class NodeRefused(Exception):
    """A node answered with an error, in its own words; `in_short` keeps them to one line."""


class NodeSilent(Exception):
    """A node gave no usable answer: none at all, none in time, or nonsense. The text says which."""


class NodeRpc(Protocol):
    """An IPFS node. Every call is bounded in time and raises `NodeRefused` or `NodeSilent`, nothing else.

    Attributes:
        name: what the node is called; holds no secret.
    """

    name: str

    def block_get(self, cid: Cid, seconds: float, *, offline: bool = False) -> bytes:
        """The bytes of a block, unverified, at most `MAX_BLOCK` + 1 of them.

        Args:
            seconds: for which the node may look for it.
            offline: whether it is to look at home alone; not every node heeds that.
        """
        ...

    def cat(self, root: Cid, start: int, length: int, seconds: float) -> Generator[bytes, Any, None]:
        """The bytes of a file from a place on, unverified, in pieces, as they come; they may end early. To be closed.

        Args:
            seconds: that they may be behind a megabyte a second.
        """
        ...

    def block_stat(self, cid: Cid, seconds: float) -> None:
        """Returns where the node itself has a block. Arguments as `block_get`, offline."""
        ...

    def dag_import(self, blocks: Sequence[tuple[Cid, bytes]], seconds: float) -> list[Answer]:
        """Hands blocks over, without a pin; returns what the node says of them.

        Args:
            blocks: at least one.
        """
        ...

    def pin_add(self, root: Cid, seconds: float, *, offline: bool = False) -> list[str]:
        """Pins a DAG; returns the addresses that are pinned now, as the node writes them. Arguments as `block_get`."""
        ...

    def pin_rm(self, root: Cid, seconds: float) -> None:
        """Takes the pin of a DAG away."""
        ...

    def pin_ls(self, seconds: float) -> list[str]:
        """The addresses of all DAGs that are pinned, as the node writes them."""
        ...

    def close(self) -> None:
        """Closes all connections."""
        ...


def in_short(text: object) -> str:
    """What a node says, on one line, and not too much of it."""
    return " ".join(str(text)[: 4 * SHOWN].split())[:SHOWN]


def read_line(line: bytes) -> Answer:
    """One line of JSON, as nodes answer.

    Raises:
        NodeRefused: it is an error.
        NodeSilent: it is no object.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NodeSilent(f"answers with something else than a JSON object: {in_short(ascii(line[:SHOWN]))}")
    return refuse_errors(found)


def refuse_errors(found: Answer) -> Answer:
    """An answer that is no error, whatever its status was.

    Raises:
        NodeRefused: it is one.
    """
    if isinstance(found.get("Message"), str) and (found.get("Type") == "error" or "Code" in found):
        raise NodeRefused(in_short(found["Message"]))
    return found


def read_pin(line: Answer) -> str:
    """The address in a line of a list of pins.

    Raises:
        NodeSilent: there is none.
    """
    if not isinstance(line.get("Cid"), str):
        raise NodeSilent(f"pin/ls: expected a Cid in each line, found {in_short(ascii(line))}")
    return str(line["Cid"])


def read_pinned(line: Answer) -> list[str]:
    """The addresses in an answer to pin/add; none where it only says how far that is."""
    found = line.get("Pins")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
