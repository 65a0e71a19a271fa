"""What goes wrong in the code of a silo's owner, in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

_MAX_SAID = 200


def in_words(error: BaseException) -> str:
    """Kind and text of what was raised, and where the owner's own code was: a file's name, a line."""
    said = " ".join(str(error).split())[:_MAX_SAID]
    return f"{type(error).__name__}: {said}{_place(error)}"


def _place(error: BaseException) -> str:
    # The first frame is ours; those of the import system say nothing.
    frames = [each for each in traceback.extract_tb(error.__traceback__)[1:] if not each.filename.startswith("<frozen")]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    where = (own or frames)[-1:]
    return "".join(f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})" for frame in where)
