"""The export as one task group that all export DAGs share, and the form with which they are triggered."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, TaskGroup, task_group

from bcda.batches import MAX_BATCHES
from bcda.export_request import RESOURCE_TYPES
from bcda.settings import ApiVersion
from bcda.type_filter import ClaimOutcome, FinalAction, SystemType
from bcda_provider.notifications import notify_failed, notify_loaded
from bcda_provider.operators import (
    BcdaFetchOperator,
    BcdaKickOffOperator,
    BcdaLandOperator,
    BcdaMergeOperator,
    BcdaPlanOperator,
    BcdaPublishOperator,
    BcdaReportOperator,
)
from bcda_provider.placement import at_the_warehouse
from bcda_provider.sensors import BcdaJobSensor
from bcda_provider.sources import default_types

_INSTANT = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$"
_FILTER = "Filter (v3 only)"


def export_params(source: str) -> dict[str, Param]:
    """Return the form of an export DAG.

    Args:
        source: connection that is filled in.
    """
    return {
        "resource_types": Param(
            list(default_types()),
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
            # Airflow checks the format of instants only where a further package is installed.
            pattern=_INSTANT,
            title="Since",
            description="Ask for changes after this instant. Empty: continue where the covered interval ends.",
        ),
        "full": Param(False, type="boolean", title="Full", description="Ask for everything from the beginning."),
        "force": Param(
            False, type="boolean", title="Force", description="Run even when everything it would bring is here."
        ),
        "batches": Param(
            2,
            type="integer",
            minimum=1,
            maximum=MAX_BATCHES,
            title="Batches",
            description="Tasks that fetch and land side by side. The default fits one machine.",
        ),
        "conn_id": Param(source, type="string", title="Connection", description="Connection of type bcda."),
        "api_version": Param(
            None,
            type=["null", "string"],
            enum=[None, "v1", "v2", "v3"],
            title="API version",
            description="Empty: the connection's.",
        ),
        **_filter_params(),
    }


def _filter_params() -> dict[str, Param]:
    note = "A run that leaves claims out does not count as covering them."
    return {
        "systems": Param(
            [],
            type="array",
            items={"type": "string", "enum": list(SystemType)},
            examples=list(SystemType),
            uniqueItems=True,
            title="Source systems",
            description=f"Where claims come from. Empty: all that the connection allows. {note}",
            section=_FILTER,
        ),
        "final_action": Param(
            None,
            type=["null", "string"],
            enum=[None, *FinalAction],
            title="Final action",
            description=f"Drug events have none and are left out when it is set. {note}",
            section=_FILTER,
        ),
        "outcome": Param(
            None,
            type=["null", "string"],
            enum=[None, *ClaimOutcome],
            title="Outcome",
            description=note,
            section=_FILTER,
        ),
        "service_from": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Services from",
            description=f"First day of service. {note}",
            section=_FILTER,
        ),
        "service_through": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Services through",
            description=f"Last day of service. {note}",
            section=_FILTER,
        ),
    }


CONNECTION = {"bcda_conn_id": "{{ params.conn_id }}", "api_version": "{{ params.api_version or '' }}"}
"""Connection and version of a task, from the form."""

_SOURCE = {"bcda_conn_id": CONNECTION["bcda_conn_id"]}
_BATCHES = "{{ params.batches }}"


def patience(retries: int = 3, retry_delay: timedelta = timedelta(seconds=30)) -> dict[str, Any]:
    """Return how often and when a task is tried again, and who is told when it failed for good.

    Errors that a retry cannot mend fail at once.
    """
    return {
        "retries": retries,
        "retry_delay": retry_delay,
        "retry_exponential_backoff": 2.0,
        "on_failure_callback": notify_failed,
    }


def export_and_publish(scope: str, source: str) -> None:
    """Put the tasks of one export and its publication into the DAG at hand.

    Args:
        scope: `patient`, `group-all` or `group-runout`.
        source: connection whose assets are updated.
    """
    plan, merge = export_and_merge(scope, source)
    merge >> _publish_and_report((plan,))


def export_roster_and_history(source: str) -> None:
    """Put the tasks that load an attribution list into the DAG at hand: who is on it, then what is new of them.

    Args:
        source: connection whose assets are updated.
    """
    with TaskGroup("roster"):
        roster, people = export_and_merge("group-all", source, is_roster=True)
    with TaskGroup("history"):
        # People who are here already need no roster run, but what is new of them may still be missing.
        plan, claims = export_and_merge("group-all", source, without_patient=True, plan_trigger_rule="none_failed")
    people >> plan
    [people, claims] >> _publish_and_report((roster, plan), trigger_rule="none_failed_min_one_success")


def _publish_and_report(plans: Sequence[BcdaPlanOperator], **rules: Any) -> BcdaPublishOperator:
    """Put the publication and the report of what was loaded into the DAG at hand, and return the first of them.

    Args:
        plans: tasks that planned it; references to their results would make the publication depend on each of them.
        rules: when the publication runs.
    """
    planned = tuple(plan.task_id for plan in plans)
    here = {**_SOURCE, **at_the_warehouse(), **patience()}
    publish = BcdaPublishOperator(task_id="publish", plan_task_ids=planned, **rules, **here)
    publish >> BcdaReportOperator(task_id="report", plan_task_ids=planned, on_success_callback=notify_loaded, **here)
    return publish


def export_and_merge(
    scope: str,
    source: str,
    *,
    is_roster: bool = False,
    without_patient: bool = False,
    plan_trigger_rule: str = "all_success",
) -> tuple[BcdaPlanOperator, BcdaMergeOperator]:
    """Put the tasks of one export into the DAG or group at hand and return the first and the last one.

    Args:
        scope: `patient`, `group-all` or `group-runout`.
        source: connection whose assets are updated.
        is_roster: take the people of the newest list in full, and nothing else.
        without_patient: leave Patient out.
        plan_trigger_rule: when the first task runs.
    """
    again = patience()
    plan = BcdaPlanOperator(
        task_id="plan",
        scope=scope,
        is_roster=is_roster,
        without_patient=without_patient,
        trigger_rule=plan_trigger_rule,
        **CONNECTION,
        **at_the_warehouse(),
        **again,
    )
    run_id = plan.output
    kick_off = BcdaKickOffOperator(
        task_id="kick_off", run_id=run_id, waits_for_list=scope != "group-runout", **CONNECTION, **again
    )
    wait = BcdaJobSensor(
        task_id="wait_for_job", run_id=run_id, job_id=kick_off.output, batches=_BATCHES, **CONNECTION, **again
    )

    @task_group(group_id="batch")
    def batch(number: Any) -> Any:
        fetch = BcdaFetchOperator(task_id="fetch", run_id=run_id, batch=number, batches=_BATCHES, **CONNECTION, **again)
        land = BcdaLandOperator(task_id="land", run_id=run_id, batch=number, batches=_BATCHES, **_SOURCE, **again)
        fetch >> land
        return land.output

    landed = batch.expand(number=wait.output)
    merge = BcdaMergeOperator(
        task_id="merge",
        run_id=run_id,
        batches=_BATCHES,
        source=source,
        # An export without changes has no batch, and is recorded all the same.
        trigger_rule="none_failed_min_one_success",
        **_SOURCE,
        **at_the_warehouse(),
        **again,
    )
    [wait, landed] >> merge
    return plan, merge
