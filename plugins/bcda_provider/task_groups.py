"""The export as one task group that all export DAGs share, and the form with which they are triggered."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Param, TaskGroup, XComArg, task_group

from bcda.api.export_request import RESOURCE_TYPES
from bcda.api.type_filter import ClaimOutcome, FinalAction, SystemType
from bcda.runs.batches import MAX_BATCHES
from bcda.settings import ApiVersion
from bcda_provider.notifications import notify_failed, notify_loaded
from bcda_provider.operators import (
    BcdaEndOfGapsOperator,
    BcdaFetchOperator,
    BcdaKickOffOperator,
    BcdaLandOperator,
    BcdaMergeOperator,
    BcdaPlanOperator,
    BcdaPublishOperator,
    BcdaReportOperator,
)
from bcda_provider.placement import at_the_warehouse
from bcda_provider.retry import PAUSES, pauses
from bcda_provider.sensors import BcdaJobSensor
from bcda_provider.sources import default_types

GAPS = "gaps"
"""Group of the tasks that ask again for what is missing, in the weekly and in the runout export."""

_INSTANT = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$"
_FILTER = "Filter (v3 only)"


def export_params(*, with_gaps: bool = True) -> dict[str, Param]:
    """Return the form of an export DAG.

    Args:
        with_gaps: its tasks can ask for gaps again.
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
            description="Resource types to export. Claim and ClaimResponse exist in v2 only and need an entitlement.",
        ),
        "since": Param(
            None,
            type=["null", "string"],
            format="date-time",
            # Airflow checks the format of timestamps only where a further package is installed.
            pattern=_INSTANT,
            title="Since",
            description="Export changes after this timestamp. Empty: continue from the end of the covered interval.",
        ),
        "full": Param(False, type="boolean", title="Full", description="Export everything from the beginning."),
        **(_gaps_param() if with_gaps else {}),
        "force": Param(False, type="boolean", title="Force", description="Run even if the data is already loaded."),
        "accept_empty": Param(
            False,
            type="boolean",
            title="Accept an empty export",
            description="Load a full export even if it holds no people or no claims and the last one did.",
        ),
        "accept_smaller_list": Param(
            False,
            type="boolean",
            title="Accept a smaller list",
            description="Load a full export even if it holds fewer than half of the people of the last one.",
        ),
        "batches": Param(
            2,
            type="integer",
            minimum=1,
            maximum=MAX_BATCHES,
            title="Batches",
            description="Tasks that fetch and land files in parallel. The default fits one machine.",
        ),
        "api_version": api_version_param(),
        **_filter_params(),
    }


def _gaps_param() -> dict[str, Param]:
    return {
        "gaps": Param(
            False,
            type="boolean",
            title="Ask for gaps again",
            description="Request only data that BCDA could not deliver before, even if runs no longer request it automatically. Exports "
            "the types with gaps, from the oldest gap on. A gap of the first load needs a full export of its type.",
        )
    }


def api_version_param() -> Param:
    """Return the form's field for the version of the API."""
    return Param(
        None,
        type=["null", "string"],
        enum=[None, *(version.value for version in ApiVersion)],
        title="API version",
        description="Empty: the version of the connection.",
    )


def _filter_params() -> dict[str, Param]:
    note = "A run that leaves claims out does not cover them."
    return {
        "systems": Param(
            [],
            type="array",
            items={"type": "string", "enum": list(SystemType)},
            examples=list(SystemType),
            uniqueItems=True,
            title="Source systems",
            description=f"Systems that claims come from. Empty: all that the connection allows. {note}",
            section=_FILTER,
        ),
        "final_action": Param(
            None,
            type=["null", "string"],
            enum=[None, *FinalAction],
            title="Final action",
            description=f"Final action status of the claim. Drug events have none, so this leaves them out. {note}",
            section=_FILTER,
        ),
        "outcome": Param(
            None,
            type=["null", "string"],
            enum=[None, *ClaimOutcome],
            title="Outcome",
            description=f"Processing outcome of the claim. {note}",
            section=_FILTER,
        ),
        "service_from": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Services from",
            description=f"First day of service to include. {note}",
            section=_FILTER,
        ),
        "service_through": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Services through",
            description=f"Last day of service to include. {note}",
            section=_FILTER,
        ),
    }


def patience() -> dict[str, Any]:
    """Return how often and when a task is retried, and who is told when it failed for good.

    `retry.BcdaRetryPolicy` decides about errors. The delays here are for tasks whose process was killed, of which it never hears.
    """
    first, *_, longest = pauses()
    return {
        "retries": len(PAUSES),
        "retry_delay": first,
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": longest,
        "on_failure_callback": notify_failed,
    }


