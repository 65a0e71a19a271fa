"""The charter: the rules that all members agreed to, as one canonical document.

People write it as TOML (`parse_toml`), the ledger keeps the address of its canonical JSON (`Charter.encode`). Decimals
are strings, so that everyone reads the same number.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Container, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from fedpact import rules
from fedpact.artifacts import canonical, moments
from fedpact.artifacts.charter_sections import (
    CODE,
    BeforeSection,
    LedgerSection,
    LimitsSection,
    OptimiserSection,
    RoundsSection,
    RuleSection,
    Section,
    SelectionSection,
    StopSection,
    StoreSection,
    TensorSection,
)
from fedpact.artifacts.mistakes import Place, first_mistake
from fedpact.artifacts.weights import MAX_TENSORS, Layout, Tensor
from fedpact.errors import CharterError, InvalidDocument, InvalidWeights, NotInstalled
from fedpact.ledger.facts import SCORE_UNIT, Limits, Terms
from fedpact.rules import Optimiser, Rule
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.unixfs import read_small
from fedpact.suggestion import unreadable
from fedpact.toml_lines import said_of

MAX_BYTES = 4 << 20
"""Bytes that a charter has at most: 10,000 tensors need 1 MiB."""
_MOST_ENTRIES = 100
"""Entries of anything in a charter but of the model."""


class Charter(Section):
    """The rules of a federation.

    Attributes:
        format: this document and its version.
        name: what people call the federation.
        model: the model's tensors by name: every update and every model has these, and no others.
        trainer: what every silo's trainer is told; text and whole numbers. `name` is the trainer of a simulation, what
            else there is depends on the trainer (epochs, batch_size, learning_rate, seed, …). No charter names code.
        score: which of the trainer's metrics is the score on the ledger.
        score_of: `base` where that is the score of the model that a round starts from, evaluated by each silo before it
            trains; none where it is that of the silo's own update.
        selection: which submissions make the model. Without it all are selected.
        before: what is done to the updates before the rule sees them. Without it nothing is.
        rule: how updates become a model.
        optimiser: takes the rule's result for a step from the model before. Without it the rule's result is the model.
        rounds: how long a round lasts and how many must take part.
        limits: what an update may claim.
        stop: when the federation ends.
        ledger: when an entry of the ledger counts.
        store: how long artifacts are kept, and by how many.
        duplicates: what to do with an update whose address another member submitted before in the same round.
    """

    format: Literal["fedpact-charter/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    model: dict[str, TensorSection]
    trainer: dict[str, str | int]
    score: Annotated[str, Field(min_length=1, max_length=100)]
    score_of: Literal["base"] | None = None
    selection: SelectionSection | None = None
    before: BeforeSection | None = None
    rule: RuleSection
    optimiser: OptimiserSection | None = None
    rounds: RoundsSection
    limits: LimitsSection
    stop: StopSection
    ledger: LedgerSection = LedgerSection()
    store: StoreSection = StoreSection()
    duplicates: Literal["exclude", "keep"] = "exclude"

    @model_validator(mode="after")
    def _known(self) -> Charter:
        found = tuple(contradictions(self))
        if found:
            raise Contradictions(found)
        return self

    def make_rule(self) -> Rule:
        """The rule that makes models, with what is done before it.

        Raises:
            NotInstalled: it is not installed here.
        """
        rule = rules.make(self.rule.name, self.rule.version, self.rule.parameters or {}, self.rule.code)
        if self.before is None:
            return rule
        return rules.make_before(self.before.name, self.before.version, self.before.parameters or {}, rule)

    def make_optimiser(self) -> Optimiser | None:
        """The server optimiser, where there is one.

        Raises:
            NotInstalled: it is not installed here.
        """
        section = self.optimiser
        if section is None:
            return None
        return rules.make_optimiser(section.name, section.version, section.parameters or {})

    def check_installed(self) -> None:
        """Asks whether models can be made here.

        Raises:
            NotInstalled: the rule or the optimiser is not installed.
        """
        self.make_rule()
        self.make_optimiser()

    def layout(self) -> Layout:
        """Where everything lies in every update and model."""
        return Layout(Tensor(name, section.dtype, tuple(section.shape)) for name, section in self.model.items())

    def encode(self) -> bytes:
        """The canonical bytes."""
        return canonical.encode(self.model_dump(exclude_none=True))

    def contract_limits(self) -> Limits:
        """What the contract enforces of it. A transaction may land late, so a phase may be half as long as planned."""
        shortest = min(self.rounds.submission_seconds, self.rounds.publication_seconds) // 2
        longest = 2 * (self.rounds.submission_seconds + self.rounds.publication_seconds)
        return Limits(self.rounds.quorum, shortest, longest)

    def terms(self, now: int) -> Terms:
        """The terms of a round that opens now."""
        submit_by = now + self.rounds.submission_seconds
        return Terms(0, 0, submit_by, submit_by + self.rounds.publication_seconds, self.rounds.quorum)

    def score_range(self) -> tuple[int, int]:
        """Least and greatest score on the ledger, in millionths."""
        return millionths(self.limits.min_score), millionths(self.limits.max_score)


Mistake = tuple[Place, str]
"""Where it is, and one line: the same in words, what was expected, what was found."""


class Contradictions(ValueError):
    """Settings that are each allowed and do not go together.

    Attributes:
        all: each of them, as `contradictions` says it.
    """

    def __init__(self, found: tuple[Mistake, ...]) -> None:
        super().__init__(found[0][1])
        self.all = found


def contradictions(charter: Charter, wrong: Container[str] = ()) -> Iterator[Mistake]:
    """What does not go together in a charter.

    Args:
        wrong: the sections that are not what they should be by themselves; what depends on them is left out.
    """
    for sections, check in CHECKS:
        if not any(each in wrong for each in sections):
            yield from check(charter)


def _check_code(charter: Charter) -> Iterator[Mistake]:
    """A rule of an installed package has a `code`, one of fedpact's own has none."""
    rule = charter.rule
    if "." in rule.name and rule.code is None:
        yield ("rule",), f"rule.code: expected {CODE}, found none"
    if "." not in rule.name and rule.code is not None:
        yield ("rule", "code"), f"rule.code: expected none, as {rule.name} is fedpact's own, found {rule.code}"


