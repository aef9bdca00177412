"""The runs of a source, each with its phase and what it waits for: Airflow's word and the raw folder's put together."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from bcda.errors import BcdaError
from bcda.reporting.overview import Overview, RunPhase, RunProgress, read_progress
from bcda.storage.places import Places
from bcda_provider.failures import TRIED
from bcda_provider.notes import OURS, sentence_of
from bcda_provider.page.airflow_runs import AirflowRun, newest_runs

_HEADLINES = {"success": "done", "failed": "failed", "running": "running", "queued": "queued"}


@dataclass(frozen=True, slots=True)
class Export:
    """One export run of an Airflow run.

    Attributes:
        run_id: its id.
        loaded: its row of the ledger; None while it is not in the published database.
        progress: how far it is; None when it is loaded, or its raw folder is not here.
        problem: why its raw folder cannot be read.
        has_report: whether there is a run report.
    """

    run_id: str
    loaded: dict[str, Any] | None
    progress: RunProgress | None
    problem: str
    has_report: bool


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One Airflow run on the page.

    Attributes:
        airflow: what Airflow says.
        headline: its state in a word.
        doing: its phase and reason in a sentence; empty when it is done.
        said: what failed, in a sentence for each task: its id and the sentence.
        exports: its export runs; none when nothing was needed.
    """

    airflow: AirflowRun
    headline: str
    doing: str
    said: tuple[tuple[str, str], ...]
    exports: tuple[Export, ...]

    @property
    def is_at_work(self) -> bool:
        """Whether the page should look again soon."""
        return self.airflow.state in {"running", "queued"}


def shown_runs(dags: Collection[str], places: Places, overview: Overview | None) -> list[ShownRun]:
    """Return the newest runs, newest first.

    Args:
        dags: ids of the export DAGs whose runs may be seen.
        places: of the source.
        overview: of its published database; None before the first load.
    """
    ledger = {row["run_id"]: row for row in overview.runs} if overview else {}
    return [_shown(run, places, ledger) for run in newest_runs(dags)]


def _shown(run: AirflowRun, places: Places, ledger: dict[str, dict[str, Any]]) -> ShownRun:
    exports = tuple(_export(run_id, places, ledger.get(run_id)) for run_id in run.run_ids)
    return ShownRun(run, _HEADLINES.get(run.state, run.state), _doing(run, exports), _said(run), exports)


def _said(run: AirflowRun) -> tuple[tuple[str, str], ...]:
    """Return what failed for good, or waits for its next try; while that runs, what the run's note says of the try before."""
    wanted = run.failed_tasks if run.state in {"failed", "success"} else tuple(run.at_work)
    said = tuple((name, run.failures[name]) for name in wanted if name in run.failures)
    # Runs of earlier releases left nothing but the note.
    if (
        not said
        and run.note.startswith(OURS)
        and (run.state == "failed" or (run.state == "running" and TRIED in sentence_of(run.note)))
    ):
        return (("", sentence_of(run.note)),)
    return said


def _export(run_id: str, places: Places, loaded: dict[str, Any] | None) -> Export:
    progress, problem = None, ""
    if loaded is None:
        try:
            progress = read_progress(places, run_id)
        except BcdaError as error:
            problem = str(error)
    return Export(run_id, loaded, progress, problem, (places.reports / f"{run_id}.html").exists())


def _doing(run: AirflowRun, exports: tuple[Export, ...]) -> str:
    if run.state == "success":
        if run.failed_tasks:
            # Only the tasks that ask for gaps again can fail without the run.
            return f"{', '.join(run.failed_tasks)} failed. The rest is published, and the next run asks for the gaps again."
        return "" if exports else "No export was needed. The log of the plan task has the reason."
    if run.state == "failed":
        tasks = ", ".join(run.failed_tasks) or "A task"
        return f"{tasks} failed. This run published nothing after that. The task log has the details."
    if run.state == "queued":
        return "Waiting: one export of a connection runs at a time."
    retried = [name for name, state in run.at_work.items() if state == "up_for_retry"]
    if retried:
        return f"Waiting for the next try of {', '.join(retried)}, without holding a worker. No action is needed."
    current = next((export.progress for export in reversed(exports) if export.progress), None)
    if current is not None:
        return _sentence(current)
    if not exports:
        return "Planning the request."
    return _at_work(run)


def _at_work(run: AirflowRun) -> str:
    """Say what runs whose raw folders tell nothing: they are loaded, unreadable or on another machine."""
    tasks = list(dict.fromkeys(name.partition("[")[0] for name in run.at_work))
    if {"publish", "report"} & set(tasks):
        return "Publishing the loaded data."
    if not tasks:
        return "The next task starts in a moment."
    if len(tasks) == 1:
        return f"{tasks[0]} is running. See its log for details."
    return f"{', '.join(tasks)} are running. See their logs for details."


def _sentence(progress: RunProgress) -> str:
    if progress.phase in {RunPhase.KICK_OFF, RunPhase.WAIT}:
        return progress.wait.reason if progress.wait else "Requesting the export from BCDA."
    return {
        RunPhase.FETCH: "Fetching and verifying the files.",
        RunPhase.LAND: "Converting the files to tables.",
        RunPhase.MERGE: "Merging, checking and publishing the data.",
    }[progress.phase]
