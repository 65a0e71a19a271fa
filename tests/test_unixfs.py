"""Files as DAGs: the addresses that IPFS gives, nothing accepted that is not the one DAG of a file, bounded cost."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chacha20
import pytest
from faulty_blocks import FaultyBlocks
from fedpact.errors import BlockMismatch, BlockMissing, InvalidDag, StoreError
from fedpact.store import MAX_BLOCK, Cid, Codec, MemoryBlocks, fetch, unixfs
from fedpact.store.unixfs import (
    LEAF,
    LINKS,
    add,
    add_leaf,
    add_nodes,
    address,
    build,
    find_file,
    leaf_count,
    leaf_size,
    open_file,
    read_small,
)
from hypothesis import given, settings
from hypothesis import strategies as st

RANDOM = "python random.Random(seed).randbytes in 1 MiB pieces"
CHACHA = "chacha20(key=sha256(seed),nonce=0,counter=0) keystream"
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "cids.json").read_bytes())["vectors"]

ZEROS = bytes(LEAF)
THREE_LEAVES = 2 * LEAF + 5
"""Bytes of a file whose DAG is small enough to look at."""


def three_leaves(blocks: FaultyBlocks | MemoryBlocks) -> Cid:
    """Stores a file of three different leaves."""
    return add(blocks, b"1" * LEAF + b"2" * LEAF + b"three").root


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def field(number: int, value: int | bytes) -> bytes:
    """A field as protobuf writes it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def link(cid: bytes, size: int, name: bytes = b"") -> bytes:
    """A link of a dag-pb node, written by hand."""
    return field(2, field(1, cid) + field(2, name) + field(3, size))


def data_of(sizes: list[int], total: int | None = None, kind: int = 2) -> bytes:
    """The UnixFS message of a dag-pb node, written by hand."""
    message = field(1, kind) + field(3, sum(sizes) if total is None else total)
    return field(1, message + b"".join(field(4, size) for size in sizes))


def put_node(blocks: FaultyBlocks | MemoryBlocks, node: bytes) -> Cid:
    """Stores a node under its own address."""
    cid = Cid.of(node, Codec.DAG_PB)
    blocks.put(cid, node)
    return cid


# ------------------------------------------------------------------------------------------------ what is not the DAG


@pytest.mark.parametrize("size", [THREE_LEAVES - 1, THREE_LEAVES + 1, 2 * LEAF, 3 * LEAF, 3 * LEAF + 1, 1, 0])
def test_a_file_of_another_size_is_refused(size: int) -> None:
    """A root is not opened as a file of any size but its own, not even one with as many leaves."""
    blocks = MemoryBlocks()
    root = three_leaves(blocks)
    with pytest.raises(InvalidDag):
        open_file(blocks, root, size)


@pytest.mark.parametrize("size", [LEAF + 1, 2 * LEAF, 1 << 40])
def test_a_single_leaf_is_no_file_of_many(size: int) -> None:
    """A raw root of a file that must have more leaves is refused before anything is read."""
    blocks = FaultyBlocks()
    root = add(blocks, ZEROS).root
    with pytest.raises(InvalidDag, match="found a single leaf"):
        open_file(blocks, root, size)
    assert not blocks.read


def test_a_node_is_no_file_of_one_leaf() -> None:
    """A one-leaf file is its raw leaf; a node above one leaf is another address for the same bytes, and refused."""
    blocks = MemoryBlocks()
    leaf = add_leaf(blocks, b"leaf")
    root = put_node(blocks, link(bytes(leaf), 4) + data_of([4]))
    with pytest.raises(InvalidDag, match="found a DAG"):
        open_file(blocks, root, 4)
    with pytest.raises(InvalidDag, match="not the DAG of a file of 4 bytes"):
        read_small(blocks, root, 100)


