"""The request budget of one process: BCDA's edge allows 3,000 requests per five minutes and address (docs/bcda.md#request-limit)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from bcda import budgets

WINDOW_SECONDS = 300.0


class Governor:
    """Lets at most `requests` pass in any five minutes; the others wait their turn.

    Most of them may pass at once. The rest is spread over the five minutes, so that nobody waits longer than its even share of the
    time, which is a second or less for any usual budget: a process that stands still for minutes would hold its worker.

    Args:
        requests: budget of the window.
        clock: monotonic seconds.
        sleep: waits; replaced in tests.
    """

    def __init__(
        self,
        requests: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = requests
        self._at_once = int(requests * budgets.BURST_SHARE)
        self._apart = WINDOW_SECONDS / max(1, requests - self._at_once)
        self._clock = clock
        self._sleep = sleep
        self._sent: deque[float] = deque()
        self._lock = asyncio.Lock()

    async def acquire(self) -> None:
        """Return when one more request may be sent."""
        async with self._lock:
            while True:
                now = self._clock()
                while self._sent and self._sent[0] <= now - WINDOW_SECONDS:
                    self._sent.popleft()
                wait = self._wait(now)
                if wait <= 0:
                    self._sent.append(now)
                    return
                await self._sleep(wait)

    def _wait(self, now: float) -> float:
        """Return how many seconds the next request has to wait."""
        if len(self._sent) < self._at_once or not self._sent:
            return 0.0
        if len(self._sent) >= self._requests:
            return self._sent[0] + WINDOW_SECONDS - now
        # A request that has been waited for leaves the window too, so that the spread ones are as far apart as these.
        return min(self._sent[-1] + self._apart, self._sent[len(self._sent) - self._at_once] + WINDOW_SECONDS) - now
