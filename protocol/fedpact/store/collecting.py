"""Collects what nobody needs out of a directory: blocks that no pin and no needed root reaches, and that are not new.

Whoever writes blocks pins the root in the end, so a block that is younger than a grace may be part of what is just
being written. A pin that comes while this collects is seen before the next few blocks go; whoever pins checks
afterwards that all is there (`DirectoryBlocks.pin`), so one of the two notices. A process that is killed here leaves
the rest to the next.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedpact.errors import BlockMismatch, BlockMissing, InvalidCid, InvalidDag, StoreError
from fedpact.store.cid import Cid, Codec
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import links

GRACE = 3600.0
"""Seconds that a block must not have been written for before it is collected."""
_AT_ONCE = 1024  # Blocks between two looks at the pins.


@dataclass(frozen=True, slots=True)
class Collected:
    """What was collected, or would be.

    Attributes:
        blocks: how many.
        size: their bytes.
        young: blocks that nothing reaches, and that are too new.
    """

    blocks: int
    size: int
    young: int


@dataclass(frozen=True, slots=True)
class _Loose:
    """A block that nothing reaches."""

    cid: Cid
    path: Path
    size: int
    written: float


def collect(
    store: DirectoryBlocks,
    needed: Iterable[Cid] = (),
    *,
    unpinned: Collection[Cid] = (),
    grace: float = GRACE,
    dry_run: bool = False,
) -> Collected:
    """Removes blocks that neither a pin nor a needed root reaches.

    Args:
        needed: roots that are kept as if they were pinned, as far as they are here.
        unpinned: roots that count as not pinned.
        grace: seconds that a block must not have been written for.
        dry_run: whether it is only said what would be removed.

    Raises:
        StoreError: the directory cannot be read or written, or what a root leads to is not known, as a node on the way
            is damaged or missing; nothing was removed then.
    """
    reached: set[Cid] = set()
    _mark(store, store.pinned().difference(unpinned), reached, pinned=True)
    _mark(store, needed, reached)
    limit = time.time() - grace
    try:
        loose = [each for each in _blocks(store.directory) if each.cid not in reached]
        old = [each for each in loose if each.written <= limit]
        # A root goes before what is below it: whoever finds a root may rely on the rest.
        old.sort(key=lambda each: (each.cid.codec is Codec.RAW, -each.written))
        gone = old if dry_run else list(_remove(store, old, reached, limit))
    except OSError as error:
        raise StoreError(f"{store.directory}: cannot be collected: {error.strerror}") from error
    return Collected(len(gone), sum(each.size for each in gone), len(loose) - len(old))


def _remove(store: DirectoryBlocks, old: list[_Loose], reached: set[Cid], limit: float) -> Iterator[_Loose]:
    """Removes blocks, but those that were pinned or written again meanwhile."""
    for start in range(0, len(old), _AT_ONCE):
        with store.locked():
            _mark(store, store.pinned(), reached)
            for each in old[start : start + _AT_ONCE]:
                with contextlib.suppress(FileNotFoundError):  # Somebody else collects, too.
                    if each.cid not in reached and each.path.stat().st_mtime <= limit:
                        each.path.unlink()
                        yield each


def _mark(store: DirectoryBlocks, roots: Iterable[Cid], reached: set[Cid], *, pinned: bool = False) -> None:
    """Adds all that roots lead to.

    Raises:
        StoreError: what a damaged node leads to is not known, or what a missing one does below a pin.
    """
    waiting = [(root, root) for root in roots if root not in reached]
    reached.update(root for root, _ in waiting)
    while waiting:
        cid, root = waiting.pop()
        try:
            children = links(store, cid)
        except InvalidDag:
            continue  # It is what it should be, and no node of a file: nothing is below.
        except (BlockMissing, BlockMismatch) as error:
            if isinstance(error, BlockMissing) and not pinned:
                continue
            raise StoreError(
                f"{error}; nothing is collected, as what it leads to is not known: fedpact store pin {root} fetches it "
                "from another store, fedpact store unpin gives it up"
            ) from None
        new = [child for child in dict.fromkeys(children) if child not in reached]
        reached.update(new)
        waiting += [(child, root) for child in new]


def _blocks(directory: Path) -> Iterator[_Loose]:
    """Every block in a directory; whatever else lies there is left alone."""
    with contextlib.suppress(FileNotFoundError):
        for shard in sorted((directory / "blocks").iterdir()):
            if not shard.is_dir() or shard.is_symlink():
                continue
            with os.scandir(shard) as files:
                for file in files:
                    with contextlib.suppress(InvalidCid, FileNotFoundError):
                        cid = Cid.parse(file.name)
                        if cid.text[-3:-1] == shard.name and file.is_file(follow_symlinks=False):
                            status = file.stat(follow_symlinks=False)
                            yield _Loose(cid, Path(file.path), status.st_size, status.st_mtime)
