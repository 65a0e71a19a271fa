"""The block server: a DAG as a CAR, read by its specification alone."""

from __future__ import annotations

import http.client
import os
import time

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.store import Cid, Codec, unixfs
from fedpact.store.unixfs import LEAF, add
from served import Served, served

__all__ = ["served"]


def read_car(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A CAR read by its specification alone: the root of its header, and its blocks."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value, at

    length, at = varint(0)
    header = data[at : at + length]
    root = header[-45:-9]
    # DAG-CBOR: a map of two; "roots", a list of one, tag 42 on 37 bytes with a leading zero; "version", 1.
    assert header == b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + root + b"\x67version\x01"
    at += length
    blocks = []
    while at < len(data):
        length, at = varint(at)
        blocks.append((data[at : at + 36], data[at + 36 : at + length]))
        at += length
    assert at == len(data)
    return root, blocks


@pytest.mark.parametrize("size", [0, 5, LEAF, 2 * LEAF + 3, 9 * LEAF])
def test_a_car_holds_the_dag_depth_first(served: Served, size: int) -> None:
    """The root first, then what it links to, in order: who reads one block after the other reads the file."""
    data = os.urandom(size)
    dag = add(served.blocks, data)
    status, _, body = served.ask(f"/ipfs/{dag.root}?format=car")
    assert status == 200
    root, blocks = read_car(body)
    assert root == bytes(dag.root)
    inner = [(bytes(cid), node) for cid, node in dag.nodes]
    assert blocks[: len(inner)] == inner
    leaves = blocks[len(inner) :]
    assert b"".join(leaf for _, leaf in leaves) == data
    assert [cid for cid, _ in leaves] == [bytes(cid) for cid in dag.leaves]


def test_the_order_of_a_deep_dag(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two levels of inner nodes each subtree comes whole before the next; what repeats can be left out."""
    monkeypatch.setattr(unixfs, "LINKS", 4)
    data = bytes(4 * LEAF) + b"end"
    dag = add(served.blocks, data)
    leaf, last = dag.leaves[0], dag.leaves[-1]
    left, right, root = (cid for cid, _ in dag.nodes)
    for query, expected in (
        ("&car-dups=y", (root, left, leaf, leaf, leaf, leaf, right, last)),
        ("&car-dups=n", (root, left, leaf, right, last)),
        ("", (root, left, leaf, right, last)),
        ("&dag-scope=entity", (root, left, leaf, right, last)),
        ("&dag-scope=block", (root,)),
    ):
        _, _, body = served.ask(f"/ipfs/{root}?format=car{query}")
        assert [cid for cid, _ in read_car(body)[1]] == [bytes(each) for each in expected]


@pytest.mark.parametrize("fault", ["missing", "damaged", "broken"])
def test_a_car_that_cannot_be_ended_is_cut_off(served: Served, fault: str) -> None:
    """Where a block in the middle is not to be had the answer breaks off: nobody takes it for whole."""
    data = os.urandom(4 * LEAF)
    dag = add(served.blocks, data)
    if fault == "damaged":
        served.blocks.damaged[dag.leaves[2]] = b"other"
    else:
        getattr(served.blocks, fault).add(dag.leaves[2])
    with pytest.raises(http.client.IncompleteRead) as caught:
        served.ask(f"/ipfs/{dag.root}?format=car")
    assert data[2 * LEAF :][:100] not in caught.value.partial
    assert served.ask(f"/ipfs/{dag.leaves[0]}?format=raw")[0] == 200


def test_a_dag_that_is_none_of_ours_ends(served: Served) -> None:
    """A node that links to itself cannot exist; one deeper than any file, or without links, is cut off."""
    cid = Cid.of(b"bottom")
    served.blocks.put(cid, b"bottom")
    for _ in range(8):
        node = b"\x12\x28\x0a\x24" + bytes(cid) + b"\x12\x00"
        cid = Cid.of(node, Codec.DAG_PB)
        served.blocks.put(cid, node)
    with pytest.raises(http.client.IncompleteRead) as caught:
        served.ask(f"/ipfs/{cid}?format=car")
    assert b"bottom" not in caught.value.partial


def repeating(blocks: FaultyBlocks) -> list[Cid]:
    """Four nodes, one below the other, that stand for 1024 ** 4 leaves; from the root down to the leaf."""
    cid = Cid.of(b"leaf")
    blocks.put(cid, b"leaf")
    cids = [cid]
    for _ in range(4):
        node = (b"\x12\x28\x0a\x24" + bytes(cid) + b"\x12\x00") * 1024
        cid = Cid.of(node, Codec.DAG_PB)
        blocks.put(cid, node)
        cids.insert(0, cid)
    return cids


def test_links_that_repeat_are_followed_once(served: Served) -> None:
    """Whoever asks for each block once has them read once, however often they are linked to."""
    cids = repeating(served.blocks)
    _, _, body = served.ask(f"/ipfs/{cids[0]}?format=car&car-dups=n")
    assert [cid for cid, _ in read_car(body)[1]] == [bytes(cid) for cid in cids]
    assert set(served.blocks.read.values()) == {1}


@pytest.mark.parametrize(("dups", "most"), [("y", 3000), ("n", 1500)])
def test_what_one_car_walks_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch, dups: str, most: int) -> None:
    """With more links than any file has the answer breaks off, whether they are sent or only looked at."""
    monkeypatch.setattr(unixfs, "_WALKED", most)
    cids = repeating(served.blocks)
    with pytest.raises(http.client.IncompleteRead):
        served.ask(f"/ipfs/{cids[0]}?format=car&car-dups={dups}")
    assert sum(served.blocks.read.values()) <= most
    assert served.ask(f"/ipfs/{cids[-1]}?format=raw")[2] == b"leaf"


def test_a_client_that_leaves_ends_the_reading(served: Served) -> None:
    """Whoever hangs up in the middle of a CAR has no more blocks read for him."""
    data = os.urandom(64 * LEAF)
    dag = add(served.blocks, data)
    with served.connect() as client:
        client.sendall(f"GET /ipfs/{dag.root}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(1000)
    end = time.monotonic() + 10
    before = -1
    while before != sum(served.blocks.read.values()) and time.monotonic() < end:
        before = sum(served.blocks.read.values())
        time.sleep(0.5)  # For the server to notice; bounded above.
    assert before < 60
