"""A charter explained back in words, for those who have to agree to it."""

from __future__ import annotations

import math

from fedpact.artifacts.charter import Charter
from fedpact.errors import NotInstalled

_WITHSTANDS = {
    "fedavg": "the mean, weighted by claimed samples; a single hostile member can move it anywhere",
    "median": "the middle value of each element; holds while fewer than half of the updates are hostile",
    "trimmed_mean": "each element's mean without its extremes; holds while no end loses fewer than are hostile",
    "krum": "the one update that is closest to the others; holds while at most {byzantine} are hostile",
    "multi_krum": "the mean of the {selected} closest to the others; holds while at most {byzantine} are hostile",
    "bulyan": "Krum's choice, then what is closest to the median; holds while at most {byzantine} are hostile",
    "geometric_median": "the point closest to all updates, weighted by claimed samples; holds while the hostile have "
    "less than half of that weight",
    "centered_clipping": "no update pulls further than {radius}; hostile ones can pull, but not without bound",
}
"""What each of fedpact's own rules does, and what it withstands: in one sentence, with its parameters."""

_SELECTIONS = {
    "best_score": "the {count} with the highest claimed scores",
    "most_samples": "the {count} with the most claimed samples",
    "random": "{count}, drawn by what nobody chose",
}


def describe(charter: Charter) -> list[tuple[str, str]]:
    """What a charter says, line by line: what a line is about, and the words."""
    layout, rounds, limits, stop = charter.layout(), charter.rounds, charter.limits, charter.stop
    elements = sum(math.prod(tensor.shape) for tensor in layout.tensors)
    least = charter.contract_limits()
    lines = [
        ("name", charter.name),
        ("model", f"{_count(len(layout.tensors), 'tensor')}, {elements:,} parameters, {layout.size:,} bytes"),
        ("trainer", ", ".join(f"{name} {value}" for name, value in charter.trainer.items()) or "told nothing"),
        ("score", f"{charter.score}, from {limits.min_score} to {limits.max_score}"),
        ("selection", _selection(charter)),
        ("rule", _rule(charter)),
    ]
    if charter.before is not None:
        told = _parameters(charter.before.parameters)
        lines.append(("before it", f"{charter.before.name}{told}: no update is further from the model"))
    if charter.optimiser is not None:
        told = _parameters(charter.optimiser.parameters)
        lines.append(("optimiser", f"{charter.optimiser.name}{told}: takes the rule's result for a step"))
    lines += [
        (
            "rounds",
            f"{_span(rounds.submission_seconds)} to submit, {_span(rounds.publication_seconds)} to publish; no model "
            f"of fewer than {_count(rounds.quorum, 'update')}",
        ),
        (
            "limits",
            f"an update may claim {limits.max_samples:,} samples; one submitted before by another is "
            f"{'excluded' if charter.duplicates == 'exclude' else 'kept'}",
        ),
        (
            "the contract",
            f"enforces a quorum of at least {least.min_quorum}, phases of at least {_span(least.min_phase)} and rounds "
            f"of at most {_span(least.max_round)}",
        ),
        ("ends", _end(charter)),
        ("gives up", f"after {_count(stop.failures, 'cancelled round')} in a row"),
        ("ledger", f"an entry counts with {_count(charter.ledger.confirmations, 'block')} on top of its own"),
        (
            "store",
            f"artifacts are kept for {_count(charter.store.retention_days, 'day')}, by "
            f"{_count(charter.store.copies, 'member')}",
        ),
    ]
    return lines


def _rule(charter: Charter) -> str:
    rule = charter.rule
    told = _parameters(rule.parameters)
    if rule.name in _WITHSTANDS:
        return f"{rule.name}{told}: {_WITHSTANDS[rule.name].format_map(dict(rule.parameters or {}))}"
    try:
        charter.make_rule()
    except NotInstalled as error:
        return f"{rule.name}{told}: {error}"
    return f"{rule.name}{told}: of an installed package, with code {rule.code}; what it withstands is for that to say"


def _selection(charter: Charter) -> str:
    if charter.selection is None:
        return "all submissions of a round make the model"
    return "of a round's submissions " + _SELECTIONS[charter.selection.name].format(count=charter.selection.count)


def _end(charter: Charter) -> str:
    stop = charter.stop
    ends = [f"after {_count(stop.rounds, 'model')}"]
    if stop.target_score is not None:
        ends.append(f"once the members' mean score is {stop.target_score}")
    if stop.patience is not None:
        ends.append(f"after {_count(stop.patience, 'round')} without a mean score better by {stop.min_improvement}")
    return ", or ".join(ends)


def _parameters(parameters: dict[str, str | int] | None) -> str:
    return "".join(f" {name}={value}" for name, value in (parameters or {}).items())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _span(seconds: int) -> str:
    """A time as people say it: exact, in the largest units that it fills."""
    parts = []
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(_count(number, unit))
    return " ".join(parts) or "0 seconds"
