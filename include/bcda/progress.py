"""How far a long piece of work is, in the log: now and then, never more than about twenty lines, whatever its size."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

EVERY_SECONDS = 10.0
"""No line comes sooner after the one before."""

SHARE = 0.05
"""No line comes before this much more is done; so their number is bounded."""


@dataclass(frozen=True, slots=True)
class Done:
    """A portion of work.

    Attributes:
        files: files of it that are done.
        bytes: bytes.
        lines: lines.
    """

    files: int = 0
    bytes: int = 0
    lines: int = 0


class Progress:
    """Adds up portions of work and says at intervals how much is done, how fast it goes, and when it may be over.

    Args:
        log: where to say it.
        name: of the work, such as `fetching batch 3`.
        unit: `files` or `lines`: what the share is reckoned by.
        total: how many there are.
        clock: seconds that only grow.
    """

    def __init__(
        self, log: logging.Logger, name: str, unit: str, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._name = name
        self._unit = unit
        self._total = total
        self._clock = clock
        self._begun = self._said_at = clock()
        self._said_share = 0.0
        self._sums = {"files": 0, "bytes": 0, "lines": 0}

    def add(self, done: Done) -> None:
        """Count a portion; say how far the work is if it is time to."""
        for name in self._sums:
            self._sums[name] += getattr(done, name)
        units = self._sums[self._unit]
        share = units / self._total if self._total else 1.0
        now = self._clock()
        if now - self._said_at < EVERY_SECONDS or share - self._said_share < SHARE or units >= self._total:
            return
        self._said_at, self._said_share = now, share
        took = now - self._begun
        others = [
            f"{self._sums[name]:,} {name}" for name in ("files", "lines") if name != self._unit and self._sums[name]
        ]
        self._log.info(
            "%s: %s of %s %s (%d %%), %s%.1f MB, %.1f MB/s, about %d s left",
            self._name,
            f"{units:,}",
            f"{self._total:,}",
            self._unit,
            100 * share,
            "".join(f"{text}, " for text in others),
            self._sums["bytes"] / 1e6,
            self._sums["bytes"] / 1e6 / took,
            round(took * (1 - share) / share),
        )
