"""What a DAG file may name as a schedule."""

from typing import Any

from airflow.sdk import CronDataIntervalTimetable


def timetable(schedule: Any) -> Any:
    """Return the timetable of a schedule.

    In Airflow 3.3 a cron expression alone gives runs whose data interval has no length; exports need its length.

    Args:
        schedule: cron expression in UTC, whose runs cover the time since the one before; or whatever a DAG takes as a
            schedule, which is left as it is.
    """
    return CronDataIntervalTimetable(schedule, timezone="UTC") if isinstance(schedule, str) else schedule