LEAVES = [Cid.of(b"1" * LEAF), Cid.of(b"2" * LEAF), Cid.of(b"three")]
SIZES = [LEAF, LEAF, 5]
LINKED = [link(bytes(cid), size) for cid, size in zip(LEAVES, SIZES, strict=True)]
FORGED = {
    "no bytes": b"",
    "no links": data_of(SIZES),
    "data before the links": data_of(SIZES) + b"".join(LINKED),
    "links without data": b"".join(LINKED),
    "the short leaf first": LINKED[2] + LINKED[0] + LINKED[1] + data_of([5, LEAF, LEAF]),
    "one leaf too many": b"".join(LINKED) + LINKED[2] + data_of([*SIZES, 5]),
    "a forged size of the file": b"".join(LINKED) + data_of(SIZES, total=THREE_LEAVES + 1),
    "a forged size of a leaf": b"".join(LINKED) + data_of([LEAF + 1, LEAF - 1, 5]),
    "a forged size of a link": link(bytes(LEAVES[0]), LEAF + 1) + LINKED[1] + LINKED[2] + data_of(SIZES),
    "a link with a name": link(bytes(LEAVES[0]), LEAF, b"name") + LINKED[1] + LINKED[2] + data_of(SIZES),
    "a directory": b"".join(LINKED) + data_of(SIZES, kind=1),
    "bytes after the data": b"".join(LINKED) + data_of(SIZES) + b"\x00",
    "a link cut short": b"".join(LINKED)[:-30],
    "a link of dag-cbor": link(b"\x01\x71\x12\x20" + bytes(32), LEAF) + LINKED[1] + LINKED[2] + data_of(SIZES),
    "a link with another hash function": link(b"\x01\x55\x16\x20" + bytes(32), LEAF) + data_of(SIZES),
    "a link of CIDv0": link(b"\x12\x20" + bytes(32), LEAF) + data_of(SIZES),
    "a link shorter than an address": field(2, field(1, b"\x01\x55")) + data_of(SIZES),
    "a link that claims more than there is": b"\x12\x7f\x0a\x24\x01\x55",
    "a length that does not end": b"\x12" + b"\xff" * 20,
    "a length cut short": b"\x12\xff",
    "more links than a node may have": LINKED[0] * (LINKS + 1) + data_of([LEAF] * (LINKS + 1)),
}


@pytest.mark.parametrize("node", FORGED.values(), ids=FORGED.keys())
def test_a_forged_node_is_refused(node: bytes) -> None:
    """A node that hashes to its address, but is not the one that this file has, is an `InvalidDag` and nothing else."""
    blocks = MemoryBlocks()
    three_leaves(blocks)
    root = put_node(blocks, node)
    with pytest.raises(InvalidDag) as caught:
        open_file(blocks, root, THREE_LEAVES)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InvalidDag):
        read_small(blocks, root, THREE_LEAVES)


@settings(max_examples=150)
@given(st.data())
def test_a_node_altered_anywhere_is_refused_or_names_another_leaf(data: st.DataObject) -> None:
    """However a node is altered and addressed anew: no claim in it is believed, only the hash of a leaf counts."""
    blocks = MemoryBlocks()
    node = build(LEAVES, THREE_LEAVES).nodes[0][1]
    start = data.draw(st.integers(0, len(node)), "start")
    stop = data.draw(st.integers(start, min(len(node), start + 8)), "stop")
    altered = node[:start] + data.draw(st.binary(max_size=8), "instead") + node[stop:]
    if altered == node:
        return
    try:
        file = open_file(blocks, put_node(blocks, altered), THREE_LEAVES)
    except (InvalidDag, BlockMissing):
        return
    assert file.leaves != tuple(LEAVES)


@settings(max_examples=100)
@given(st.binary(max_size=200) | st.binary(max_size=120).map((b"\x12\x2b\x0a\x24\x01\x55\x12\x20" + bytes(32)).__add__))
def test_a_node_of_any_bytes_is_refused(node: bytes) -> None:
    """A root of arbitrary bytes is refused with a content error or a missing block, whatever it says."""
    blocks = MemoryBlocks()
    root = put_node(blocks, node)
    with pytest.raises((InvalidDag, BlockMissing)):
        open_file(blocks, root, THREE_LEAVES)
    with pytest.raises((InvalidDag, BlockMissing)):
        read_small(blocks, root, THREE_LEAVES)


