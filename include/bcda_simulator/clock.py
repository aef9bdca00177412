"""The simulator's clock: starts where it is told, runs at normal speed, and can be moved."""

import threading
import time
from datetime import UTC, datetime, timedelta


class Clock:
    """A settable clock; everything the simulator does with time asks it.

    Args:
        start: aware instant to begin at; None for the present.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._base = (start or datetime.now(UTC)).astimezone(UTC)
        self._since = time.monotonic()

    def now(self) -> datetime:
        """Return the simulated instant, UTC."""
        with self._lock:
            return self._base + timedelta(seconds=time.monotonic() - self._since)

    def advance(self, seconds: float) -> None:
        """Move the clock forward (or back, when negative)."""
        with self._lock:
            self._base += timedelta(seconds=seconds)

    def set(self, instant: datetime) -> None:
        """Set the clock to an aware instant."""
        with self._lock:
            self._base, self._since = instant.astimezone(UTC), time.monotonic()
