"""Addresses: one content has one address, one address has one text, and nothing else is an address."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from fedpact.errors import BlockMismatch, ContentError, InvalidCid
from fedpact.store import Cid, Codec
from hypothesis import given, settings
from hypothesis import strategies as st

EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
"""`ipfs add --cid-version=1` of an empty file."""

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

digests = st.binary(min_size=32, max_size=32)
cids = st.builds(Cid, digests, st.sampled_from(Codec))


def text_of(raw: bytes) -> str:
    """Multibase base32 of any bytes."""
    return "b" + base64.b32encode(raw).decode().rstrip("=").lower()


NO_ADDRESSES = {
    "empty": "",
    "only the multibase prefix": "b",
    "one character short": EMPTY[:-1],
    "one character more": EMPTY + "a",
    "upper case": EMPTY.upper(),
    "one letter in upper case": EMPTY[:10] + EMPTY[10].upper() + EMPTY[11:],
    "multibase prefix of upper case": "B" + EMPTY[1:].upper(),
    "multibase prefix of base58": "z" + EMPTY[1:],
    "white space before": " " + EMPTY[:-1],
    "line feed after": EMPTY[:-1] + "\n",
    "padding": EMPTY[:-2] + "==",
    "a digit that base32 lacks": EMPTY[:20] + "1" + EMPTY[21:],
    "a letter beyond ASCII": EMPTY[:20] + "é" + EMPTY[21:],
    "a letter whose upper case is ASCII": EMPTY.replace("i", "\u0131", 1),
    "a letter whose upper case is two": EMPTY[:20] + "ß" + EMPTY[21:],
    "half a character": EMPTY[:20] + "\ud800" + EMPTY[21:],
    "bits set beyond the last byte": EMPTY[:-1] + BASE32[BASE32.index(EMPTY[-1]) + 1],
    "CIDv0": "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
    "version 0 in a CIDv1": text_of(b"\x00\x55\x12\x20" + bytes(32)),
    "dag-cbor": text_of(b"\x01\x71\x12\x20" + bytes(32)),
    "sha3-256": text_of(b"\x01\x55\x16\x20" + bytes(32)),
    "31 bytes of hash, one byte more": text_of(b"\x01\x55\x12\x1f" + bytes(32)),
}


@pytest.mark.parametrize("text", NO_ADDRESSES.values(), ids=NO_ADDRESSES.keys())
def test_text_that_is_no_address_is_refused(text: str) -> None:
    """Text that is not the one text of an address of ours is refused in one line."""
    with pytest.raises(InvalidCid) as caught:
        Cid.parse(text)
    assert isinstance(caught.value, ContentError)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [None, 7, EMPTY.encode(), [EMPTY], {"/": EMPTY}])
def test_what_is_no_text_is_refused(value: object) -> None:
    """A value from a foreign document that is no text at all is refused as an address, not with a TypeError."""
    with pytest.raises(InvalidCid):
        Cid.parse(value)  # type: ignore[arg-type]


def test_a_long_text_is_not_repeated_in_the_error() -> None:
    """A text of any length makes a short error."""
    with pytest.raises(InvalidCid) as caught:
        Cid.parse("b" * 1_000_000)
    assert len(str(caught.value)) < 300


@settings(max_examples=100)
@given(st.text(max_size=70) | st.text(alphabet=BASE32 + "=", min_size=58, max_size=58).map("b".__add__))
def test_any_text_is_refused_or_is_the_text_of_its_address(text: str) -> None:
    """Whatever parses is written in the same way again, so no two texts are one address."""
    try:
        cid = Cid.parse(text)
    except InvalidCid:
        return
    assert str(cid) == text


@settings(max_examples=100)
@given(cids, st.integers(0, 58), st.characters())
def test_an_altered_text_is_never_the_same_address(cid: Cid, place: int, other: str) -> None:
    """A text with one character changed is refused or is another address."""
    altered = cid.text[:place] + other + cid.text[place + 1 :]
    if altered == cid.text:
        return
    with contextlib.suppress(InvalidCid):
        assert Cid.parse(altered) != cid


@settings(max_examples=100)
@given(st.binary(max_size=40) | digests.map(b"\x01\x55\x12\x20".__add__) | st.binary(min_size=36, max_size=36))
def test_any_bytes_are_refused_or_are_the_bytes_of_their_address(raw: bytes) -> None:
    """Whatever 36 bytes are read as an address are written in the same way again."""
    try:
        cid = Cid.from_bytes(raw)
    except InvalidCid:
        return
    assert bytes(cid) == raw


@pytest.mark.parametrize("start", ["00551220", "02551220", "01711220", "01551320", "0155121f", "01551621", "12200155"])
def test_bytes_of_another_kind_of_address_are_refused(start: str) -> None:
    """Another version, codec, hash function or length of hash is refused, whatever the digest is."""
    with pytest.raises(InvalidCid):
        Cid.from_bytes(bytes.fromhex(start) + bytes(32))
    assert Cid.from_bytes(bytes.fromhex("01551220") + bytes(32)) == Cid(bytes(32), Codec.RAW)


@pytest.mark.parametrize("length", [0, 28, 31, 33, 64])
def test_a_digest_of_another_length_is_refused(length: int) -> None:
    """A digest that is not 32 bytes long makes no address, and the error says both lengths."""
    with pytest.raises(InvalidCid, match=f"digest: expected 32 bytes, found {length}"):
        Cid(bytes(length), Codec.RAW)


@pytest.mark.parametrize("codec", [0, 0x71, 0x0129, -1])
def test_another_codec_is_refused(codec: int) -> None:
    """An address is raw or dag-pb."""
    with pytest.raises(InvalidCid, match="codec: expected 0x55"):
        Cid(bytes(32), codec)  # type: ignore[arg-type]


@settings(max_examples=50)
@given(st.binary(max_size=100), st.integers(0, 800), st.sampled_from(Codec))
def test_a_single_flipped_bit_is_a_mismatch(data: bytes, bit: int, codec: Codec) -> None:
    """Bytes that differ in one bit, or are longer, do not verify; the error carries both addresses."""
    cid = Cid.of(data, codec)
    other = bytearray(data + b"\x00")
    other[bit // 8 % len(other)] ^= 1 << bit % 8
    with pytest.raises(BlockMismatch) as caught:
        cid.verify(bytes(other))
    assert (caught.value.expected, caught.value.found) == (str(cid), str(Cid.of(bytes(other), codec)))


@settings(max_examples=100)
@given(cids)
def test_text_and_bytes_lead_back_to_the_address(cid: Cid) -> None:
    """An address survives being written as text and as bytes, and stays usable as a key."""
    assert Cid.parse(str(cid)) == Cid.from_bytes(bytes(cid)) == cid
    assert len({cid, Cid.parse(cid.text), Cid.from_bytes(bytes(cid))}) == 1
    assert isinstance(Cid.from_bytes(bytes(cid)).codec, Codec)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.sampled_from(Codec))
def test_the_address_of_bytes_is_their_sha256(data: bytes, codec: Codec) -> None:
    """An address holds the sha2-256 of the block, whatever buffer it is in, and verifies it."""
    cid = Cid.of(memoryview(data), codec)
    assert cid.digest == hashlib.sha256(data).digest()
    assert bytes(cid) == bytes((1, codec, 0x12, 0x20)) + cid.digest
    cid.verify(memoryview(data))


def test_the_codec_is_part_of_the_address() -> None:
    """The same bytes as a leaf and as a node have two addresses."""
    assert Cid.of(b"", Codec.RAW) != Cid.of(b"", Codec.DAG_PB)
    assert Cid.of(b"", Codec.RAW).text != Cid.of(b"", Codec.DAG_PB).text


def test_the_address_of_nothing_is_the_known_one() -> None:
    """An empty block has the address that IPFS gives it."""
    assert str(Cid.of(b"")) == EMPTY
    assert repr(Cid.of(b"")) == f"Cid({EMPTY})"
