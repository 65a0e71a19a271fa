"""Where a store is, as people write it: a directory's path, or a URL."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fedpact.errors import InputError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # One letter is a drive.


def scheme_of(place: str) -> str:
    """The scheme of a URL, in lower case; none of a path."""
    found = _SCHEME.match(place)
    return found[1].lower() if found else ""


def directory_of(place: str) -> Path | None:
    """The directory that a path or a `file:` URL names; none of another URL, which may hold a secret.

    Raises:
        InputError: it is a `file:` URL of something else.
    """
    scheme = scheme_of(place)
    if scheme != "file":
        return None if scheme else Path(place)
    parts = urlsplit(place)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path:
        raise InputError("store: expected file:DIRECTORY or file:///DIRECTORY, found another file: URL")
    return Path(unquote(parts.path))


def below(directory: Path, place: str) -> str:
    """A place as it is seen from anywhere, where a path in it counts from a directory.

    Raises:
        InputError: as `directory_of`.
    """
    path = directory_of(place)
    return place if path is None else str(directory / path)
