"""The simulator's own endpoints below `/_sim/`: clock, faults, jobs and request log for tests and the demo."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bcda_simulator.faults import Fault, FaultKind

if TYPE_CHECKING:
    from bcda_simulator.app import Simulator


async def answer(simulator: "Simulator", request: Request, path: str) -> Response:
    """Answer a control request.

    `GET /_sim/state` shows clock, jobs and requests; `POST /_sim/clock` takes `{"advance_seconds": n}` or
    `{"set": instant}`; `POST /_sim/faults` takes the fields of a `Fault`, `DELETE /_sim/faults` lifts all.
    """
    action = (request.method, path.removeprefix("/_sim/"))
    if action == ("GET", "state"):
        return JSONResponse(_state(simulator))
    if action == ("POST", "clock"):
        wish = await request.json()
        if "set" in wish:
            simulator.clock.set(datetime.fromisoformat(wish["set"]))
        simulator.clock.advance(float(wish.get("advance_seconds", 0)))
        return JSONResponse({"now": simulator.clock.now().isoformat()})
    if action == ("POST", "faults"):
        wish = await request.json()
        simulator.faults.add(
            Fault(**{**wish, "kind": FaultKind(wish["kind"]), "people": tuple(wish.get("people", ()))})
        )
        return JSONResponse({"active": len(simulator.faults.active)})
    if action == ("DELETE", "faults"):
        simulator.faults.clear()
        return JSONResponse({"active": 0})
    return Response(status_code=404)


def _state(simulator: "Simulator") -> dict[str, object]:
    return {
        "now": simulator.clock.now().isoformat(),
        "jobs": [
            {"number": job.number, "state": simulator.store.state(job), "request": job.path_and_query}
            for job in simulator.store.jobs.values()
        ],
        "requests": [asdict(entry) for entry in simulator.requests],
    }
