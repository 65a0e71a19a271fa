"""Stores by URL, several as one, and how much they moved."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.errors import BlockMismatch, BlockMissing, FedpactError, InputError, StoreError, Unreachable
from fedpact.store import Blocks, Cid, DirectoryBlocks, MemoryBlocks, fetch, keep
from fedpact.store.counting import CountedBlocks, Moved
from fedpact.store.opening import open_store
from fedpact.store.several import SeveralBlocks
from gateways import Gateway, respond
from hypothesis import given
from hypothesis import strategies as st

DATA = b"what a silo trained"
CID = Cid.of(DATA)


def several(*stores: Blocks, writable: bool = True) -> SeveralBlocks:
    """Stores as one, named by their place."""
    counted = [CountedBlocks(store, f"store {place}") for place, store in enumerate(stores)]
    return SeveralBlocks(counted, writable=writable)


# -------------------------------------------------------------------------------------------------------------- by URL


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "file://localhost{}", "FILE:{}"])
def test_a_directory_in_every_form(form: str, tmp_path: Path) -> None:
    """A path, or a file URL, in which a space is written as %20."""
    directory = tmp_path / "a store"
    text = str(directory) if form == "{}" else str(directory).replace(" ", "%20")
    blocks = open_store([form.format(text)], sync=False)
    blocks.put(CID, DATA)
    blocks.close()
    assert fetch(DirectoryBlocks(directory), CID) == DATA


def test_a_relative_path_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.chdir(tmp_path)
    for url in ("store", "file:store", "./a:b"):
        open_store([url], sync=False).put(CID, DATA)
    assert fetch(DirectoryBlocks(tmp_path / "store"), CID) == fetch(DirectoryBlocks(tmp_path / "a:b"), CID) == DATA


def test_others_are_read_and_what_they_had_is_kept(tmp_path: Path) -> None:
    """A block is taken from a gateway once; then it is in the own directory."""
    with Gateway(lambda to: respond(to, DATA)) as server:
        blocks = open_store([str(tmp_path), f"gateway+{server.url}"], sync=False)
        assert not blocks.has(CID)
        assert fetch(blocks, CID) == fetch(blocks, CID) == DATA
        assert len(server.asked) == 1
        assert blocks.has(CID)
        assert blocks.moved == {
            str(tmp_path): Moved(1, len(DATA), 1, len(DATA)),
            f"gateway {server.url}": Moved(1, len(DATA), 0, 0),
        }
        blocks.close()


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ([], "found none"),
        ([""], "found an empty text"),
        (["s3://bucket"], "found a URL of 's3'"),
        (["http://host"], "found a URL of 'http'"),
        (["store", "kubo+unix:/secret"], "found a URL of 'kubo\\+unix'"),
        (["kubo+http://"], "expected kubo\\+http://host:port, with a user and a path at most"),
        (["kubo+https://host:0"], "expected kubo\\+https://host:port"),
        (["kubo+http://user:secret@host?secret"], "expected kubo\\+http://host:port"),
        (["file://host/store"], "another file: URL"),
        (["file:"], "another file: URL"),
        (
            ["gateway+http://host"],
            "expected a directory or an IPFS node first, to write to; found a store of 'gateway\\+http'",
        ),
        (["store", "gateway+http://user:secret@host"], "gateway: expected"),
        (["store", "gateway+ftp://host"], "found a URL of 'gateway\\+ftp'"),
    ],
)
def test_what_is_no_store_is_refused(urls: list[str], said: str) -> None:
    """One line that says what is known, and does not show the URL."""
    with pytest.raises(InputError, match=said) as caught:
        open_store(urls)
    assert "secret" not in str(caught.value)
    assert "host" not in str(caught.value).replace("host:port", "").replace("https://host", "")


def test_to_read_from_a_gateway_alone_is_enough() -> None:
    """Where nothing is written no directory is needed, and nothing can be written."""
    with Gateway(lambda to: respond(to, DATA)) as server:
        blocks = open_store([f"gateway+{server.url}"], writable=False)
        assert fetch(blocks, CID) == DATA
        assert blocks.has(CID)
        with pytest.raises(StoreError, match="opened to be read from"):
            blocks.put(CID, DATA)
        blocks.close()


# ------------------------------------------------------------------------------------------------------- several as one


def test_a_store_that_lies_is_passed_over_and_mended() -> None:
    """Wrong bytes are taken from the next store, and the first gets the right ones in their place."""
    first, second = MemoryBlocks(), MemoryBlocks()
    first.put(CID, b"damaged")
    second.put(CID, DATA)
    assert fetch(several(first, second), CID) == DATA
    assert fetch(first, CID) == DATA


def test_reads_are_kept_only_where_something_may_be_written() -> None:
    """Then what others had is in the first store."""
    for writable in (True, False):
        first, second = FaultyBlocks(), MemoryBlocks()
        second.put(CID, DATA)
        assert fetch(several(first, second, writable=writable), CID) == DATA
        assert first.written == [CID] * writable


def test_a_full_disk_does_not_stop_the_reading() -> None:
    """A block that cannot be kept has been read all the same."""
    first, second = FaultyBlocks(), MemoryBlocks()
    first.broken.add(CID)
    second.put(CID, DATA)
    assert fetch(several(first, second), CID) == DATA


STATES = ["right", "wrong", "missing", "broken", "silent"]


@pytest.mark.parametrize("states", list(itertools.product(STATES, STATES)), ids="-".join)
def test_the_best_answer_of_two(states: tuple[str, str]) -> None:
    """Right bytes of either; else an error of one's own; else out of reach; else wrong bytes; else missing."""
    stores = []
    for state in states:
        store = FaultyBlocks()
        store.put(CID, DATA)
        if state == "wrong":
            store.damaged[CID] = b"other"
        elif state != "right":
            getattr(store, state).add(CID)
        stores.append(store)
    blocks = several(*stores, writable=False)
    if "right" in states:
        assert fetch(blocks, CID) == DATA
        return
    errors = {"broken": StoreError, "silent": Unreachable, "wrong": BlockMismatch, "missing": BlockMissing}
    expected = next(error for state, error in errors.items() if state in states)
    with pytest.raises(FedpactError) as caught:
        fetch(blocks, CID)
    assert type(caught.value) is expected
    assert len(str(caught.value).splitlines()) == 1
    if states == ("broken", "broken"):
        assert "no store has it" in str(caught.value)


