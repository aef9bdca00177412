"""The end of the tasks that ask for gaps again: what became of them does not keep the rest from being published."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from bcda_provider.tasks import BcdaTask


class BcdaEndOfGapsOperator(BcdaTask, BaseOperator):
    """Succeeds when gaps were loaded, and is skipped when asking for them failed.

    With the trigger rule `none_skipped` it does not even run where no gap was asked for. So a publication behind it and behind the
    regular export happens when either has loaded something, and a failure of the former holds nothing back: the next run asks for
    the gaps again.

    Args:
        merge_task_id: task that loads what the gaps were asked for.
        bcda_conn_id: connection of the run.
        kwargs: arguments of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = ("bcda_conn_id", "merge_task_id")

    def __init__(self, *, merge_task_id: str, bcda_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bcda_conn_id = bcda_conn_id
        self.merge_task_id = merge_task_id

    def work(self, context: Context) -> None:
        """End well if gaps were loaded.

        Args:
            context: of the task.

        Raises:
            AirflowSkipException: asking for them failed.
        """
        if context["ti"].xcom_pull(task_ids=self.merge_task_id) is None:
            raise AirflowSkipException("Asking for the gaps failed; the next run asks again.")
