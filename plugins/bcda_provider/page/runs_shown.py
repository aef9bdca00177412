"""The runs of a source, each with its phase and what it waits for: Airflow's word and the raw folder's put together."""

from dataclasses import dataclass
from typing import Any

from bcda.errors import BcdaError
from bcda.overview import Overview, Phase, Progress, read_progress
from bcda.places import Places
from bcda_provider.page.airflow_runs import AirflowRun, newest_runs

_HEADLINES = {"success": "done", "failed": "failed", "running": "at work", "queued": "queued"}


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
    progress: Progress | None
    problem: str
    has_report: bool


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One Airflow run on the page.

    Attributes:
        airflow: what Airflow says.
        headline: its state in a word.
        doing: its phase and reason in a sentence; empty when it is done.
        exports: its export runs; none when nothing was needed.
    """

    airflow: AirflowRun
    headline: str
    doing: str
    exports: tuple[Export, ...]

    @property
    def is_at_work(self) -> bool:
        """Whether the page should look again soon."""
        return self.airflow.state in {"running", "queued"}


def shown_runs(source: str, places: Places, overview: Overview | None) -> list[ShownRun]:
    """Return the newest runs, newest first.

    Args:
        source: connection id.
        places: of the source.
        overview: of its published database; None before the first load.
    """
    ledger = {row["run_id"]: row for row in overview.runs} if overview else {}
    return [_shown(run, places, ledger) for run in newest_runs(source)]


def _shown(run: AirflowRun, places: Places, ledger: dict[str, dict[str, Any]]) -> ShownRun:
    exports = tuple(_export(run_id, places, ledger.get(run_id)) for run_id in run.run_ids)
    return ShownRun(run, _HEADLINES.get(run.state, run.state), _doing(run, exports), exports)


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
        return "" if exports else "Nothing was needed; the log of its plan task says why."
    if run.state == "failed":
        tasks = ", ".join(run.failed_tasks) or "a task"
        return f"{tasks} failed. Its log ends with what was wrong and what to do next; nothing of this run was published after it."
    if run.state == "queued":
        return "Waits for its turn: one export of a source runs at a time."
    retried = [name for name, state in run.at_work.items() if state == "up_for_retry"]
    if retried:
        return f"{', '.join(retried)} failed and is tried again by itself."
    current = next((export.progress for export in reversed(exports) if export.progress), None)
    if current is not None:
        return _sentence(current)
    if not exports:
        return "Plans what to ask for."
    return _at_work(run)


def _at_work(run: AirflowRun) -> str:
    """Say what runs whose raw folders tell nothing: they are loaded, unreadable or on another machine."""
    tasks = list(dict.fromkeys(name.partition("[")[0] for name in run.at_work))
    if {"publish", "report"} & set(tasks):
        return "Publishes what was loaded."
    if not tasks:
        return "Goes on with its next task in a moment."
    if len(tasks) == 1:
        return f"{tasks[0]} is at work; its log says more."
    return f"{', '.join(tasks)} are at work; their logs say more."


def _sentence(progress: Progress) -> str:
    if progress.phase in {Phase.KICK_OFF, Phase.WAIT}:
        return progress.wait.reason if progress.wait else "Asks BCDA for the export."
    return {
        Phase.FETCH: "Fetches and proves the files.",
        Phase.LAND: "Turns the files into tables.",
        Phase.MERGE: "Merges what was landed, checks it and publishes it.",
    }[progress.phase]