def export_and_publish(scope: str, source: str, **task_args: Any) -> None:
    """Put the tasks of one export and its publication into the DAG or task group at hand.

    Works in any DAG. What to ask for comes from the DAG's params, those of `export_params`, as far as it has them; without
    params the export continues the covered interval.

    Args:
        scope: `patient`, `group-all` or `group-runout`.
        source: connection of the tasks, known when the DAG is read; its assets are updated.
        task_args: arguments of Airflow's `BaseOperator` for each of the tasks, such as `pool`; they replace those of `patience`
            and `at_the_warehouse`, and come before the DAG's `default_args`.
    """
    plan, merge = export_and_merge(scope, source, **task_args)
    with TaskGroup(GAPS):
        # One export has one `_since`, so what is missing is asked for beside it, for its types only.
        again, closed = export_and_merge(
            scope, source, gaps_after=plan.output, plan_trigger_rule="none_failed", **task_args
        )
        end = BcdaEndOfGapsOperator(
            **{
                "task_id": "end",
                "merge_task_id": closed.task_id,
                "bcda_conn_id": source,
                **patience(),
                **task_args,
                "trigger_rule": "none_skipped",
            }
        )
    merge >> again
    closed >> end
    [merge, end] >> _publish_and_report((plan, again), source, task_args, trigger_rule="none_failed_min_one_success")


def export_roster_and_history(source: str, **task_args: Any) -> None:
    """Put the tasks that load an attribution list into the DAG at hand: who is on it, then what is new of them.

    Args:
        source: connection of the tasks, known when the DAG is read; its assets are updated.
        task_args: as of `export_and_publish`.
    """
    with TaskGroup("roster"):
        roster, people = export_and_merge("group-all", source, is_roster=True, **task_args)
    with TaskGroup("history"):
        # People who are here already need no roster run, but what is new of them may still be missing.
        plan, claims = export_and_merge(
            "group-all", source, without_patient=True, plan_trigger_rule="none_failed", **task_args
        )
    people >> plan
    rule = {"trigger_rule": "none_failed_min_one_success"}
    [people, claims] >> _publish_and_report((roster, plan), source, task_args, **rule)


def _publish_and_report(
    plans: Sequence[BcdaPlanOperator], source: str, task_args: dict[str, Any], **rules: Any
) -> BcdaPublishOperator:
    """Put the publication and the report of what was loaded into the DAG at hand, and return the first of them.

    Args:
        plans: tasks that planned it; references to their results would make the publication depend on each of them.
        source: connection of the DAG.
        task_args: arguments of each task.
        rules: when the publication runs.
    """
    planned = [plan.task_id for plan in plans]
    here = {"bcda_conn_id": source, "plan_task_ids": planned, **at_the_warehouse(), **patience(), **task_args}
    publish = BcdaPublishOperator(task_id="publish", **{**here, **rules})
    publish >> BcdaReportOperator(task_id="report", **{"on_success_callback": notify_loaded, **here})
    return publish


def export_and_merge(
    scope: str,
    source: str,
    *,
    is_roster: bool = False,
    without_patient: bool = False,
    gaps_after: XComArg | None = None,
    plan_trigger_rule: str = "all_success",
    **task_args: Any,
) -> tuple[BcdaPlanOperator, BcdaMergeOperator]:
    """Put the tasks of one export into the DAG or group at hand and return the first and the last one.

    Works in any DAG, as `export_and_publish`. It has a mapped task group, so Airflow does not take it inside another one.

    Args:
        scope: `patient`, `group-all` or `group-runout`.
        source: connection of the tasks, known when the DAG is read; its assets are updated.
        is_roster: take the people of the newest list in full, and nothing else.
        without_patient: leave Patient out.
        gaps_after: ask again for the gaps that were there before this export run of the same DAG run, and for nothing else.
        plan_trigger_rule: when the first task runs.
        task_args: as of `export_and_publish`.
    """
    again = {"bcda_conn_id": source, **patience(), **task_args}
    warehouse = {**again, **at_the_warehouse(), **task_args}
    plan = BcdaPlanOperator(
        task_id="plan",
        scope=scope,
        is_roster=is_roster,
        without_patient=without_patient,
        asks_gaps=gaps_after is not None,
        after_run_id=gaps_after,
        **{**warehouse, "trigger_rule": plan_trigger_rule},
    )
    run_id = plan.output
    kick_off = BcdaKickOffOperator(task_id="kick_off", run_id=run_id, **again)
    wait = BcdaJobSensor(task_id="wait_for_job", run_id=run_id, job_id=kick_off.output, **again)

    @task_group(group_id="batch")
    def batch(number: Any) -> Any:
        fetch = BcdaFetchOperator(task_id="fetch", run_id=run_id, batch=number, **again)
        land = BcdaLandOperator(task_id="land", run_id=run_id, batch=number, **again)
        fetch >> land
        return land.output

    landed = batch.expand(number=wait.output)
    # An export without changes has no batch, and is recorded anyway.
    rule = {"trigger_rule": "none_failed_min_one_success"}
    merge = BcdaMergeOperator(task_id="merge", run_id=run_id, **{**warehouse, **rule})
    [wait, landed] >> merge
    return plan, merge
