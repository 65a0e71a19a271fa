"""What somebody may have meant who typed a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

_LONGEST = 80
_NEIGHBOURS = 1000


def did_you_mean(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """The known name that is most like it, as the end of an error's line; empty where none is. Capitals do not count.

    Args:
        likeness: from 0 to 1, how like it has to be.
    """
    names = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name[:_LONGEST].lower(), names, 1, likeness)
    return f"; did you mean {names[close[0]][:_LONGEST]}?" if close else ""


def unreadable(path: Path, error: OSError) -> str:
    """What a system says of a file that cannot be read; of one that is not there, with one beside it that is."""
    near = ""
    if isinstance(error, FileNotFoundError):
        with suppress(OSError):
            names = [each.name for each in islice(path.parent.iterdir(), _NEIGHBOURS)]
            near = did_you_mean(path.name, names, likeness=0.75)  # Many have no more in common than how they end.
    return f"{error.strerror}{near}"
