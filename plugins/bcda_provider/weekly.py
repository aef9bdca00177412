"""The schedule of the weekly export, for its DAG and for whoever asks whether a week was missed."""

from datetime import UTC, datetime

from bcda.runs.coverage import Interval

DAG = "bcda_weekly_export"
"""Its DAG, without the source's suffix."""

CRON = "0 6 * * 2"
"""Tuesdays 06:00 UTC, after BCDA has loaded the claims of the weekend."""


def newest_week(now: datetime, cron: str = CRON) -> Interval:
    """Return the newest data interval whose run is due: from one time of the schedule to the next.

    Args:
        now: present timestamp, UTC.
        cron: the schedule, in UTC.
    """
    from airflow.timetables.interval import CronDataIntervalTimetable
    from pendulum import instance

    found = CronDataIntervalTimetable(cron, timezone="UTC").infer_manual_data_interval(run_after=instance(now))
    return Interval(_utc(found.start), _utc(found.end))


def _utc(timestamp: datetime) -> datetime:
    return datetime.fromtimestamp(timestamp.timestamp(), UTC)
