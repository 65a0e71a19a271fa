"""The report of an audit, as one canonical document: what was asked, what was found.

It says nothing of when, where or for how long, so the same audit gives the same bytes and the same address. A member
puts it into the store, and its attestation on the ledger names that address. Reports come from strangers: what is read
here is bounded, of the right form, and in keeping with itself, but it is its author's word and proves nothing.
"""

from __future__ import annotations

import itertools
import math
import re
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError, model_validator

from fedpact.artifacts import canonical
from fedpact.artifacts.mistakes import first_mistake
from fedpact.errors import InvalidCid, InvalidDocument
from fedpact.store.cid import Cid

FORMAT: Literal["fedpact-audit/1"] = "fedpact-audit/1"
MAX_BYTES = 64 << 20
"""Bytes that a report has at most: 90,000 rounds without findings."""
MAX_FINDINGS = 1000
"""Findings and unchecked things that a report lists; what is beyond is counted in `omitted`."""
MAX_TEXT = 500
"""Characters of a text."""

Verdict = Literal["reproduced", "sample agrees", "differs", "unchecked"]

_SHARE = re.compile(r"1|0\.[0-9]{0,17}[1-9]")
_SEED = re.compile(r"0|[1-9][0-9]{0,19}")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable text")
    return text


def _cid(text: str) -> str:
    try:
        Cid.parse(text)
    except InvalidCid as error:
        raise ValueError(str(error)) from None
    return text


def _share(text: str) -> str:
    if not _SHARE.fullmatch(text):
        raise ValueError("expected a decimal number above 0, at most 1, as text that ends with no 0")
    return text


def _seed(text: str) -> str:
    if text and not (_SEED.fullmatch(text) and int(text) < 1 << 64):
        raise ValueError("expected a whole number from 0 to 2^64 - 1, as text, or none")
    return text


_Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_printable)]
_CidText = Annotated[str, AfterValidator(_cid)]
_Head = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]
_Round = Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
_Count = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
_Members = Annotated[int, Field(ge=0, le=0xFFFF)]


class _Section(BaseModel):
    # `decode` finds additional fields, as it does in manifests and for the same reason.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class FindingSection(_Section):
    """One thing that is not as the ledger says.

    Attributes:
        round: the round concerned; 0 where it is the record as a whole.
        what: the thing that differs.
        ledger: what the ledger says of it.
        derived: what the auditor found.
    """

    round: _Count
    what: _Text
    ledger: _Text
    derived: _Text


class AskedSection(_Section):
    """What the audit was asked to derive.

    Attributes:
        first: the first of the rounds.
        last: the last of them; 0: to the end of the record.
        sample: the share of each model's blocks that was derived, a decimal as text; 1: all of them.
        seed: what the blocks were drawn with; empty where all were derived.
    """

    first: _Round
    last: _Count
    sample: Annotated[str, AfterValidator(_share)]
    seed: Annotated[str, AfterValidator(_seed)]

    @model_validator(mode="after")
    def _seed_follows(self) -> AskedSection:
        if (self.sample == "1") != (self.seed == ""):
            raise ValueError(f"seed: expected one where a sample is drawn, and no other, found {self.seed!r}")
        return self


class RoundSection(_Section):
    """What was found of one published round. Its place in the record comes first, as the ledger has it.

    Attributes:
        round: its number.
        charter: the address of its charter.
        base: the address of the model that it started from.
        transcript: the rolling hash over its submissions, hexadecimal.
        head: the head after its publication, hexadecimal.
        model: the address of its model.
        manifest: the address of its manifest.
        included: updates that the model is made of.
        excluded: updates that were left out by proof.
        asserted: updates that were left out on the coordinator's word alone.
        not_selected: submissions that the charter's selection left aside; none where it left none.
        blocks: blocks of the model in all, 0 where its charter could not be read.
        derived: how many of them were derived.
        surveyed: 1 where a sample was drawn, and the rule needed all updates in full for it; else 0.
        verdict: what came of it.
        findings: what differs, up to 1,000 in the whole report.
        unchecked: why it could not be checked; empty where it could.
    """

    round: _Round
    charter: _CidText
    base: _CidText
    transcript: Annotated[str, Field(pattern="^0x[0-9a-f]{56}$")]
    head: _Head
    model: _CidText
    manifest: _CidText
    included: _Members
    excluded: _Members
    asserted: _Members
    not_selected: Annotated[int, Field(ge=1, le=0xFFFF)] | None = None
    blocks: _Count
    derived: _Count
    surveyed: Literal[0, 1]
    verdict: Verdict
    findings: Annotated[list[FindingSection], FailFast()]
    unchecked: _Text

    @model_validator(mode="after")
    def _verdict_follows(self) -> RoundSection:
        expected: tuple[Verdict, ...] = ("reproduced", "sample agrees")
        if self.findings or self.unchecked:
            expected = ("differs",) if self.findings else ("unchecked",)
        if self.derived > self.blocks:
            raise ValueError(f"derived: expected at most {self.blocks}, all blocks of the model, found {self.derived}")
        omitted = self.verdict == "differs"  # There was no room for the findings.
        if self.verdict not in expected and not omitted:
            raise ValueError(f"verdict: expected {expected[0]}, which follows from the rest, found {self.verdict}")
        return self


