"""Stores by URL.

    DIRECTORY or file:DIRECTORY           blocks in a directory, made when the first is written
    gateway+http://host:port[/path]       a trustless gateway of IPFS, as `fedpact store serve` is one; read only
    gateway+https://host[:port][/path]
    member+http://…, member+https://…     the same, where only members are answered: each request is signed

Several are asked in the order in which they are named; the first is written to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fedpact.errors import InputError
from fedpact.store.counting import CountedBlocks
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.several import SeveralBlocks

if TYPE_CHECKING:
    from fedpact.store.admission import Reader

SCHEMES = "a directory, file:DIRECTORY, gateway+http://…, gateway+https://… or member+https://…"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # One letter is a drive.
_MEMBER = ("member+http", "member+https")


def open_store(
    urls: Sequence[str],
    *,
    writable: bool = True,
    keep_reads: bool = True,
    sync: bool = True,
    reader: Callable[[], Reader] | None = None,
) -> SeveralBlocks:
    """Opens stores as one.

    Args:
        urls: of the stores, in the order in which they are asked.
        writable: whether blocks are to be written; the first store must be able to keep them then.
        keep_reads: whether blocks that others had are kept in the first.
        sync: whether a directory has a block on its disk before it is kept (see `DirectoryBlocks`).
        reader: gives who signs requests to stores of members; it is asked where there is one of those.

    Raises:
        InputError: there is none, one is no store, or the first cannot be written to.
        FedpactError: whatever `reader` raises.
    """
    if not urls:
        raise InputError(f"store: expected {SCHEMES}, found none")
    signs = reader() if reader is not None and any(_scheme(url) in _MEMBER for url in urls) else None
    stores = [_open(url, sync, signs) for url in urls]
    if writable and _scheme(urls[0]) not in ("", "file"):
        raise InputError(f"store: expected a directory first, to write to; found a store of {_scheme(urls[0])!r}")
    return SeveralBlocks(stores, writable=writable, keep_reads=keep_reads)


def _open(url: str, sync: bool, signs: Reader | None) -> CountedBlocks:
    scheme = _scheme(url)
    if scheme in ("", "file"):
        directory = _path(url) if scheme else Path(url)
        return CountedBlocks(DirectoryBlocks(directory, sync=sync), str(directory))
    if scheme in ("gateway+http", "gateway+https", *_MEMBER):
        from fedpact.store.gateway import GatewayBlocks  # Whoever reads a directory need not wait for it.

        gateway = GatewayBlocks(url.partition("+")[2], authorization=_authorization(url, signs))
        return CountedBlocks(gateway, gateway.name)
    raise InputError(f"store: expected {SCHEMES}, found a URL of {scheme[:40]!r}")


def _authorization(url: str, signs: Reader | None) -> Callable[[], str] | None:
    """What signs requests to a store; nothing where others than members are answered too."""
    if _scheme(url) not in _MEMBER:
        return None
    if signs is None:
        raise InputError("store: a store of members (member+http://…) is not read here: nobody signs")
    from fedpact.store.admission import origin_of

    origin = origin_of(url.partition("+")[2])
    return lambda: signs.token(origin)


def _scheme(url: str) -> str:
    """The scheme of a URL, in lower case; none of a path."""
    if not url.strip():
        raise InputError(f"store: expected {SCHEMES}, found an empty text")
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def _path(url: str) -> Path:
    """The path of a `file:` URL."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path:
        raise InputError("store: expected file:DIRECTORY or file:///DIRECTORY, found another file: URL")
    return Path(unquote(parts.path))
