"""The export as one task group that all export DAGs share, and the form with which they are triggered."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task_group

from bcda.batches import MAX_BATCHES
from bcda.export_request import DEFAULT_RESOURCE_TYPES, RESOURCE_TYPES
from bcda.settings import ApiVersion
from bcda_provider.operators import (
    BcdaFetchOperator,
    BcdaKickOffOperator,
    BcdaLandOperator,
    BcdaMergeOperator,
    BcdaPlanOperator,
    BcdaPublishOperator,
)
from bcda_provider.sensors import BcdaJobSensor

EXPORT_PARAMS: dict[str, Param] = {
    "resource_types": Param(
        list(DEFAULT_RESOURCE_TYPES),
        type="array",
        items={"type": "string", "enum": list(RESOURCE_TYPES[ApiVersion.V2])},
        examples=list(RESOURCE_TYPES[ApiVersion.V2]),
        minItems=1,
        uniqueItems=True,
        title="Resource types",
        description="Claim and ClaimResponse are v2 only and need an entitlement.",
    ),
    "since": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Since",
        description="Ask for changes after this instant. Empty: continue where the covered interval ends.",
    ),
    "full": Param(False, type="boolean", title="Full", description="Ask for everything from the beginning."),
    "force": Param(
        False, type="boolean", title="Force", description="Run a backfill even when its interval is covered."
    ),
    "batches": Param(
        2,
        type="integer",
        minimum=1,
        maximum=MAX_BATCHES,
        title="Batches",
        description="Tasks that fetch and land side by side. The default fits one machine.",
    ),
    "conn_id": Param("bcda_default", type="string", title="Connection", description="Connection of type bcda."),
    "api_version": Param(
        None,
        type=["null", "string"],
        enum=[None, "v1", "v2", "v3"],
        title="API version",
        description="Empty: the connection's.",
    ),
}

_CONNECTION = {"bcda_conn_id": "{{ params.conn_id }}", "api_version": "{{ params.api_version or '' }}"}
_BATCHES = "{{ params.batches }}"


def export_and_publish(scope: str, *, retries: int = 3, retry_delay: timedelta = timedelta(seconds=30)) -> None:
    """Put the tasks of one export into the DAG at hand.

    Args:
        scope: `patient`, `group-all` or `group-runout`.
        retries: of each task; errors that a retry cannot mend fail at once.
        retry_delay: before the first retry, doubling after that, unless BCDA asks for another.
    """
    patience: dict[str, Any] = {"retries": retries, "retry_delay": retry_delay, "retry_exponential_backoff": 2.0}
    plan = BcdaPlanOperator(task_id="plan", scope=scope, **_CONNECTION, **patience)
    run_id = plan.output
    kick_off = BcdaKickOffOperator(task_id="kick_off", run_id=run_id, **_CONNECTION, **patience)
    wait = BcdaJobSensor(
        task_id="wait_for_job", run_id=run_id, job_id=kick_off.output, batches=_BATCHES, **_CONNECTION, **patience
    )

    @task_group(group_id="batch")
    def batch(number: Any) -> Any:
        fetch = BcdaFetchOperator(
            task_id="fetch", run_id=run_id, batch=number, batches=_BATCHES, **_CONNECTION, **patience
        )
        land = BcdaLandOperator(task_id="land", run_id=run_id, batch=number, batches=_BATCHES, **patience)
        fetch >> land
        return land.output

    landed = batch.expand(number=wait.output)
    # An export without changes has no batch, and is recorded all the same.
    merge = BcdaMergeOperator(
        task_id="merge", run_id=run_id, batches=_BATCHES, trigger_rule="none_failed_min_one_success", **patience
    )
    publish = BcdaPublishOperator(task_id="publish", **patience)
    [wait, landed] >> merge >> publish
