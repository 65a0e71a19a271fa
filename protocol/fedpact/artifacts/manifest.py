"""The manifest: how a round's updates became the model, as one canonical document.

It lists every submission of the round with what was decided about it and why. It is derived, not written: the
coordinator and every auditor make it with the same function (`fedpact.derivation`) and must get the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, ValidationError

from fedpact.artifacts import canonical
from fedpact.errors import InvalidDocument
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.unixfs import read_small

FORMAT = "fedpact-manifest/1"
MAX_BYTES = 64 << 20
"""Bytes that a manifest has at most: 65,535 submissions need half of it."""

_MOST_MOMENTS = 16


def most_bytes(submissions: int) -> int:
    """Bytes that the manifest of a round with so many submissions has at most."""
    return min(MAX_BYTES, 4096 + 1024 * submissions)


Decision = Literal["included", "excluded", "not_selected"]
DECISIONS: dict[Decision, str] = {
    "included": "the model is made of it",
    "excluded": "it could not be used, or could not be fetched: see its reason",
    "not_selected": "the charter's selection left it aside, so it was not fetched",
}
"""What was decided about a submission."""
Reason = Literal[
    "",
    "wrong_size",
    "too_many_samples",
    "score_out_of_range",
    "duplicate",
    "malformed",
    "wrong_header",
    "not_finite",
    "unavailable",
]
REASONS: dict[Reason, str] = {
    "": "it is not excluded",
    "wrong_size": "proved by the ledger: it is not as long as the charter's model makes it",
    "too_many_samples": "proved by the ledger: it claims more samples than `limits.max_samples`",
    "score_out_of_range": "proved by the ledger: its score is not from `limits.min_score` to `limits.max_score`",
    "duplicate": "proved by the ledger: another member submitted the same address before in this round, and the "
    "charter excludes duplicates",
    "malformed": "proved by the bytes: what is at its address is no file of its length",
    "wrong_header": "proved by the bytes: its names, shapes or dtypes are not those that the charter fixes",
    "not_finite": "proved by the bytes: an element is NaN or infinite",
    "unavailable": "asserted: the coordinator could not fetch it in time",
}
"""Why an update is excluded. All but `unavailable` are proved: an auditor finds the same from the ledger and the bytes.
`unavailable` is asserted: that the coordinator could not fetch an update is its word alone."""

ASSERTED: Reason = "unavailable"


class _Section(BaseModel):
    # `decode` finds additional fields: to list them all, or all faults of a list, would let 64 MiB of them fill the
    # memory.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Line(_Section):
    """One submission.

    Attributes:
        index: the member's index on the ledger.
        member: the member's account.
        update: the update's address.
        samples: the training samples that the member claims.
        score: the score that the member claims, in millionths.
        size: the update's bytes, as the member says.
        decision: one that is not selected was not fetched.
        weight: what it counts in the model under a rule that weighs; 0 where it is not included.
        reason: why it is excluded; empty where it is not.
        detail: what was found, for a person; empty where it is included.
    """

    index: int
    member: str
    update: str
    samples: int
    score: int
    size: int
    decision: Decision
    weight: int
    reason: Reason
    detail: str


def _few(value: object) -> object:
    # Only a list can be told to end at its first fault.
    if isinstance(value, dict) and len(value) > _MOST_MOMENTS:
        raise ValueError(f"expected at most {_MOST_MOMENTS} moments, found {len(value)}")
    return value


class OptimiserState(_Section):
    """What a server optimiser remembers after the round.

    Attributes:
        name: which optimiser; it goes on from the state of no other.
        version: which version of it, for the same reason.
        state: the address of each of its moments.
    """

    name: str
    version: int
    state: Annotated[dict[str, str], BeforeValidator(_few)]


class Manifest(_Section):
    """How one round's updates became a model.

    Attributes:
        format: this document and its version.
        round: the round's number.
        charter: the address of the charter that the round was opened under.
        base: the address of the model that the round started from.
        transcript: the rolling hash over the submissions that this is made of, hexadecimal.
        rule: the name of the rule that made the model.
        version: the rule's version.
        submissions: all of them, by index.
        model: the model's address; empty where fewer updates than the quorum could be used.
        size: the model's bytes.
        optimiser: none where the charter has none, or there is no model.
    """

    format: Literal["fedpact-manifest/1"]
    round: int
    charter: str
    base: str
    transcript: str
    rule: str
    version: int
    submissions: Annotated[list[Line], FailFast()]
    model: str
    size: int
    optimiser: OptimiserState | None = None

    def encode(self) -> bytes:
        """The canonical bytes."""
        return canonical.encode(self.model_dump(exclude_none=True))

    @property
    def included(self) -> list[Line]:
        """The submissions that the model is made of."""
        return [line for line in self.submissions if line.decision == "included"]

    @property
    def excluded(self) -> list[Line]:
        """The submissions that it could not be made of."""
        return [line for line in self.submissions if line.decision == "excluded"]

    @property
    def not_selected(self) -> list[Line]:
        """The submissions that the charter's selection left aside."""
        return [line for line in self.submissions if line.decision == "not_selected"]


def fetch(blocks: Blocks, cid: Cid, submissions: int) -> Manifest:
    """Reads the manifest at an address, of a round with so many submissions.

    Raises:
        StoreError: it is not there (`BlockMissing`), or the store does not answer.
        ContentError: something else is there.
    """
    return decode(read_small(blocks, cid, most_bytes(submissions)))


def decode(data: bytes) -> Manifest:
    """Reads the canonical bytes of a manifest.

    Raises:
        InvalidDocument: they are not those of a manifest.
    """
    value = canonical.decode(data, "manifest")
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(each) for each in first["loc"])
        raise InvalidDocument(f"manifest: {where}: {first['msg']}") from None
    if manifest.encode() != data:
        raise InvalidDocument("manifest: it has fields that no manifest has")
    return manifest
