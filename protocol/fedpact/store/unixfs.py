"""Files as DAGs of blocks: UnixFS with 1 MiB raw leaves and at most 1024 links per node, balanced.

This is the profile `unixfs-v1-2025` (IPIP-499), which `ipfs add --profile=unixfs-v1-2025` writes. The DAG is built here
and nowhere else, so an address never depends on a node's version or settings. A root is accepted only when it is *the*
DAG of a file of the expected size: the links found are rebuilt into a DAG, and the roots must agree. No claim inside a
node is believed.

Sources: https://specs.ipfs.tech/unixfs/, https://ipld.io/specs/codecs/dag-pb/spec/
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from fedpact.errors import InvalidCid, InvalidDag, StoreError
from fedpact.store.blocks import Blocks, Settling, Streaming, fetch, is_distant, keep
from fedpact.store.cid import Cid, Codec
from fedpact.store.transfer import at_once, cut, in_order, in_step

LEAF = 1 << 20
"""Bytes of every leaf but the last (1 MiB)."""
LINKS = 1024
"""Links of a node at most."""
_NODE = 1 << 16  # Bytes of a node at most. The largest of ours, a full one high up, has less than 60,000.
_DEPTH = 4  # 1024 ** 4 leaves of 1 MiB are more than any file.
HASHING = 2
"""Threads that hash what is to be written, comes in a row, or was there."""
_STREAMED = 4  # Leaves in a row for which a store is asked at once, where it gives files.
_WALKED = 1_000_000  # Links that `below` follows at most: those of a file of about 1 TB.


@dataclass(frozen=True, slots=True)
class Dag:
    """The DAG of one file.

    Attributes:
        root: the file's address.
        leaves: the addresses of its leaves, in order.
        size: the file's bytes.
        nodes: the inner nodes, each with its bytes; none where the file is one leaf.
    """

    root: Cid
    leaves: tuple[Cid, ...]
    size: int
    nodes: tuple[tuple[Cid, bytes], ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file in a store, its DAG checked, its leaves not yet read."""

    blocks: Blocks
    root: Cid
    leaves: tuple[Cid, ...]
    size: int

    @property
    def distant(self) -> bool:
        """Whether its leaves take long to come (`fedpact.store.blocks.is_distant`)."""
        return is_distant(self.blocks)

    def address(self, index: int) -> Cid:
        """The address of leaf `index`."""
        return self.leaves[index]

    def leaf(self, index: int) -> bytes:
        """Leaf `index`, verified.

        Raises:
            BlockMissing: the store does not have it.
            BlockMismatch: the store has other bytes.
            InvalidDag: it has another length than the file's size says.
        """
        data = fetch(self.blocks, self.leaves[index])
        expected = leaf_size(self.size, index)
        if len(data) != expected:
            raise InvalidDag(f"{self.root}: leaf {index}: expected {expected} bytes, found {len(data)}")
        return data

    def each(self, indexes: Sequence[int] | None = None) -> Generator[bytes, Any, None]:
        """Leaves in order, verified, the next ones on their way where the store is distant. Raises as `leaf` does.

        Args:
            indexes: which, no two equal; all where it is not given.
        """
        wanted = range(len(self.leaves)) if indexes is None else indexes
        came = 0
        with closing(self._streamed(wanted)) as leaves:
            for leaf in leaves:
                yield leaf
                came += 1
        yield from in_order(self.leaf, wanted[came:], at_once(self))

    def _streamed(self, wanted: Sequence[int]) -> Generator[bytes, Any, None]:
        """Leaves in a row, verified, in one answer of the store, as far as it gives such and they are right. What is
        wrong or missing is asked for by its address, and whoever is asked says what is wrong with it."""
        if len(wanted) < _STREAMED or list(wanted) != list(range(wanted[0], wanted[0] + len(wanted))):
            return
        start, stop = wanted[0] * LEAF, min((wanted[-1] + 1) * LEAF, self.size)
        if not isinstance(self.blocks, Streaming) or not (pieces := self.blocks.stream(self.root, start, stop - start)):
            return

        def hashed(leaf: bytes) -> tuple[Cid, bytes]:
            return Cid.of(leaf), leaf

        with closing(pieces), suppress(StoreError):
            sizes = (leaf_size(self.size, index) for index in wanted)
            with closing(in_step(hashed, cut(pieces, sizes), HASHING)) as coming:
                for index, (cid, leaf) in zip(wanted, coming, strict=False):
                    if cid != self.leaves[index]:
                        return
                    yield leaf

    def pieces(self, start: int, stop: int) -> Generator[bytes, Any, None]:
        """Bytes `start` to `stop`, as far as the file has them, leaf by leaf, and no leaf besides. Raises as `leaf`."""
        stop = min(stop, self.size)
        if start >= stop:
            return
        indexes = range(start // LEAF, -(-stop // LEAF))
        with closing(self.each(indexes)) as leaves:
            for index, leaf in zip(indexes, leaves, strict=True):
                yield leaf[max(start - index * LEAF, 0) : stop - index * LEAF]

    def span(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop`, as far as the file has them, verified. Raises as `leaf` does."""
        return b"".join(self.pieces(start, stop))

    def read(self) -> bytes:
        """The whole file, verified. Raises as `leaf` does."""
        return b"".join(self.each())


def leaf_count(size: int) -> int:
    """Leaves of a file of `size` bytes; an empty file has one."""
    return max(1, -(-size // LEAF))


def leaf_size(size: int, index: int) -> int:
    """Bytes of leaf `index` of a file of `size` bytes."""
    return min(LEAF, size - index * LEAF)


def build(leaves: Sequence[Cid], size: int) -> Dag:
    """The DAG above given leaves.

    Args:
        leaves: raw addresses of `leaf_count(size)` leaves, each of 1 MiB but the last.
        size: bytes of the file.
    """
    nodes: list[tuple[Cid, bytes]] = []
    # Each entry: address, bytes of the file below it, bytes of the DAG below and with it.
    level = [(cid, leaf_size(size, index), leaf_size(size, index)) for index, cid in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for start in range(0, len(level), LINKS):
            children = level[start : start + LINKS]
            data = _encode_node(children)
            cid = Cid.of(data, Codec.DAG_PB)
            nodes.append((cid, data))
            above.append((cid, sum(child[1] for child in children), len(data) + sum(child[2] for child in children)))
        level = above
    return Dag(level[0][0], tuple(leaves), size, tuple(nodes))


def add(blocks: Blocks, data: bytes) -> Dag:
    """Stores a file.

    Raises:
        StoreError: the store cannot keep a block.
    """
    return add_file(blocks, lambda index: data[index * LEAF : (index + 1) * LEAF], len(data))


def add_file(blocks: Blocks, read: Callable[[int], bytes], size: int) -> Dag:
    """Stores a file leaf by leaf, in their order; the next ones are read and hashed while one is written.

    Args:
        read: gives a leaf, by its index; called from any thread.
        size: bytes of the file.

    Raises:
        StoreError: the store cannot keep a block; and what reading raised.
    """

    def hashed(index: int) -> tuple[Cid, bytes]:
        leaf = read(index)
        return Cid.of(leaf), leaf

    leaves: list[Cid] = []
    with closing(in_order(hashed, range(leaf_count(size)), HASHING)) as coming:
        for cid, leaf in coming:
            keep(blocks, cid, leaf)
            leaves.append(cid)
    return add_nodes(blocks, leaves, size)


def add_leaf(blocks: Blocks, leaf: bytes | bytearray) -> Cid:
    """Stores one leaf of a file.

    Raises:
        StoreError: the store cannot keep it.
    """
    cid = Cid.of(leaf)
    keep(blocks, cid, leaf)
    return cid


def add_nodes(blocks: Blocks, leaves: Sequence[Cid], size: int) -> Dag:
    """Stores the DAG above leaves that are stored, so that no root stands without its leaves. Arguments as `build`.

    This is where every artifact ends: what it returns is kept for good.

    Raises:
        StoreError: the store cannot keep a node, or did not keep a leaf.
    """
    dag = build(leaves, size)
    for cid, node in dag.nodes:
        keep(blocks, cid, node)
    if isinstance(blocks, Settling):
        blocks.settle(dag.root)
    return dag


def address(data: bytes) -> Cid:
    """The address that a file has, without storing it."""
    pieces = memoryview(data)
    cids = [Cid.of(pieces[start : start + LEAF]) for start in range(0, max(1, len(data)), LEAF)]
    return build(cids, len(data)).root


def open_file(blocks: Blocks, root: Cid, size: int) -> File:
    """Opens a file whose size is known from elsewhere; reads its inner nodes only.

    Raises:
        BlockMissing: the store lacks an inner node.
        BlockMismatch: the store has other bytes for one.
        InvalidDag: the root is not the DAG of a file of this size.
    """
    expected = leaf_count(size)
    if (root.codec is Codec.RAW) != (expected == 1):
        found = "a single leaf" if root.codec is Codec.RAW else "a DAG"
        raise InvalidDag(f"{root}: expected {expected} leaves ({size} bytes), found {found}")
    other = InvalidDag(f"{root}: not the DAG of a file of {size} bytes")
    leaves = _leaves(blocks, root, expected, other)
    if len(leaves) != expected or build(leaves, size).root != root:
        raise other
    return File(blocks, root, leaves, size)


def read_small(blocks: Blocks, root: Cid, limit: int) -> bytes:
    """Reads a whole file of unknown size.

    Args:
        limit: bytes that it may have at most; no more is read.

    Raises:
        BlockMissing, BlockMismatch: as `open_file` and `File.leaf`.
        InvalidDag: the root is not the DAG of a file of at most `limit` bytes.
    """
    other = InvalidDag(f"{root}: not the DAG of a file of at most {limit} bytes")
    data = b"".join([fetch(blocks, cid) for cid in _leaves(blocks, root, leaf_count(limit), other)])
    if len(data) > limit:
        raise InvalidDag(f"{root}: expected at most {limit} bytes, found {len(data)}")
    if address(data) != root:
        raise InvalidDag(f"{root}: not the DAG of a file of {len(data)} bytes")
    return data


def find_file(blocks: Blocks, root: Cid, limit: int) -> File:
    """Opens a file of unknown size: its inner nodes and its last leaf are read, which say how long it is.

    Args:
        limit: bytes that it may have at most; no more of its DAG is read than such a file has.

    Raises:
        BlockMissing, BlockMismatch: as `open_file` and `File.leaf`.
        InvalidDag: the root is not the DAG of a file of at most `limit` bytes.
    """
    other = InvalidDag(f"{root}: not the DAG of a file of at most {limit} bytes")
    leaves = _leaves(blocks, root, leaf_count(limit), other)
    size = (len(leaves) - 1) * LEAF + len(fetch(blocks, leaves[-1]))
    if size > limit or leaf_count(size) != len(leaves) or build(leaves, size).root != root:
        raise other
    return File(blocks, root, leaves, size)


def below(blocks: Blocks, root: Cid, *, once: bool = False) -> Iterator[tuple[Cid, bytes]]:
    """Every block of a DAG, verified, each before those that it links to, in order.

    Args:
        once: whether a block that was there before is left out, with all below it; else it comes as often as it is
            linked to. Four nodes can link to 1024 ** 4 leaves, so the links that are followed are bounded in any case.

    Raises, at the first block and between any two:
        BlockMissing, BlockMismatch: as `fetch`.
        InvalidDag: a node is none of ours, or there are more links than any file has.
    """
    seen: set[Cid] = set()
    walked = 0
    trail = [iter([root])]  # What is left to visit, at each depth.
    while trail:
        cid = next(trail[-1], None)
        if cid is None:
            trail.pop()
            continue
        walked += 1
        if walked > _WALKED:
            raise InvalidDag(f"{root}: expected at most {_WALKED} links, found more")
        if once:
            if cid in seen:
                continue
            seen.add(cid)
        data = fetch(blocks, cid)
        yield cid, data
        if cid.codec is Codec.RAW:
            continue
        if len(trail) > _DEPTH:
            raise InvalidDag(f"{cid}: deeper than any file")
        trail.append(iter(_decode_links(cid, data)))


def addresses(blocks: Blocks, root: Cid) -> Iterator[Cid]:
    """Every address of a DAG, once: its inner nodes are read and verified, its leaves are not looked at.

    Raises, at the first address and between any two:
        BlockMissing, BlockMismatch: as `fetch`.
        InvalidDag: a node is none of ours, or there are more links than any file has.
    """
    seen, waiting = {root}, [root]
    while waiting:
        cid = waiting.pop()
        yield cid
        new = [child for child in dict.fromkeys(links(blocks, cid)) if child not in seen]
        seen.update(new)
        waiting += new
        if len(seen) > _WALKED:
            raise InvalidDag(f"{root}: expected at most {_WALKED} links, found more")


def links(blocks: Blocks, cid: Cid) -> list[Cid]:
    """What a block links to; nothing where it is a leaf, which is not read. Raises as `addresses`."""
    return [] if cid.codec is Codec.RAW else _decode_links(cid, fetch(blocks, cid))


def _leaves(blocks: Blocks, root: Cid, most: int, other: InvalidDag) -> tuple[Cid, ...]:
    """The addresses of a file's leaves, in order.

    Level by level, as every node of ours is full but the last of its level: so a root that is none of ours costs about
    what one of `most` leaves does, however many nodes are below it.

    Args:
        most: leaves that there may be.
        other: what is raised where a node has a shape that no file has.
    """
    level = [root]
    for _ in range(_DEPTH):
        if level[0].codec is Codec.RAW:
            return tuple(level)
        below: list[Cid] = []
        for index, cid in enumerate(level):
            if index * LINKS >= most:
                raise InvalidDag(f"{root}: more than the expected {most} leaves")
            below += _decode_links(cid, fetch(blocks, cid))
            if len(below) > most:
                raise InvalidDag(f"{root}: more than the expected {most} leaves")
            if len(below) != (index + 1) * LINKS and index + 1 < len(level):
                raise other
        if any(cid.codec is not below[0].codec for cid in below):
            raise other
        level = below
    if level[0].codec is not Codec.RAW:
        raise InvalidDag(f"{level[0]}: deeper than any file")
    return tuple(level)


# ------------------------------------------------------------------------------------------------- dag-pb, by hand
# A node is `PBNode { repeated PBLink Links = 2; bytes Data = 1 }`, links first; a link is
# `PBLink { bytes Hash = 1; string Name = 2; uint64 Tsize = 3 }`; Data is the UnixFS message
# `{ Type = 1 (2: file); filesize = 3; repeated blocksizes = 4 }`.


def _encode_node(children: Sequence[tuple[Cid, int, int]]) -> bytes:
    out = bytearray()
    for cid, _, cumulative in children:
        link = b"\x0a\x24" + bytes(cid) + b"\x12\x00\x18" + varint(cumulative)
        out += b"\x12" + varint(len(link)) + link
    unixfs = bytearray(b"\x08\x02\x18" + varint(sum(size for _, size, _ in children)))
    for _, size, _ in children:
        unixfs += b"\x20" + varint(size)
    return bytes(out + b"\x0a" + varint(len(unixfs)) + unixfs)


def _decode_links(cid: Cid, node: bytes) -> list[Cid]:
    """The addresses that a node links to. Sizes and names are not read: `build` makes them anew and compares."""
    if len(node) > _NODE:
        raise InvalidDag(f"{cid}: a node of {len(node)} bytes, expected at most {_NODE}")
    links: list[Cid] = []
    position = 0
    while position < len(node) and node[position] == 0x12:
        length, start = read_varint(cid, node, position + 1)
        if node[start : start + 2] != b"\x0a\x24" or length < 38:
            raise InvalidDag(f"{cid}: link {len(links)} has no address of ours")
        if len(links) == LINKS:
            raise InvalidDag(f"{cid}: more than {LINKS} links")
        try:
            links.append(Cid.from_bytes(node[start + 2 : start + 38]))
        except InvalidCid as error:
            raise InvalidDag(f"{cid}: link {len(links)}: {error}") from None
        position = start + length
    if not links:
        raise InvalidDag(f"{cid}: a node without links")
    return links


def varint(value: int) -> bytes:
    """A number as unsigned varint: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(cid: Cid, data: bytes, position: int) -> tuple[int, int]:
    """The number that `varint` wrote at a position, and the position after it.

    Raises:
        InvalidDag: the bytes of the node `cid` end before it does.
    """
    value = 0
    for shift in range(0, 63, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise InvalidDag(f"{cid}: a number that does not end")
