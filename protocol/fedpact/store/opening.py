"""Stores by URL.

    DIRECTORY or file:DIRECTORY           blocks in a directory, made when the first is written
    gateway+http://host:port[/path]       a trustless gateway of IPFS, as `fedpact store serve` is one; read only
    gateway+https://host[:port][/path]
    member+http://…, member+https://…     the same, where only members are answered: each request is signed
    kubo+http://[user:password@]host:port an IPFS node, by its RPC; the password of a proxy before it
    kubo+https://…
    ipfshttpclient+http://…               the same through the package ipfshttpclient (`pip install "fedpact[ipfs]"`)

Several are asked in the order in which they are named. The first is written to, or all that are no gateways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from fedpact.errors import InputError
from fedpact.places import directory_of, scheme_of
from fedpact.store.counting import CountedBlocks
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.suggestion import did_you_mean

if TYPE_CHECKING:
    from fedpact.store.remote.kubo import KuboBlocks
    from fedpact.store.serving.admission import Reader

SCHEMES = "a directory, file:DIRECTORY, kubo+http(s)://…, ipfshttpclient+http(s)://…, gateway+http(s)://… or member+http(s)://…"
_MEMBER = ("member+http", "member+https")
_GATEWAYS = ("gateway+http", "gateway+https", *_MEMBER)
_NODES = ("kubo+http", "kubo+https", "ipfshttpclient+http", "ipfshttpclient+https")


def open_store(
    urls: Sequence[str],
    *,
    writable: bool = True,
    sync: bool = True,
    reader: Callable[[], Reader] | None = None,
    write: Literal["first", "all"] = "first",
) -> SeveralBlocks:
    """Opens stores as one.

    Args:
        urls: of the stores, in the order in which they are asked.
        writable: whether blocks are to be written; the first store must be able to keep them then.
        sync: whether a directory has a block on its disk before it is kept (see `DirectoryBlocks`).
        reader: gives who signs requests to stores of members; it is asked where there is one of those.
        write: what is written to: the first store, or all but gateways.

    Raises:
        InputError: there is none, one is no store, or the first cannot be written to.
        FedpactError: whatever `reader` raises.
    """
    if not urls:
        raise InputError(f"store: expected {SCHEMES}, found none")
    if not all(url.strip() for url in urls):
        raise InputError(f"store: expected {SCHEMES}, found an empty text")
    schemes = [scheme_of(url) for url in urls]
    signs = reader() if reader is not None and any(scheme in _MEMBER for scheme in schemes) else None
    stores = [_open(url, sync, signs) for url in urls]
    if writable and schemes[0] in _GATEWAYS:
        expected = "a directory or an IPFS node first, to write to"
        raise InputError(f"store: expected {expected}; found a store of {schemes[0]!r}")
    copies = [place for place, scheme in enumerate(schemes) if place and write == "all" and scheme not in _GATEWAYS]
    return SeveralBlocks(stores, writable=writable, copies=copies)


def _open(url: str, sync: bool, signs: Reader | None) -> CountedBlocks:
    directory, scheme = directory_of(url), scheme_of(url)
    if directory is not None:
        return CountedBlocks(DirectoryBlocks(directory, sync=sync), str(directory))
    if scheme in _NODES:
        node = _node(scheme, url)
        return CountedBlocks(node, node.name)
    if scheme in _GATEWAYS:
        from fedpact.store.remote.gateway import GatewayBlocks  # Whoever reads a directory need not wait for it.

        gateway = GatewayBlocks(url.partition("+")[2], authorization=_authorization(url, signs))
        return CountedBlocks(gateway, gateway.name)
    near = f"; did you mean gateway+{scheme}://… (a block server) or kubo+{scheme}://… (an IPFS node)?"
    if scheme not in ("http", "https"):
        near = did_you_mean(scheme, ("file", *_NODES, *_GATEWAYS))
    raise InputError(f"store: expected {SCHEMES}, found a URL of {scheme[:40]!r}{near}")


def _authorization(url: str, signs: Reader | None) -> Callable[[], str] | None:
    """What signs requests to a store; nothing where others than members are answered too."""
    if scheme_of(url) not in _MEMBER:
        return None
    if signs is None:
        raise InputError("store: a store of members (member+http://…) is not read here: nobody signs")
    from fedpact.store.serving.admission import origin_of

    origin = origin_of(url.partition("+")[2])
    return lambda: signs.token(origin)


def _node(scheme: str, url: str) -> KuboBlocks:
    from fedpact.store.remote.http import Place
    from fedpact.store.remote.kubo import KuboBlocks

    place = Place.read(url.partition("+")[2])
    if place is None:  # A URL may hold a password, so it is not shown.
        raise InputError(f"store: expected {scheme}://host:port, with a user and a path at most; found otherwise")
    if scheme.startswith("kubo"):
        from fedpact.store.remote.node_http import HttpNode

        return KuboBlocks(HttpNode(place))
    from fedpact.store.remote.node_ipfshttpclient import ClientNode

    return KuboBlocks(ClientNode(place))
