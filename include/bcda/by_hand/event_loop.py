"""Runs the asynchronous client from synchronous code, also in a notebook, whose event loop is always running."""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.2
"""How soon an interrupt is noticed."""


def complete(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end and return its result.

    Inside a running event loop it runs in a thread with a loop of its own, and the running loop waits. An interrupt (Ctrl-C)
    cancels the coroutine, waits until it has cleaned up, and is raised again.

    Args:
        work: makes the coroutine, in the thread that runs it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    return _in_a_thread(work)


def _in_a_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()

    async def begin() -> T:
        started.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await work()

    with ThreadPoolExecutor(1, thread_name_prefix="bcda") as threads:
        ended = threads.submit(contextvars.copy_context().run, lambda: asyncio.run(begin()))
        try:
            _wait_interruptibly(ended)
        except KeyboardInterrupt:
            loop, task = started.result()
            # The loop is closed when the work has ended in this very moment.
            with contextlib.suppress(RuntimeError):
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
            ended.exception()
            raise
        return ended.result()


def _wait_interruptibly(ended: Future[T]) -> None:
    """Wait for the end of the work, and raise `KeyboardInterrupt` for an interrupt.

    A loop that `asyncio.run` began takes an interrupt for itself: it cancels its task, which cannot notice while it waits here.
    """
    waiting = asyncio.current_task()
    before = waiting.cancelling() if waiting else 0
    while not wait((ended,), timeout=_LOOK_SECONDS).done:
        if waiting is not None and waiting.cancelling() > before:
            raise KeyboardInterrupt