class Report(_Section):
    """What one audit found.

    Attributes:
        format: this document and its version.
        fedpact: the version that audited.
        chain_id: the chain of the federation.
        contract: the contract of the federation.
        head: the head that the entries fold to, hexadecimal.
        anchored: 1 where that is the head that the auditor trusts, else 0.
        asked: what the audit was asked to derive.
        published: published rounds in the record.
        verdict: what came of all of it.
        rounds: those of them that were asked for, in order.
        findings: what differs in the record as a whole.
        unchecked: what could not be checked of the record as a whole, and why.
        omitted: findings and unchecked things that there was no room for.
    """

    format: Literal["fedpact-audit/1"]
    fedpact: Annotated[str, Field(pattern="^[0-9a-z.+]{1,80}$")]
    chain_id: Annotated[int, Field(ge=0, lt=1 << 256)]
    contract: Annotated[str, Field(pattern="^0x[0-9a-f]{40}$")]
    head: _Head
    anchored: Literal[0, 1]
    asked: AskedSection
    published: _Count
    verdict: Verdict
    rounds: Annotated[list[RoundSection], FailFast()]
    findings: Annotated[list[FindingSection], FailFast()]
    unchecked: Annotated[list[_Text], FailFast()]
    omitted: _Count

    def encode(self) -> bytes:
        """The canonical bytes.

        Raises:
            InvalidDocument: there are more than `MAX_BYTES`.
        """
        data = canonical.encode(self.model_dump(exclude_none=True))
        if len(data) > MAX_BYTES:
            raise InvalidDocument(
                f"report: expected at most {MAX_BYTES} bytes, found {len(data)}; ask for fewer rounds"
            )
        return data

    @model_validator(mode="after")
    def _keeps_with_itself(self) -> Report:
        numbers = [each.round for each in self.rounds]
        first, last = self.asked.first, self.asked.last or 0xFFFFFFFF
        if any(after <= before for before, after in itertools.pairwise(numbers)):
            raise ValueError("rounds: expected each once, in order")
        if numbers and not first <= numbers[0] <= numbers[-1] <= last:
            raise ValueError(f"rounds: expected {first} to {last}, found {numbers[0]} to {numbers[-1]}")
        everything = first == 1 and not self.asked.last
        if len(numbers) > self.published or (everything and len(numbers) < self.published):
            raise ValueError(f"rounds: expected those asked for of {self.published}, found {len(numbers)}")
        verdicts = {each.verdict for each in self.rounds}
        if any(each.verdict == "differs" and not each.findings for each in self.rounds) and not self.omitted:
            raise ValueError("omitted: expected 1 or more, as the findings of a round are not there, found 0")
        agrees: Verdict = "reproduced" if self.asked.sample == "1" else "sample agrees"
        if not verdicts <= {agrees, "differs", "unchecked"}:
            raise ValueError(f"verdict of a round: expected {agrees}, as a sample of {self.asked.sample} was asked for")
        for each in self.rounds:
            self._check_blocks(each)
        expected = agrees
        if self.findings or "differs" in verdicts:
            expected = "differs"
        elif self.unchecked or "unchecked" in verdicts or (not numbers and self.published):
            expected = "unchecked"
        if self.verdict != expected:
            raise ValueError(f"verdict: expected {expected}, which follows from the rest, found {self.verdict}")
        return self

    def _check_blocks(self, each: RoundSection) -> None:
        """A verdict that is good rests on as many blocks as were asked for."""
        wanted = max(1, math.ceil(Fraction(self.asked.sample) * each.blocks))
        if each.verdict in ("reproduced", "sample agrees") and each.derived != wanted:
            raise ValueError(
                f"derived, of round {each.round}: expected {wanted} of {each.blocks} blocks, found {each.derived}"
            )
        if each.surveyed and self.asked.sample == "1":
            raise ValueError(f"surveyed, of round {each.round}: expected 0, as no sample was asked for, found 1")


def decode(data: bytes) -> Report:
    """Reads the canonical bytes of a report.

    Raises:
        InvalidDocument: they are not those of a report, or it contradicts itself.
    """
    if len(data) > MAX_BYTES:
        raise InvalidDocument(f"report: expected at most {MAX_BYTES} bytes, found {len(data)}")
    value = canonical.decode(data, "report")
    try:
        report = Report.model_validate(value)
    except ValidationError as error:
        raise InvalidDocument(f"report: {first_mistake(error)}") from None
    if report.encode() != data:
        raise InvalidDocument("report: it has fields that no report has")
    return report
