"""The hashes that the contract computes, computed again: heads, transcripts, commitments.

Each is keccak-256 over `abi.encode` of static values, so over 32-byte words; the order of the words is the contract's.
"""

from __future__ import annotations

import struct

from fedpact.ledger.facts import Address, Hash, Identity, Limits, Terms, Update
from fedpact.ledger.keccak import keccak
from fedpact.store.cid import Cid

_UPDATE = struct.Struct(">32s31xB24xQ24sq24xQ")  # Five words: digest, codec, samples, score, size.
_NEGATIVE, _POSITIVE = b"\xff" * 24, bytes(24)  # What stands before a score.


def first_head(identity: Identity, owner: Address, charter: Cid, genesis: Cid, limits: Limits) -> Hash:
    """The head of a federation without a round: it binds all that the constructor was given."""
    words = _number(identity.chain_id) + _address(identity.contract) + _address(owner) + _cid(charter) + _cid(genesis)
    return Hash(keccak(words + b"".join(map(_number, (limits.min_quorum, limits.min_phase, limits.max_round)))))


def published_head(head: Hash, round_number: int, transcript: Hash, model: Cid, manifest: Cid) -> Hash:
    """The head after a publication."""
    return Hash(keccak(head + _number(round_number) + _transcript(transcript) + _cid(model) + _cid(manifest)))


def rewound_head(head: Hash, round_number: int, base: Cid) -> Hash:
    """The head after a rewind."""
    return Hash(keccak(head + _number(round_number) + _cid(base)))


def first_transcript(
    head: Hash,
    last: Hash,
    round_number: int,
    charter: Cid,
    base: Cid,
    opener: Address,
    terms: Terms,
    expected: int,
) -> Hash:
    """The transcript of a round without a submission (28 bytes): it binds all that the round starts from.

    Args:
        last: the transcript of the round before, published or cancelled; zeros (28 bytes) before the first round.
    """
    words = (
        head + _transcript(last) + _number(round_number) + _cid(charter) + _cid(base) + _address(opener) + _terms(terms)
    )
    return Hash(keccak(words + _number(expected))[4:])


def next_transcript(transcript: Hash, member: Address, update: Update) -> Hash:
    """The transcript after one more submission (28 bytes)."""
    return Hash(keccak(_transcript(transcript) + _address(member) + _update(update))[4:])


def commitment(identity: Identity, round_number: int, member: Address, update: Update, salt: Hash) -> Hash:
    """What a member commits to: nobody else, no other round and no other federation can use it."""
    words = _number(identity.chain_id) + _address(identity.contract) + _number(round_number) + _address(member)
    return Hash(keccak(words + _update(update) + salt))


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big", signed=value < 0)


def _address(account: Address) -> bytes:
    return bytes(12) + bytes.fromhex(account[2:])


def _transcript(value: Hash) -> bytes:
    return bytes(4) + value


def _cid(cid: Cid) -> bytes:
    return cid.digest + _number(cid.codec)


def _terms(terms: Terms) -> bytes:
    deadlines = (terms.register_by, terms.commit_by, terms.submit_by, terms.publish_by)
    return b"".join(map(_number, deadlines)) + _number(terms.quorum)


def _update(update: Update) -> bytes:
    sign = _NEGATIVE if update.score < 0 else _POSITIVE
    return _UPDATE.pack(update.cid.digest, update.cid.codec, update.samples, sign, update.score, update.size)