def _check_rule(charter: Charter) -> Iterator[Mistake]:
    """The parameters are those that the rule takes."""
    if any(_check_code(charter)):
        return  # Said already; no package can be asked for.
    try:
        charter.make_rule()
    except NotInstalled:
        pass  # Nothing is known of it: whoever needs the rule hears that it is not installed.
    except CharterError as error:
        yield _place(error), str(error)


def _check_quorum(charter: Charter) -> Iterator[Mistake]:
    """The quorum is at least what the rule needs for an answer: 2 f + 3 for krum, say."""
    try:
        fewest = charter.make_rule().fewest
    except (CharterError, NotInstalled):
        return  # Said already, or nothing is known of it.
    quorum = charter.rounds.quorum
    if quorum < fewest:
        expected = f"expected at least {fewest}, without which the rule has no answer"
        yield ("rounds", "quorum"), f"rounds.quorum: {expected}, found {quorum}"


def _check_selection(charter: Charter) -> Iterator[Mistake]:
    """At least as many are selected as the quorum; more leaves room for updates that turn out unusable."""
    quorum = charter.rounds.quorum
    if charter.selection is not None and charter.selection.count < quorum:  # Which the rule needs at least.
        found = charter.selection.count
        yield ("selection", "count"), f"selection.count: expected at least {quorum} (rounds.quorum), found {found}"


def _check_scores(charter: Charter) -> Iterator[Mistake]:
    """The least score is at most the greatest."""
    if millionths(charter.limits.min_score) > millionths(charter.limits.max_score):
        found = charter.limits.min_score
        yield ("limits", "min_score"), f"limits.min_score: expected at most max_score, found {found}"


def _check_model(charter: Charter) -> Iterator[Mistake]:
    """The tensors are what a safetensors file can hold, and at least one."""
    wrong = False
    for name, section in charter.model.items():
        try:
            Tensor(name, section.dtype, tuple(section.shape))
        except InvalidWeights as error:
            wrong = True
            yield ("model", name), f"model: {error}"
    try:
        if not wrong:
            charter.layout()
    except InvalidWeights as error:
        yield ("model",), f"model: {error}"