def test_an_unbalanced_dag_is_refused() -> None:
    """The same leaves below a deeper tree are another DAG, and refused."""
    blocks = MemoryBlocks()
    three_leaves(blocks)
    inner = build(LEAVES[:2], 2 * LEAF)
    below = put_node(blocks, inner.nodes[0][1])
    root = put_node(blocks, link(bytes(below), 2 * LEAF + 100) + LINKED[2] + data_of([2 * LEAF, 5]))
    with pytest.raises(InvalidDag, match="not the DAG of a file"):
        open_file(blocks, root, THREE_LEAVES)


@pytest.mark.parametrize("width", [1, 2, LINKS])
def test_a_hostile_root_costs_little(width: int) -> None:
    """A tree of 1024^4 leaves, each level one node that is linked to again and again, is given up after a few reads."""
    blocks = FaultyBlocks()
    cid = add_leaf(blocks, ZEROS)
    for _ in range(4):
        cid = put_node(blocks, link(bytes(cid), LEAF) * width + data_of([LEAF] * width))
    with pytest.raises(InvalidDag):
        open_file(blocks, cid, THREE_LEAVES)
    assert blocks.read.total() <= 4 * 4
    blocks.read.clear()
    with pytest.raises(InvalidDag):
        read_small(blocks, cid, THREE_LEAVES)
    assert blocks.read.total() <= 4 * 4


def test_a_chain_of_nodes_is_not_followed_for_ever() -> None:
    """A chain of nodes with one link each, deeper than any file, is given up at its depth."""
    blocks = FaultyBlocks()
    cid = add_leaf(blocks, b"leaf")
    for _ in range(50):
        cid = put_node(blocks, link(bytes(cid), 4) + data_of([4]))
    with pytest.raises(InvalidDag, match="deeper than any file"):
        open_file(blocks, cid, LEAF + 1)
    assert blocks.read.total() <= 5


def refused(blocks: FaultyBlocks, root: Cid, size: int) -> list[str]:
    """What is said of a root that is no file of ours, by everything that opens one; each time after a few reads."""
    told = []
    for read in (open_file, find_file, read_small):
        blocks.read.clear()
        with pytest.raises(InvalidDag) as caught:
            read(blocks, root, size)
        told.append(str(caught.value))
        assert blocks.read.total() <= 4
    return told


def test_a_tree_of_narrow_nodes_is_given_up_at_the_first() -> None:
    """95 leaves below three chains of nodes each: no node but the last of a level has fewer links than 1024."""
    blocks = FaultyBlocks()
    tops = []
    for index in range(95):
        cid = add_leaf(blocks, bytes([index]) * 9)
        for _ in range(3):
            cid = put_node(blocks, link(bytes(cid), LEAF) + data_of([LEAF]))
        tops.append(cid)
    root = put_node(blocks, b"".join(link(bytes(cid), LEAF) for cid in tops) + data_of([LEAF] * 95))
    assert [told.partition(" of a file of ")[0] for told in refused(blocks, root, 95 * LEAF)] == 3 * [
        f"{root}: not the DAG"
    ]


def test_a_tree_that_is_too_wide_for_its_leaves_is_given_up() -> None:
    """Two nodes where one has room for all leaves: the first is read, full or not, the second is not."""
    blocks = FaultyBlocks()
    nodes = [put_node(blocks, LINKED[0] * LINKS + data_of([LEAF] * LINKS)), Cid.of(b"never read", Codec.DAG_PB)]
    root = put_node(blocks, b"".join(link(bytes(cid), LEAF) for cid in nodes) + data_of([LEAF] * 2))
    assert refused(blocks, root, LINKS * LEAF) == 3 * [f"{root}: more than the expected {LINKS} leaves"]


