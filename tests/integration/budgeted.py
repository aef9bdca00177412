"""The stages that have a budget on the network, each fed with ten times of it.

`python tests/integration/budgeted.py` measures them with the budgets as they are, in six minutes, and prints the tables of
docs/guarantees.md.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bcda import budgets
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.settings import ApiVersion, ConnectionSettings
from bcda_simulator import Fault, FaultKind, SimulatorServer, SimulatorSettings
from bcda_simulator.world import World

MEGABYTE = budgets.MEGABYTE
PROBE = Path(__file__).parent / "budget_probe.py"


@dataclass(frozen=True)
class Stage:
    """One budget.

    Attributes:
        name: as the table has it.
        budget: as the table has it, made of the constants.
        call: of `budget_probe.CALLS`.
        faults: that feed ten times the budget.
        outcome: name of the error, or `taken`.
        says: words of the message.
        memory_megabytes: hard limit of the process, beyond what it has before.
        tuning: of the connection, in tests.
        patched: constants of `budgets`, in tests.
        is_new: needs a client without a token.
    """

    name: str
    budget: str
    call: str
    faults: tuple[Fault, ...]
    outcome: str
    says: str
    memory_megabytes: int = 64
    tuning: dict[str, float] = field(default_factory=dict)
    patched: dict[str, float] = field(default_factory=dict)
    is_new: bool = False

    def __str__(self) -> str:
        return self.name


def _mib(size: float) -> str:
    return f"{size / (1 << 20):g} MiB" if size >= 1 << 20 else f"{size / 1024:g} KiB"


def _flood(endpoint: str, budget: float, **more: object) -> Fault:
    return Fault(FaultKind.FLOOD, endpoint, size_bytes=int(10 * budget), **more)


_MANIFEST = budgets.MANIFEST_MEGABYTES * MEGABYTE
_ANSWER = budgets.ANSWER_BYTES
_BUSY = Fault(FaultKind.ANSWER, "attribution", status=503)
_FILES = 200_000
_VALUES = "[" + "[]," * (10 * budgets.MOST_JSON_VALUES) + "[]]"


def manifest_of_many_files() -> str:
    """Return a manifest that is nearly as large as it may be."""
    base = f"{Path('0' * 8)}-0000-4000-8000-"
    entries = ",".join(
        f'{{"type":"ExplanationOfBenefit","url":"BASE/data/1234567/{base}{number:012d}.ndjson"}}'
        for number in range(_FILES)
    )
    return (
        '{"transactionTime":"2026-11-10T00:00:00Z","request":"BASE/api/v2/Patient/$export","requiresAccessToken":true,'
        f'"output":[{entries}],"error":[],"JobID":1}}'
    )


MEMORY: tuple[Stage, ...] = (
    Stage(
        "Manifest", f"{budgets.MANIFEST_MEGABYTES:g} MB (`manifest_megabytes`)", "status",
        (_flood("manifest", _MANIFEST),), "ManifestError", "manifest_megabytes", 160,
    ),
    Stage(
        "Manifest, compressed", f"{budgets.MANIFEST_MEGABYTES:g} MB (`manifest_megabytes`)", "status",
        (Fault(FaultKind.BOMB, "manifest", size_bytes=int(10 * _MANIFEST)),), "ManifestError", "manifest_megabytes", 160,
    ),
    Stage(
        "Values in one answer", f"{budgets.MOST_JSON_VALUES:,} values", "status",
        (Fault(FaultKind.ANSWER, "status", status=200, body="text", text=_VALUES),), "ManifestError", "more than 1,000,000", 160,
    ),
    Stage(
        "List of jobs", _mib(budgets.JOB_LIST_BYTES), "jobs",
        (_flood("jobs", budgets.JOB_LIST_BYTES),), "OversizedAnswerError", "answer is larger than", 96,
    ),
    Stage(
        "Token", _mib(budgets.TOKEN_BYTES), "attribution",
        (_flood("token", budgets.TOKEN_BYTES),), "OversizedAnswerError", "Token request: the answer is larger than", is_new=True,
    ),
    Stage(
        "Any other answer", _mib(_ANSWER), "attribution",
        (_flood("attribution", _ANSWER),), "OversizedAnswerError", "answer is larger than",
    ),
    Stage(
        "Body of an error", f"{_mib(_ANSWER)}, then its status counts", "attribution",
        (_BUSY, _flood("attribution", _ANSWER)), "ServerError", "503",
    ),
    Stage(
        "Header block", _mib(budgets.HEADER_BYTES), "attribution",
        (Fault(FaultKind.ENDLESS_HEADERS, "attribution", seconds=0.0, size_bytes=10 * budgets.HEADER_BYTES),),
        "ServerError", "RemoteProtocolError",
    ),
    Stage(
        "One file", f"{budgets.FILE_MEGABYTES:,.0f} MB (`file_megabytes`)", "fetch",
        (_flood("data", 20 * MEGABYTE),), "OversizedFileError", "file_megabytes", tuning={"file_megabytes": 20},
    ),
    Stage(
        "Content of one file", f"{_mib(budgets.UNPACKS_TO_BYTES)}, or {budgets.UNPACKS_TO_TIMES} times its size", "unpack",
        (), "OversizedFileError", "larger than any export's",
    ),
)  # fmt: skip
"""Each is fed with ten times its budget; one file with ten times a smaller setting, since 40 GB take too long."""

LARGE = Stage(
    f"A manifest of {_FILES:,} files, which is taken", "", "status",
    (), "taken", str(_FILES), 512,
)  # fmt: skip

_SECONDS = "60 s (`request_timeout_seconds`)"
_DRIP = {"seconds": 0.05}
_SHORT = {"request_timeout_seconds": 0.5}

TIME: tuple[Stage, ...] = (
    Stage(
        "Answer that drips", _SECONDS, "attribution",
        (Fault(FaultKind.DRIP, "attribution", **_DRIP),), "ServerError", "no complete answer came within", tuning=_SHORT,
    ),
    Stage(
        "Header block that drips", _SECONDS, "attribution",
        (Fault(FaultKind.ENDLESS_HEADERS, "attribution", **_DRIP),), "ServerError", "no complete answer came within", tuning=_SHORT,
    ),
    Stage(
        "Token that drips", _SECONDS, "attribution",
        (Fault(FaultKind.DRIP, "token", **_DRIP),), "ServerError", "Token request: no complete answer", tuning=_SHORT, is_new=True,
    ),
    Stage(
        "Error that drips", _SECONDS, "attribution",
        (_BUSY, Fault(FaultKind.DRIP, "attribution", **_DRIP)), "ServerError", "no complete answer came within", tuning=_SHORT,
    ),
    Stage(
        "Download that drips", f"{budgets.SPEED_SECONDS:g} s below {budgets.LEAST_BYTES_PER_SECOND:,.0f} bytes/s "
        "(`least_bytes_per_second`)", "fetch",
        (Fault(FaultKind.SLOW, "data", bytes_per_second=100),), "IncompleteFileError", "came slower than",
        patched={"SPEED_SECONDS": 0.5},
    ),
    Stage(
        "Download of one file in one attempt", f"{budgets.FILE_SECONDS / 3600:g} hours", "fetch",
        (Fault(FaultKind.SLOW, "data", bytes_per_second=100),), "IncompleteFileError", "did not come within",
        patched={"FILE_SECONDS": 0.5},
    ),
    Stage(
        "Wait that a server asks for, in a process", f"{budgets.HELD_SECONDS:g} s", "attribution",
        (Fault(FaultKind.ANSWER, "attribution", status=503, retry_after=str(int(10 * budgets.HELD_SECONDS))),), "ServerError", "503",
    ),
)  # fmt: skip
"""Each answer would last at least ten times as long as its budget."""


@dataclass(frozen=True)
class Measured:
    """What a stage took."""

    outcome: str
    said: str
    peak_bytes: int
    seconds: float
    left_bytes: int


def measure(stage: Stage, *, is_short: bool) -> Measured:
    """Run a stage in a process of its own.

    Args:
        stage: of the tables.
        is_short: with the smaller budgets of time of the tests.
    """
    source = World(people=60, seed=3, history_weeks=20)
    with SimulatorServer(source, settings=SimulatorSettings(pending_seconds=0.0)) as server, _folder() as name:
        url = asyncio.run(_completed_job(server))
        folder = Path(name)
        if stage.call == "unpack":
            _write_bomb(folder / "bomb.gz", 10 * budgets.UNPACKS_TO_BYTES)
        given = {
            "connection": [server.base_url, server.entity.client_id, server.entity.client_secret],
            "call": stage.call,
            "file": url,
            "folder": name,
            "memory_bytes": stage.memory_megabytes * MEGABYTE,
            "is_new": stage.is_new,
            "tuning": stage.tuning if is_short or "file_megabytes" in stage.tuning else {},
            "budgets": stage.patched if is_short or "FILE_SECONDS" in stage.patched else {},
        }
        # One heap for all threads: each of its own would count as 64 MB at once.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        command = [sys.executable, str(PROBE), json.dumps(given)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for fault in _faults(stage, server):
                server.faults.add(fault)
            said, _ = process.communicate("go\n", timeout=300)
        assert process.returncode == 0, stage
        return Measured(**json.loads(said))


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bcda-budgets-")


def _faults(stage: Stage, server: SimulatorServer) -> Sequence[Fault]:
    if stage is LARGE:
        text = manifest_of_many_files().replace("BASE", server.base_url)
        assert len(text) < _MANIFEST
        return (Fault(FaultKind.ANSWER, "status", status=200, body="text", text=text),)
    return [Fault(**{name: getattr(fault, name) for name in Fault.__slots__}) for fault in stage.faults]


async def _completed_job(server: SimulatorServer) -> str:
    """Let the server make files, and return the address of one."""
    settings = ConnectionSettings(server.base_url, server.entity.client_id, server.entity.client_secret)
    async with BcdaClient(settings) as client:
        await client.kick_off(ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",)))
        while (manifest := (await client.status("1")).manifest) is None:
            await asyncio.sleep(0.05)
        return manifest.files[0].url


def _write_bomb(path: Path, size: int) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as file:
        file.write(packer.compress(b"{}\n") + packer.flush(zlib.Z_FULL_FLUSH))
        block = packer.compress(b" " * MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
        for _ in range(size // MEGABYTE):
            file.write(block)


def tables() -> str:
    """Measure all stages, and return the tables."""
    lines = ["| stage | budget | peak memory at ten times the budget | ends with |", "|---|---|---|---|"]
    for stage in (*MEMORY, LARGE):
        took = measure(stage, is_short=False)
        assert took.outcome == stage.outcome, took
        lines.append(f"| {stage.name} | {stage.budget} | {took.peak_bytes / MEGABYTE:.0f} MB | {_end(took)} |")
    lines += ["", "| stage | budget | time, at ten times the budget | ends with |", "|---|---|---|---|"]
    for stage in TIME:
        took = measure(stage, is_short=False)
        assert took.outcome == stage.outcome, took
        note = " with a budget of 0.5 s" if stage.patched.get("FILE_SECONDS") else ""
        lines.append(f"| {stage.name} | {stage.budget} | {took.seconds:.1f} s{note} | {_end(took)} |")
    return "\n".join(lines)


def _end(took: Measured) -> str:
    return "loads" if took.outcome == "taken" else f"`{took.outcome}`"


if __name__ == "__main__":
    print(tables())
