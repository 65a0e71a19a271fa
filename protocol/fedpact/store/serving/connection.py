"""One HTTP connection of a server, which ends when the other side keeps it open and does nothing.

uvicorn waits without end for a request that comes byte by byte, and for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 20.0
"""Seconds within which the next request must be there whole, or a piece of the answer be read."""


class PatientConnection(H11Protocol):
    """A connection that is cut when nothing has come of it for `PATIENCE` to twice that long."""

    patience = PATIENCE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As in uvicorn.
        super().connection_made(transport)
        self._paused_at: float | None = None
        self._last_cycle: Any = None
        self._timer = self.loop.call_later(self.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._paused_at = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._paused_at = None
        super().resume_writing()

    def _look(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        idle = waits and self.cycle is self._last_cycle
        stuck = self._paused_at is not None and self.loop.time() - self._paused_at >= self.patience
        if idle or stuck or self.transport.is_closing():
            self.transport.abort()
            return
        self._last_cycle = self.cycle
        self._timer = self.loop.call_later(self.patience, self._look)
