"""What a run said of itself in its directory: how good its models are, and what its transactions cost. It is the run's
word alone, from a file that anybody may have written: what is not as it should be is left out, and named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedpact.artifacts import canonical
from fedpact.errors import InvalidDocument
from fedpact.ledger.facts import LAST_ROUND
from fedpact.report.facts import Measured
from fedpact.report.gas import Gas
from fedpact.workdir import MAX_RESULT, RESULT

_MOST_METRICS = 16
_MOST_GAS = 1 << 63
_MOST_FIGURE = 1e12


def measured(directory: Path) -> Measured:
    """What the run in a directory says of its rounds; nothing where it did not come to say anything."""
    path = directory / RESULT
    if not path.exists():
        return Measured()
    try:
        if not path.is_file() or path.stat().st_size > MAX_RESULT:
            raise InvalidDocument(f"expected a file of at most {MAX_RESULT} bytes")
        rounds = canonical.parse(path.read_bytes(), RESULT)["rounds"]
        metrics, gas = {}, {}
        for each in rounds:
            number = _whole(each["round"], LAST_ROUND)
            metrics[number] = _metrics(each["metrics"])
            spent = each["gas"]
            if spent["open"] is not None:
                parts = spent["open"], sum(_whole(one, _MOST_GAS) for one in spent["submit"]), spent["publish"]
                gas[number] = Gas(*(_whole(one, _MOST_GAS) for one in parts))
    except OSError as error:
        return Measured(notes=[f"{RESULT}: {error.strerror}"])
    except InvalidDocument as error:
        return Measured(notes=[f"{RESULT}: {error}"])
    except (TypeError, KeyError, ValueError):
        return Measured(notes=[f"{RESULT}: expected what a run says of its rounds, found something else"])
    beyond = any(len(metrics[each["round"]]) < len(each["metrics"]) for each in rounds)
    note = f"{RESULT}: figures beyond {_MOST_FIGURE:g}, or that are no numbers, are not shown"
    return Measured(metrics=metrics, gas=gas, notes=[note] if beyond else ())


def _whole(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError
    return value


def _metrics(value: Any) -> dict[str, float]:
    if len(value) > _MOST_METRICS:
        raise ValueError
    found = {str(name): float(figure) for name, figure in value.items()}
    return {name: figure for name, figure in found.items() if abs(figure) <= _MOST_FIGURE}  # Nor is what is no number.
