"""Where tasks run that open the working database: one process may write to it at a time."""

import os


def at_the_warehouse() -> dict[str, str]:
    """Return pool and queue of tasks that open the working database, as arguments of an operator.

    From `BCDA_WAREHOUSE_POOL`, a pool of one slot, with which such tasks follow each other without one of them holding a
    worker while it waits for another's lock; and `BCDA_WAREHOUSE_QUEUE`, a queue that only workers on the database's machine
    listen to. Empty, which is the default, both are Airflow's own: DuckDB's lock is enough on one machine. A pool that
    Airflow does not know keeps its tasks from ever starting, so it is made before it is named here.
    """
    named = {"pool": os.environ.get("BCDA_WAREHOUSE_POOL"), "queue": os.environ.get("BCDA_WAREHOUSE_QUEUE")}
    return {argument: value for argument, value in named.items() if value}
