"""What somebody may have meant who typed a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 80


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is most like it, as the end of an error's line; empty where none is."""
    close = difflib.get_close_matches(name[:_LONGEST], list(known), 1)
    return f"; did you mean {close[0][:_LONGEST]}?" if close else ""