def _check_optimiser(charter: Charter) -> Iterator[Mistake]:
    """The parameters are those that the optimiser takes, all of them and no others."""
    try:
        charter.make_optimiser()
    except NotInstalled:
        pass  # As above.
    except CharterError as error:
        yield _place(error), str(error)


def _check_state(charter: Charter) -> Iterator[Mistake]:
    """The optimiser's state, a float64 for each floating-point element, fits into a file."""
    try:
        if charter.make_optimiser() is not None:
            moments.layout_for(charter.layout())
    except (CharterError, NotInstalled):
        pass  # As above.
    except InvalidWeights as error:
        if not any(_check_model(charter)):
            yield ("optimiser",), f"optimiser: its state: {error}"


CHECKS: tuple[tuple[tuple[str, ...], Callable[[Charter], Iterator[Mistake]]], ...] = (
    (("rule",), _check_code),
    (("rule", "before"), _check_rule),
    (("rule", "before", "rounds"), _check_quorum),
    (("selection", "rounds"), _check_selection),
    (("limits",), _check_scores),
    (("model",), _check_model),
    (("optimiser",), _check_optimiser),
    (("optimiser", "model"), _check_state),
)
"""Everything that has to go together, with the sections that it depends on."""


def _place(error: CharterError) -> Place:
    """Where a mistake is: a rule's or an optimiser's line starts with it."""
    return tuple(str(error).partition(": ")[0].split("."))


def millionths(text: str) -> int:
    """A decimal as the ledger keeps scores: rounded to millionths, half to even."""
    return round(Fraction(text) * SCORE_UNIT)


def fetch(blocks: Blocks, cid: Cid) -> Charter:
    """Reads the charter at an address.

    Raises:
        StoreError: it is not there (`BlockMissing`), or the store does not answer.
        ContentError: something else is there.
    """
    return decode(read_small(blocks, cid, MAX_BYTES))


def decode(data: bytes) -> Charter:
    """Reads the canonical bytes of a charter, also of one whose rule is not installed here (`check_installed`).

    Raises:
        InvalidDocument: they are not those of a charter.
    """
    value = canonical.decode(data, "charter")
    _check_sizes(value)
    try:
        charter = Charter.model_validate(value)
    except ValidationError as error:
        raise InvalidDocument(f"charter: {first_mistake(error, Charter)}") from None
    if charter.encode() != data:
        raise InvalidDocument("charter: not canonical (a setting that is the default is written out too)")
    return charter


def _check_sizes(value: Any, where: str = "") -> None:
    """Refuses what has more entries than any charter, before each of them is looked at and found wrong."""
    if not isinstance(value, dict | list):
        return
    most = MAX_TENSORS if where == "model" else _MOST_ENTRIES
    if len(value) > most:
        place = canonical.shown(where) or "the document"
        raise InvalidDocument(f"charter: {place}: expected at most {most} entries, found {len(value)}")
    for name, each in value.items() if isinstance(value, dict) else enumerate(value):
        _check_sizes(each, f"{where}.{name}" if where else str(name))


def parse_toml(path: Path) -> Charter:
    """Reads a charter as people write it.

    Raises:
        CharterError: the file cannot be read, is no TOML, is no charter, or names a rule that is not installed here.
    """
    try:
        value = tomllib.loads(path.read_text("utf-8"))
        charter = Charter.model_validate(value)
        charter.check_installed()
        return charter
    except NotInstalled as error:
        raise CharterError(f"charter {path}: {error}") from None
    except OSError as error:
        raise CharterError(f"charter {path}: {unreadable(path, error)}") from None
    except ValidationError as error:
        said, more = first_mistake(error, Charter), error.error_count() - 1
        said += f" (fedpact charter check {path} names {more} more)" if more else ""
        raise CharterError(f"charter {path}: {said}") from None
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that is none.
        raise CharterError(f"charter {path}: {said_of(error)}") from None
