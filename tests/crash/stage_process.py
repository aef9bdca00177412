"""The stages of an export, each in a process of its own that dies, or stops, where it is told to."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from plain_export import planned

from bcda import export
from bcda.api.client import BcdaClient
from bcda.settings import ConnectionSettings
from bcda.storage import commit_points
from bcda.storage.places import Places

BATCHES = 2
FILE_EVENTS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "socket.connect")
"""Python's own audit events that change something outside the process."""


@dataclass(frozen=True, slots=True)
class Death:
    """When a process dies, or stops.

    Attributes:
        event: name of a commit point, or `files` for Python's own events; empty for none.
        count: it dies at this occurrence, from 1.
        after_seconds: or it is killed from outside after this time.
        by: signal that it gets; SIGSTOP for one that goes on later.
    """

    event: str = ""
    count: int = 1
    after_seconds: float | None = None
    by: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        if self.after_seconds is not None:
            return f"after {self.after_seconds:.3f} s"
        return f"{self.event} #{self.count}"


@dataclass(frozen=True, slots=True)
class Stage:
    """One task of a run: `name`, and the number of the batch for those that have one."""

    name: str
    batch: int = -1

    def __str__(self) -> str:
        return self.name if self.batch < 0 else f"{self.name} {self.batch}"


def run(
    stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places, death: Death, answer: Connection
) -> None:
    """Run one stage; send `(what later stages need, commit points reached)`, as Airflow would through XCom."""
    seen = _listen(death, places.raw.parent)
    answer.send((_STAGES[stage.name](stage, given, settings, places), seen))
    answer.close()


def _listen(death: Death, home: Path) -> list[str]:
    seen: list[str] = []
    left = death.count

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event == commit_points.EVENT:
            name = str(arguments[0])
            seen.append(name)
        elif event in FILE_EVENTS and (event == "socket.connect" or str(arguments[0]).startswith(str(home))):
            name = "files"
        else:
            return
        if name == death.event:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), death.by)

    sys.addaudithook(hook)
    return seen


def _plan(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    return {"run_id": planned(settings, places).run_id}


def _kick_off(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    async def ask() -> str:
        async with BcdaClient(settings) as client:
            return (await export.kick_off(client, places, given["run_id"])).job_id

    return {"job_id": asyncio.run(ask())}


def _wait(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    async def wait() -> None:
        async with BcdaClient(settings) as client:
            while (await client.status(given["job_id"])).manifest is None:
                await asyncio.sleep(0.02)
            await export.save_manifest(client, places, given["run_id"], given["job_id"])

    asyncio.run(wait())
    return {"batches": str(len(export.plan_batches(places, given["run_id"], BATCHES)))}


def _fetch(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    async def fetch() -> None:
        async with BcdaClient(settings) as client:
            await export.fetch_batch(client, places, given["run_id"], stage.batch, BATCHES)

    asyncio.run(fetch())
    return {}


def _land(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    export.land_batch(places, given["run_id"], stage.batch, BATCHES)
    return {}


def _merge(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    export.merge(places, given["run_id"], BATCHES, now=datetime.fromisoformat(given["now"]))
    return {}


def _publish(stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places) -> dict[str, str]:
    export.publish(places)
    return {}


_STAGES = {
    "plan": _plan,
    "kick_off": _kick_off,
    "wait": _wait,
    "fetch": _fetch,
    "land": _land,
    "merge": _merge,
    "publish": _publish,
}

ORDER = (
    Stage("plan"),
    Stage("kick_off"),
    Stage("wait"),
    *(Stage("fetch", batch) for batch in range(BATCHES)),
    *(Stage("land", batch) for batch in range(BATCHES)),
    Stage("merge"),
    Stage("publish"),
)
