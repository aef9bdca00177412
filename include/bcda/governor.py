"""The request budget of one process: BCDA's edge allows 3,000 requests per five minutes and address (§7)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

WINDOW_SECONDS = 300.0


class Governor:
    """Lets at most `requests` pass in any five minutes; the others wait their turn.

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
                if len(self._sent) < self._requests:
                    self._sent.append(now)
                    return
                await self._sleep(self._sent[0] + WINDOW_SECONDS - now)
