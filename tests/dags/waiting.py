"""Waiting for what an Airflow of several processes does."""

import time
from collections.abc import Callable

LONGEST_SECONDS = 300
"""Long enough for a machine that does other work too; a test that passes never waits as long."""


def wait_until(condition: Callable[[], object], seconds: float = LONGEST_SECONDS) -> None:
    """Wait until something is true.

    Args:
        condition: asked again and again.
        seconds: after which the test fails.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {seconds:g} seconds"
        time.sleep(0.3)