def test_a_store_that_falls_silent_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not for each block; and it is said when it answers again, be it that it has nothing."""
    second = FaultyBlocks()
    second.silent.add(CID)
    blocks = several(MemoryBlocks(), second)
    caplog.set_level("INFO")
    for _ in range(3):
        with pytest.raises(Unreachable):
            blocks.get(CID)
    with pytest.raises(BlockMissing):
        blocks.get(Cid.of(b"another"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "what only it has is missing until it answers" in caplog.messages[0]
    assert caplog.messages[1].endswith(": answers again")


def test_what_others_have_is_written_all_the_same() -> None:
    """A block that somebody else keeps, for how long nobody knows, is kept here too."""
    first, second = MemoryBlocks(), MemoryBlocks()
    second.put(CID, DATA)
    keep(several(first, second), CID, DATA)
    assert fetch(first, CID) == DATA


def test_without_a_place_to_write_any_store_counts() -> None:
    """Then `has` asks all; an error counts only where none has it."""
    first, second = FaultyBlocks(), MemoryBlocks()
    blocks = several(first, second, writable=False)
    assert not blocks.has(CID)
    second.put(CID, DATA)
    assert blocks.has(CID)


@pytest.mark.parametrize("writable", [True, False])
def test_a_block_is_hashed_once(monkeypatch: pytest.MonkeyPatch, writable: bool) -> None:
    """Several stores check what they read, so that `fetch` need not do it again."""
    verify, verified = Cid.verify, []
    monkeypatch.setattr(Cid, "verify", lambda cid, data: (verified.append(cid), verify(cid, data))[1])
    for count in (1, 2):
        stores = [MemoryBlocks() for _ in range(count)]
        stores[0].put(CID, DATA)
        verified.clear()
        assert fetch(several(*stores, writable=writable), CID) == DATA
        assert verified == [CID]


@given(st.lists(st.sampled_from([b"", b"a", b"bb", b"wrong"]), max_size=4), st.booleans())
def test_the_law_of_several(held: list[bytes], writable: bool) -> None:
    """Whatever the stores hold under an address: `fetch` gives its bytes exactly where one of them holds those."""
    cid = Cid.of(b"bb")
    stores = [MemoryBlocks() for _ in held]
    for store, data in zip(stores, held, strict=True):
        store.put(cid, data)
    blocks = several(MemoryBlocks(), *stores, writable=writable)
    if b"bb" in held:
        assert fetch(blocks, cid) == b"bb"
    else:
        with pytest.raises(BlockMismatch if held else BlockMissing):
            fetch(blocks, cid)


# ------------------------------------------------------------------------------------------------------------- counting


def test_threads_do_not_miscount() -> None:
    """Every block and byte is counted once, however many threads move them."""
    counted = CountedBlocks(MemoryBlocks(), "memory")
    counted.put(CID, DATA)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: (counted.get(CID), counted.put(CID, DATA)), range(500)))
    assert counted.moved == Moved(500, 500 * len(DATA), 501, 501 * len(DATA))


def test_what_fails_is_not_counted() -> None:
    """A block that is not there moved nothing."""
    counted = CountedBlocks(MemoryBlocks(), "memory")
    with pytest.raises(BlockMissing):
        counted.get(CID)
    assert counted.moved == Moved()