def test_a_node_longer_than_any_of_ours_is_refused() -> None:
    """A full node of the largest file is below the limit; one that is filled up otherwise is not decoded."""
    blocks = FaultyBlocks()
    full = build([LEAVES[0]] * LINKS, LINKS * LEAF).nodes[0][1]
    # Higher up only the sizes are longer: three bytes at most in a link and in the message.
    assert len(full) + LINKS * 2 * 3 < unixfs._NODE
    root = put_node(blocks, link(bytes(LEAVES[0]), LEAF, bytes(unixfs._NODE)) + LINKED[1] + data_of(SIZES[:2]))
    (told,) = set(refused(blocks, root, 2 * LEAF))
    assert told.endswith(f"expected at most {unixfs._NODE}")
    with pytest.raises(InvalidDag):
        list(unixfs.addresses(blocks, root))


@pytest.mark.parametrize("lengths", [[LEAF, 0], [LEAF, LEAF, 0], [LEAF + LEAF // 2], [MAX_BLOCK], [LEAF, LEAF + 1]])
def test_a_last_leaf_of_a_length_that_no_file_gives_it_is_refused(lengths: list[int]) -> None:
    """An empty leaf behind others, and one above 1 MiB: another DAG for the same bytes, whatever its nodes claim."""
    blocks = MemoryBlocks()
    leaves = [add_leaf(blocks, b"x" * length) for length in lengths]
    root = leaves[0]
    if len(leaves) > 1:
        linked = [link(bytes(cid), length) for cid, length in zip(leaves, lengths, strict=True)]
        root = put_node(blocks, b"".join(linked) + data_of(lengths))
    with pytest.raises(InvalidDag, match=f"not the DAG of a file of at most {4 * LEAF} bytes"):
        find_file(blocks, root, 4 * LEAF)


# ------------------------------------------------------------------------------------------- what a store does to it


def test_a_missing_node_is_a_missing_block() -> None:
    """A file whose root the store lacks is not there."""
    blocks = FaultyBlocks()
    root = three_leaves(blocks)
    blocks.missing.add(root)
    with pytest.raises(BlockMissing) as caught:
        open_file(blocks, root, THREE_LEAVES)
    assert caught.value.cid == str(root)


def test_a_damaged_node_is_never_decoded() -> None:
    """Other bytes under the root's address are a mismatch, even where they are a good node of another file."""
    blocks = FaultyBlocks()
    root = three_leaves(blocks)
    blocks.damaged[root] = build(LEAVES[:2], 2 * LEAF).nodes[0][1]
    with pytest.raises(BlockMismatch):
        open_file(blocks, root, THREE_LEAVES)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_or_damaged_leaf_is_found_when_it_is_read(index: int) -> None:
    """The file opens, the other leaves can be read, and this one, or the whole, cannot."""
    blocks = FaultyBlocks()
    root = three_leaves(blocks)
    cid = LEAVES[index]
    blocks.missing.add(cid)
    file = open_file(blocks, root, THREE_LEAVES)
    with pytest.raises(BlockMissing):
        file.leaf(index)
    with pytest.raises(BlockMissing):
        file.read()
    assert len(file.leaf((index + 1) % 3)) == leaf_size(THREE_LEAVES, (index + 1) % 3)
    blocks.missing.clear()
    blocks.damaged[cid] = fetch(blocks, cid)[:-1] + b"?"
    with pytest.raises(BlockMismatch):
        file.leaf(index)


@pytest.mark.parametrize(("index", "length"), [(0, LEAF - 1), (0, LEAF + 1), (1, 5), (2, 4), (2, 6), (2, 0)])
def test_a_leaf_of_another_length_is_refused(index: int, length: int) -> None:
    """A leaf has the length that the file's size gives it, whatever hashes to its address."""
    blocks = MemoryBlocks()
    leaves = [add_leaf(blocks, b"x" * size) for size in SIZES]
    leaves[index] = add_leaf(blocks, b"y" * length)
    root = add_nodes(blocks, leaves, THREE_LEAVES).root
    file = open_file(blocks, root, THREE_LEAVES)
    with pytest.raises(InvalidDag, match=f"leaf {index}: expected {SIZES[index]} bytes, found {length}"):
        file.leaf(index)


def test_a_single_leaf_of_another_length_is_refused() -> None:
    """A raw root of another length than the file's is refused when it is read."""
    blocks = MemoryBlocks()
    root = add_leaf(blocks, b"four")
    with pytest.raises(InvalidDag, match="leaf 0: expected 5 bytes, found 4"):
        open_file(blocks, root, 5).read()


def test_a_store_that_breaks_is_not_mistaken_for_a_bad_file() -> None:
    """A failing store is a `StoreError`, which says nothing about the file."""
    blocks = FaultyBlocks()
    root = three_leaves(blocks)
    blocks.broken.add(root)
    with pytest.raises(StoreError, match="the store is broken"):
        open_file(blocks, root, THREE_LEAVES)


def test_no_root_is_stored_without_its_leaves() -> None:
    """Where a leaf cannot be kept, neither is the node above it."""
    blocks = FaultyBlocks()
    blocks.broken.add(LEAVES[2])
    with pytest.raises(StoreError):
        three_leaves(blocks)
    assert blocks.written == LEAVES[:2]


# ---------------------------------------------------------------------------------------------------- small documents


@pytest.mark.parametrize("size", [0, 1, LEAF, LEAF + 1, THREE_LEAVES])
def test_a_document_over_the_limit_is_refused(size: int) -> None:
    """A document of one byte more than the limit is refused, one of the limit is read."""
    blocks = MemoryBlocks()
    root = add(blocks, b"x" * size).root
    assert read_small(blocks, root, size) == b"x" * size
    if size:
        with pytest.raises(InvalidDag):
            read_small(blocks, root, size - 1)


def test_a_huge_document_is_given_up_early() -> None:
    """Of a document of 1 GiB no more leaves are read than the limit has."""
    blocks = FaultyBlocks()
    leaves = [add_leaf(blocks, ZEROS)] * 1024
    root = add_nodes(blocks, leaves, 1 << 30).root
    with pytest.raises(InvalidDag, match="more than the expected 3 leaves"):
        read_small(blocks, root, THREE_LEAVES)
    assert blocks.read.total() <= 4


@pytest.mark.parametrize("length", [LEAF + 1, MAX_BLOCK])
def test_a_document_in_an_oversized_leaf_is_refused(length: int) -> None:
    """A raw block above 1 MiB is no file of ours, though a store keeps it."""
    blocks = MemoryBlocks()
    root = add_leaf(blocks, bytes(length))
    with pytest.raises(InvalidDag):
        read_small(blocks, root, 4 * LEAF)


# ---------------------------------------------------------------------------------------------------- what IPFS gives


def pieces_of(vector: dict[str, Any]) -> Iterator[bytes]:
    """The leaves of a vector's file, one at a time."""
    size = vector["bytes"]
    if vector["generator"] == RANDOM:
        source = random.Random(vector["seed"])
        for index in range(leaf_count(size)):
            yield source.randbytes(leaf_size(size, index))
    else:
        for index in range(leaf_count(size)):
            yield chacha_leaf(vector, index)


def chacha_leaf(vector: dict[str, Any], index: int) -> bytes:
    """Leaf `index` of a vector that is a keystream."""
    length = leaf_size(vector["bytes"], index)
    key = chacha20.key_of(vector["seed"])
    return chacha20.keystream(key, index * LEAF // chacha20.BLOCK, -(-length // chacha20.BLOCK))[:length]


def test_the_keystream_is_that_of_the_rfc() -> None:
    """The tests' own ChaCha20 gives the first two blocks of RFC 8439, appendix A.1."""
    expected = (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    assert chacha20.keystream(bytes(32), 0, 2).hex() == expected
    assert chacha20.keystream(bytes(32), 1, 1).hex() == expected[128:]


def test_all_vectors_are_known() -> None:
    """The file holds ten vectors, all of the two generators that these tests have."""
    assert len(VECTORS) == 10
    assert {vector["generator"] for vector in VECTORS} == {RANDOM, CHACHA}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['seed']}-{vector['bytes']}")
def test_a_file_has_the_address_that_ipfs_gives_it(vector: dict[str, Any]) -> None:
    """Real IPFS implementations gave each of these files this address; they are made and hashed a leaf at a time."""
    if vector["bytes"] > 100 * LEAF:
        # A keystream can be started anywhere, so that two threads share the work; each holds one leaf.
        with ThreadPoolExecutor(2) as pool:
            cids = list(pool.map(lambda index: Cid.of(chacha_leaf(vector, index)), range(leaf_count(vector["bytes"]))))
    else:
        cids = [Cid.of(piece) for piece in pieces_of(vector)]
    assert str(build(cids, vector["bytes"]).root) == vector["cid"]


@pytest.mark.parametrize(
    "vector", [each for each in VECTORS if each["bytes"] < 100 * LEAF], ids=lambda each: each["cid"]
)
def test_a_stored_file_has_the_address_that_ipfs_gives_it(vector: dict[str, Any]) -> None:
    """Storing a file, and asking for its address without storing it, give that address too, and it reads back."""
    data = b"".join(pieces_of(vector))
    blocks = MemoryBlocks()
    assert str(add(blocks, data).root) == str(address(data)) == vector["cid"]
    assert open_file(blocks, Cid.parse(vector["cid"]), len(data)).read() == data


# ------------------------------------------------------------------------------------------------------ what is the DAG


@pytest.mark.parametrize("size", [0, 1, 1000, LEAF - 1, LEAF, LEAF + 1, 2 * LEAF, THREE_LEAVES])
def test_what_is_stored_reads_back(size: int) -> None:
    """A file of any size is read back as a whole, leaf by leaf, and as a document."""
    data = random.Random(size).randbytes(size)
    blocks = MemoryBlocks()
    dag = add(blocks, data)
    file = open_file(blocks, dag.root, size)
    assert file.read() == read_small(blocks, dag.root, size) == data
    assert b"".join(file.leaf(index) for index in range(len(file.leaves))) == data
    assert (file.leaves, file.size) == (dag.leaves, size)
    assert dag.root == address(data)


def test_bytes_beyond_the_end_are_left_out() -> None:
    """A span is cut at the end of the file, as a slice is."""
    blocks = MemoryBlocks()
    file = open_file(blocks, three_leaves(blocks), THREE_LEAVES)
    assert file.span(2 * LEAF, 9 * LEAF) == b"three"
    assert file.span(THREE_LEAVES, 9 * LEAF) == file.span(5 * LEAF, 9 * LEAF) == b""


def test_a_file_above_a_thousand_leaves_has_two_levels() -> None:
    """A file of 1025 MiB and a byte, of which the store has the few different blocks, can be read anywhere."""
    size = 1025 * LEAF + 1
    blocks = FaultyBlocks()
    leaves = [add_leaf(blocks, ZEROS)] * 1025 + [add_leaf(blocks, b"!")]
    dag = add_nodes(blocks, leaves, size)
    assert len(dag.nodes) == 3
    assert dag.nodes[-1][0] == dag.root
    assert all(len(node) <= MAX_BLOCK for _, node in dag.nodes)
    file = open_file(blocks, dag.root, size)
    assert list(file.leaves) == leaves
    assert blocks.read.total() == 3
    assert (file.leaf(1024), file.leaf(1025)) == (ZEROS, b"!")


def test_leaves_are_stored_before_nodes() -> None:
    """A root is written last, so that a reader who finds it finds the rest."""
    blocks = FaultyBlocks()
    root = three_leaves(blocks)
    assert blocks.written == [*LEAVES, root]


def test_what_is_there_is_not_written_again() -> None:
    """Storing the same file twice writes nothing the second time."""
    blocks = FaultyBlocks()
    three_leaves(blocks)
    blocks.written.clear()
    three_leaves(blocks)
    assert blocks.written == []


@settings(max_examples=100)
@given(st.integers(0, 1 << 44))
def test_the_leaves_of_a_size_make_up_the_size(size: int) -> None:
    """All leaves are 1 MiB but the last, which has the rest and is empty only where the file is."""
    count = leaf_count(size)
    last = leaf_size(size, count - 1)
    assert (count - 1) * LEAF + last == size
    assert 0 < last <= LEAF or (size, count, last) == (0, 1, 0)
    assert count == 1 or leaf_size(size, count - 2) == LEAF
