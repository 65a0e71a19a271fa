"""What will be wanted next is on its way already: a window of requests over a store whose answers take long.

A distant store (`fedpact.store.blocks.is_distant`) is read by more threads than there are cores, as they wait; one on
this machine by the caller alone. Who reads, and in which order, changes no result: everything is asked for by its key.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from fedpact.errors import FedpactError, Interrupted
from fedpact.store.blocks import is_distant

AT_ONCE = 16
"""Leaves of a distant store that are on their way, or wait to be taken: 16 MiB."""

Key = TypeVar("Key", bound=Hashable)
S = TypeVar("S")
T = TypeVar("T")


def at_once(what: object) -> int:
    """How many leaves of a store, or of a file in one, are to be read at once: one, where it is not distant."""
    return AT_ONCE if is_distant(what) else 1


class Ahead(Generic[Key, T]):
    """Reads things before they are taken. A context, after which nothing of it runs any more.

    Args:
        read: reads one of them; called from any thread.
        wanted: their keys, no two equal, about in the order in which they are taken.
        threads: how many are read at once; 0 has everything read by whoever takes it.
        most: how many are held that nobody has taken yet; as many as threads, where it is not given.
    """

    def __init__(
        self, read: Callable[[Key], T], wanted: Iterable[Key], threads: int, *, most: int | None = None
    ) -> None:
        self._read = read
        self._wanted = iter(wanted)
        self._most = threads if most is None else most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead") if threads else None
        self._coming: dict[Key, Future[T]] = {}
        self._early: set[Key] = set()  # Taken before their turn: they are not read again when it comes.
        self._lock = threading.Lock()

    def take(self, key: Key) -> T:
        """One of them, from any thread. Raises what reading it raised."""
        if self._pool is None:
            return self._read(key)
        future = self._claim(key, self._pool)
        # One that is not on its way yet is read here: so nobody ever waits for others to take theirs.
        return self._read(key) if future is None else future.result()

    def drop(self, key: Key) -> None:
        """Makes room where one is not taken after all."""
        if self._pool is not None and (future := self._claim(key, self._pool)) is not None:
            future.cancel()

    def _claim(self, key: Key, pool: ThreadPoolExecutor) -> Future[T] | None:
        with self._lock:
            self._fill(pool)
            future = self._coming.pop(key, None)
            if future is None:
                self._early.add(key)
            self._fill(pool)
            return future

    def _fill(self, pool: ThreadPoolExecutor) -> None:
        while len(self._coming) < self._most:
            for key in self._wanted:
                if key not in self._early:
                    self._coming[key] = pool.submit(self._read_aside, key)
                    break
                self._early.discard(key)
            else:
                return

    def _read_aside(self, key: Key) -> T:
        try:
            return self._read(key)
        except FedpactError as error:
            # Its trace holds the bytes that were wrong, and would for as long as it waits to be taken.
            raise error.with_traceback(None) from None

    def close(self, *, wait: bool = True) -> None:
        """Drops what is on its way, once it has come."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)

    def __enter__(self) -> Ahead[Key, T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Who is interrupted does not wait for a silent store: the process ends.
        self.close(wait=kind is None or not issubclass(kind, Interrupted | KeyboardInterrupt))


def in_step(work: Callable[[S], T], items: Iterator[S], threads: int) -> Generator[T, Any, None]:
    """`work` of each item on several threads, in order, while whoever takes the results reads the next ones."""
    with ThreadPoolExecutor(threads, thread_name_prefix="step") as pool:
        under_way: deque[Future[T]] = deque()
        failed: FedpactError | None = None
        while failed is None:
            try:
                under_way.append(pool.submit(work, next(items)))
            except StopIteration:
                break
            except FedpactError as error:  # What came before it is good.
                failed = error
            if len(under_way) > 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
        if failed is not None:
            raise failed


def cut(pieces: Iterable[bytes], sizes: Iterable[int]) -> Iterator[bytes]:
    """The same bytes in other pieces, each of the size that it is to have; what does not fill one is left out."""
    coming = iter(pieces)
    rest = memoryview(b"")
    for size in sizes:
        parts, missing = [rest[:size]], size - len(rest)
        rest = rest[size:]
        while missing > 0:
            piece = next(coming, None)
            if piece is None:
                return
            rest = memoryview(piece)[missing:]
            parts.append(memoryview(piece)[:missing])
            missing -= len(piece)
        yield b"".join(parts)
    next(coming, None)  # So that whoever gives them sees the end.


def in_order(work: Callable[[Key], T], items: Sequence[Key], threads: int) -> Generator[T, Any, None]:
    """`work` of each item, no two of them equal, on several threads, in order and a few ahead of the reader."""
    if threads <= 1 or len(items) == 1:
        yield from map(work, items)
        return
    with Ahead(work, items, threads, most=threads + 2) as ahead:
        for item in items:
            yield ahead.take(item)
