"""Which stores have an artifact: each is asked by itself, and what it says is verified.

Of each artifact the inner nodes are read and a leaf that is drawn at random, or all leaves. A store that gives no
answer a few times in a row is not asked again, so it costs seconds however much is looked for.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fedpact.errors import BlockMissing, ContentError, InvalidDag, StoreError, Unreachable
from fedpact.keeping import Artifact
from fedpact.store.cid import Cid
from fedpact.store.counting import CountedBlocks
from fedpact.store.here import Here
from fedpact.store.unixfs import find_file, open_file

_PATIENCE = 3
_AT_ONCE = 8  # Artifacts that one store is asked for at once.


class State(enum.StrEnum):
    """What a store has of an artifact."""

    WHOLE = "whole"
    MISSING = "missing"
    DAMAGED = "damaged"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking one store for one artifact.

    Attributes:
        detail: what is wrong, where something is.
        size: bytes of the artifact, where it is there.
    """

    state: State
    detail: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Where one artifact is.

    Attributes:
        answers: of the stores, in their order.
    """

    artifact: Artifact
    answers: tuple[Answer, ...]

    @property
    def copies(self) -> int:
        """How many stores have it."""
        return sum(each.state is State.WHOLE for each in self.answers)

    @property
    def size(self) -> int | None:
        """Its bytes, where they are known."""
        found = (each.size for each in self.answers if each.size is not None)
        return next(found, self.artifact.size)


def look(
    stores: Sequence[CountedBlocks],
    artifacts: Sequence[Artifact],
    *,
    full: bool = False,
    choose: Callable[[int], int] = secrets.randbelow,
) -> list[Presence]:
    """Asks stores for artifacts.

    Args:
        full: whether every leaf is read.
        choose: draws the leaf that is read, of so many.
    """
    asked = [_Asked(each, full, choose) for each in stores]
    # One content may be several things, and is looked for once.
    alike = {_as_one(each): each for each in artifacts}
    # Each store has threads of its own: those that wait for one take nothing from another.
    pools = [ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"look-{each.name}") for each in stores]
    try:
        pairs = list(zip(pools, asked, strict=True))
        answers = {key: [pool.submit(store.find, each) for pool, store in pairs] for key, each in alike.items()}
        return [Presence(each, tuple(found.result() for found in answers[_as_one(each)])) for each in artifacts]
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)  # Who is interrupted does not wait for a silent store.


def _as_one(artifact: Artifact) -> tuple[Cid, int | None, int, bool]:
    return artifact.cid, artifact.size, artifact.limit, artifact.malformed


class _Asked:
    """A store that is asked for artifacts."""

    def __init__(self, store: CountedBlocks, full: bool, choose: Callable[[int], int]) -> None:
        self._blocks = Here(store, store.name)
        self._full, self._choose = full, choose
        self._silences = 0
        self._silence = ""

    def find(self, artifact: Artifact) -> Answer:
        """What the store has of an artifact."""
        if self._silences >= _PATIENCE:
            return Answer(State.SILENT, f"not asked again after: {self._silence}")
        try:
            answer = Answer(State.WHOLE, size=self._read(artifact))
        except BlockMissing as error:
            if isinstance(error, Unreachable):
                return self._silent(error)
            answer = Answer(State.MISSING, str(error))
        except StoreError as error:
            return self._silent(error)
        except ContentError as error:
            # What makes no file of weights is what a manifest says of it: that is how it was found out.
            expected = artifact.malformed and isinstance(error, InvalidDag)
            answer = Answer(State.WHOLE if expected else State.DAMAGED, str(error))
        self._silences = 0
        return answer

    def _read(self, artifact: Artifact) -> int:
        """Reads an artifact, or a part of it; returns its size."""
        if artifact.size is None:
            file = find_file(self._blocks, artifact.cid, artifact.limit)
        else:
            file = open_file(self._blocks, artifact.cid, artifact.size)
        count = len(file.leaves)
        for _ in file.each(range(count) if self._full else [self._choose(count)]):
            pass
        return file.size

    def _silent(self, error: StoreError) -> Answer:
        self._silences += 1
        self._silence = self._silence or str(error)
        return Answer(State.SILENT, str(error))
