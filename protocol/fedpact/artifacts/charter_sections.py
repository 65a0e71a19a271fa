"""The sections of a charter: what each setting may be by itself. What has to go together is the charter's matter."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedpact.rules.registry import NAME

MAX_SAMPLES = 1 << 40
"""Samples that a charter may let one update claim. 8,000 updates of that many have an exact sum in float64."""


_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,30})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
CODE = "the sha256 of the rule's file, 64 lower-case hexadecimal digits (fedpact rules prints it)"


def _decimal(text: str) -> str:
    # Digits, a sign and a point: what every language reads as the same number.
    if not _DECIMAL.fullmatch(text):
        raise ValueError(
            "expected a decimal number between -10^9 and 10^9 as text, like 0.1, without an exponent, "
            f"found {text[:80]!r}"
        )
    return text


def _rule_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"expected a name such as fedavg, or acme.mean, found {text[:80]!r}")
    return text


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError(f"expected {CODE}, found {text[:80]!r}")
    return text


Policy = Literal["best_score", "most_samples", "random"]
"""How submissions are selected (`fedpact.selection`)."""

DecimalText = Annotated[str, AfterValidator(_decimal), Field(json_schema_extra={"format": "decimal as text"})]
_RuleName = Annotated[str, AfterValidator(_rule_name), Field(json_schema_extra={"format": "name"})]
_Code = Annotated[str, AfterValidator(_sha256), Field(json_schema_extra={"format": "64 hexadecimal digits"})]


class Section(BaseModel):
    """A part of a charter: nothing in it is unknown, converted or changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TensorSection(Section):
    """One tensor of the model, under its name.

    Attributes:
        dtype: the kind of its elements, as safetensors calls it.
        shape: its length in each dimension; an empty list is a single number.
    """

    dtype: str
    shape: list[int]


class RuleSection(Section):
    """How updates become a model: a rule's name and version, and what it has to be told.

    Attributes:
        name: the rule; that of an installed package has a dot.
        version: which version of it: another one computes other bits. An installation has one of each rule.
        parameters: what it has to be told; decimals are text.
        code: the sha256 of the file that defines a rule of an installed package, whose name has a dot; no other has it.
    """

    name: _RuleName
    version: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 1
    code: _Code | None = None
    parameters: dict[str, str | int] | None = None


class BeforeSection(Section):
    """What is done to the updates before the rule sees them: its name and version, and what it has to be told.

    Attributes:
        name: what is done.
        version: which version of it: another one computes other bits.
        parameters: what it has to be told; decimals are text.
    """

    name: str
    version: int = 1
    parameters: dict[str, str | int] | None = None


class OptimiserSection(Section):
    """How the rule's result becomes a step from the base model: an optimiser's name, version and parameters.

    Attributes:
        name: the optimiser.
        version: which version of it: another one computes other bits.
        parameters: all of what it has to be told; decimals are text.
    """

    name: str
    version: int = 1
    parameters: dict[str, str | int] | None = None


class SelectionSection(Section):
    """Which submissions make the model: so many, by their claims or at random. The others are never fetched.

    Attributes:
        name: the policy.
        count: how many are selected; of fewer candidates, all are.
    """

    name: Policy
    count: Annotated[int, Field(ge=1, le=0xFFFF)]


class RoundsSection(Section):
    """How long a round lasts and how many must take part.

    The contract enforces the quorum, half of the shorter time as the shortest phase, and twice the sum of both as the
    longest round.

    Attributes:
        quorum: submissions without which there is no model; the round is cancelled then, and another one opened.
        submission_seconds: how long members may submit; it ends early when all have.
        publication_seconds: how long the coordinator that opened the round has to publish after that; for as long again
            any other coordinator may.
    """

    quorum: Annotated[int, Field(ge=1, le=0xFFFF)]
    submission_seconds: Annotated[int, Field(ge=2, le=10**9)]
    publication_seconds: Annotated[int, Field(ge=2, le=10**9)]


class LimitsSection(Section):
    """What an update may claim: samples, and scores as decimals.

    Attributes:
        max_samples: training samples; an update that claims more is excluded.
        min_score: the least score; an update below is excluded.
        max_score: the greatest score; an update above is excluded.
    """

    max_samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    min_score: DecimalText = "-1"
    max_score: DecimalText = "1"


class LedgerSection(Section):
    """When an entry counts.

    Attributes:
        confirmations: blocks on top of an entry's own before services build on it; enough of them that no
            reorganisation of the chain takes it back.
    """

    confirmations: Annotated[int, Field(ge=0, le=10**6)] = 0


class StoreSection(Section):
    """How long artifacts are kept, and by how many.

    Attributes:
        retention_days: updates may be let go of (`fedpact store gc`) so long after their round has ended. All else is
            needed for good.
        copies: stores that should have each artifact; `fedpact store check` warns where fewer answer with it.
    """

    retention_days: Annotated[int, Field(ge=0, le=10**5)] = 365
    copies: Annotated[int, Field(ge=1, le=1000)] = 1


class StopSection(Section):
    """When the federation ends: whichever comes first.

    Attributes:
        rounds: after this many published models, those that a rewind disowned among them.
        target_score: once the members' mean score is at least this.
        patience: after this many published rounds without a mean score better than the best before by
            `min_improvement`.
        min_improvement: by how much a mean score has to be better to count for `patience`.
        failures: after this many cancelled rounds in a row.
    """

    rounds: Annotated[int, Field(ge=1, le=10**9)]
    target_score: DecimalText | None = None
    patience: Annotated[int, Field(ge=1, le=10**9)] | None = None
    min_improvement: DecimalText = "0"
    failures: Annotated[int, Field(ge=1, le=10**9)] = 3
