"""Content addresses: CIDv1, sha2-256, raw or dag-pb, written in base32.

Nothing else is an address here: one content has one address, and one address has one text.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from dataclasses import dataclass
from functools import cached_property

from fedpact.errors import BlockMismatch, InvalidCid


class Codec(enum.IntEnum):
    """How the bytes of a block are to be read (multicodec table)."""

    RAW = 0x55
    DAG_PB = 0x70


# CIDv1, then the codec; sha2-256, 32 bytes, then the digest.
_VERSION = 0x01
_SHA2_256 = b"\x12\x20"
_TEXT_LENGTH = 59


@dataclass(frozen=True)
class Cid:
    """The address of a block.

    Attributes:
        digest: 32 bytes, sha2-256 of the block.
        codec: how the block is to be read.

    Raises:
        InvalidCid: the digest has not 32 bytes, or the codec is another.

    Source: https://github.com/multiformats/cid
    """

    digest: bytes
    codec: Codec

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise InvalidCid(f"digest: expected 32 bytes, found {len(self.digest)}")
        if type(self.codec) is Codec:
            return
        try:
            object.__setattr__(self, "codec", Codec(self.codec))
        except ValueError:
            raise InvalidCid(f"codec: expected 0x55 (raw) or 0x70 (dag-pb), found {self.codec:#x}") from None

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, codec: Codec = Codec.RAW) -> Cid:
        """The address of a block's bytes."""
        return cls(hashlib.sha256(data).digest(), codec)

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Reads the canonical text of an address.

        Raises:
            InvalidCid: the text is not the one text of an address of this kind.
        """
        if not isinstance(text, str) or len(text) != _TEXT_LENGTH or not text.startswith("b"):
            raise InvalidCid(f"{str(text)[:80]!r}: expected {_TEXT_LENGTH} characters of a base32 CIDv1 (b…)")
        try:
            raw = base64.b32decode(text[1:].upper() + "======")
        except ValueError:  # Of binascii, or of text beyond ASCII.
            raise InvalidCid(f"{text!r}: not base32") from None
        cid = cls.from_bytes(raw)
        if str(cid) != text:
            raise InvalidCid(f"{text!r}: the canonical text of this address is {cid}")
        return cid

    @classmethod
    def from_bytes(cls, raw: bytes) -> Cid:
        """Reads the 36 bytes of a binary CIDv1.

        Raises:
            InvalidCid: version, codec or hash function are others.
        """
        if len(raw) != 36 or raw[0] != _VERSION or raw[2:4] != _SHA2_256:
            raise InvalidCid(f"{raw[:40].hex()}: expected the 36 bytes of a CIDv1 with sha2-256")
        return cls(raw[4:], raw[1])  # type: ignore[arg-type]  # The constructor checks that the number is a codec.

    def __bytes__(self) -> bytes:
        return bytes((_VERSION, self.codec)) + _SHA2_256 + self.digest

    @cached_property
    def text(self) -> str:
        """The canonical text: multibase `b`, base32, lower case, no padding."""
        return "b" + base64.b32encode(bytes(self)).decode().rstrip("=").lower()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Cid({self.text})"

    def verify(self, data: bytes | memoryview) -> None:
        """Checks that bytes are those that the address stands for.

        Raises:
            BlockMismatch: they hash to another address.
        """
        if hashlib.sha256(data).digest() != self.digest:
            raise BlockMismatch(str(self), str(Cid.of(data, self.codec)))
