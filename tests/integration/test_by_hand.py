"""Exports and questions by hand, as a notebook asks them: to a folder, in a running event loop, killed, interrupted, refused."""

import asyncio
import base64
import fcntl
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace

import duckdb
import httpx
import pytest

import bcda
from bcda import Bcda, export, run_export
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope, parse_instant
from bcda.api.manifest import FileKind
from bcda.api.protocol import JobState
from bcda.by_hand import download_job
from bcda.errors import (
    ActionNeededError,
    BcdaError,
    CredentialsError,
    ExportExpiredError,
    ExportFailedError,
    ExportInterrupted,
    InvalidRequestError,
    RateLimitedError,
)
from bcda.settings import ApiVersion
from bcda.storage.commit_points import CommitPoint
from bcda_simulator import Entity, Fault, FaultKind, SimulatorSettings
from bcda_simulator.world import World

HEADERS = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
OTHER = Entity("A0002", "another-client", "another-secret")
BOTH = World(people=6, seed=3, history_weeks=20, cms_ids=("A9999", "A0002"))


def asked(server, endpoint):
    return [entry.target for entry in server.requests if entry.endpoint == endpoint and entry.status < 400]


def by_plain_http(server, path="Patient/$export?_type=Patient,Coverage,ExplanationOfBenefit"):
    """The same export without a line of the library: the resources by type, and what was downloaded."""
    basic = base64.b64encode(f"{server.entity.client_id}:{server.entity.client_secret}".encode()).decode()
    with httpx.Client(base_url=server.base_url, trust_env=False) as http:
        token = http.post("/auth/token", headers={"Authorization": f"Basic {basic}"}).json()["access_token"]
        http.headers.update({"Authorization": f"Bearer {token}", **HEADERS})
        job = http.get(f"/api/v2/{path}").headers["Content-Location"]
        while (answer := http.get(job)).status_code == 202:
            time.sleep(0.05)
        found = {}
        for entry in answer.json()["output"]:
            found.setdefault(entry["type"], []).extend(http.get(entry["url"]).text.splitlines())
        return {name: sorted(lines) for name, lines in found.items()}


def lines_of(result):
    found = {}
    for file in result.files:
        if file.kind is FileKind.OUTPUT:
            with gzip.open(file.path, "rt", encoding="utf-8") as lines:
                found.setdefault(file.resource_type, []).extend(line.rstrip("\n") for line in lines)
    return {name: sorted(lines) for name, lines in found.items()}


def rows(result, sql="SELECT count(*), count(DISTINCT claim_id) FROM claim"):
    with duckdb.connect(str(result.database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_an_export_brings_what_a_plain_http_client_gets(serve, settings_for, tmp_path):
    server, said = serve(), []
    result = run_export(tmp_path / "claims", settings_for(server), on_progress=said.append)
    plain = by_plain_http(server)
    assert lines_of(result) == plain
    assert result.lines == {name: len(lines) for name, lines in plain.items()}
    assert result.bytes == {name: sum(len(line.encode()) + 1 for line in lines) for name, lines in plain.items()}
    claims = len(plain["ExplanationOfBenefit"])
    assert rows(result) == [(claims, claims)]
    assert duckdb.read_parquet(result.tables["claim"]).count("*").fetchall() == [(claims,)]
    assert (result.job_id, result.gaps, result.lines_quarantined) == ("1", {}, 0)
    assert json.loads((tmp_path / "claims/export.json").read_text())["result"] == result.to_json()
    assert said[0] == "BCDA accepted the export as job 1."
    assert f"ExplanationOfBenefit: {claims} resources in 1 file" in str(result)
    for path in (tmp_path / "claims").rglob("*"):
        assert path.is_symlink() or not path.stat().st_mode & 0o077, path


async def test_an_export_runs_inside_the_event_loop_of_a_notebook(serve, settings_for, tmp_path):
    server = serve()
    assert asyncio.get_running_loop().is_running()
    result = run_export(tmp_path / "claims", settings_for(server), "Group/all", resource_types=["Patient"], land=False)
    assert result.lines == {"Patient": len(lines_of(result)["Patient"])}
    assert (result.database, result.tables) == (None, {})
    assert Bcda(settings_for(server)).job(result.job_id).state is JobState.COMPLETED


def test_a_complete_export_is_returned_without_asking_and_can_be_loaded_later(serve, settings_for, tmp_path):
    server = serve()
    first = run_export(tmp_path, settings_for(server), resource_types=("Patient",), land=False)
    before = len(server.requests)
    assert run_export(tmp_path, settings_for(server), resource_types=("Patient",), land=False) == first
    loaded = run_export(tmp_path, settings_for(server), resource_types=("Patient",))
    assert len(server.requests) == before
    assert rows(loaded, "SELECT count(*) FROM patient") == [(first.lines["Patient"],)]
    assert loaded.files == first.files


def test_a_folder_holds_one_export_and_another_is_refused_before_anything_is_sent(serve, settings_for, tmp_path):
    server, folder = serve(BOTH, entities=(Entity(), OTHER)), tmp_path / "claims"
    settings = settings_for(server)
    run_export(folder, settings, resource_types=("Patient",), land=False)
    held, sent = sorted(path.name for path in folder.rglob("*")), len(server.requests)
    for changes, said in (
        ({"scope": "group-all"}, r"holds another export: .*Patient/\$export.*, not .*Group/all"),
        ({"resource_types": ("Coverage",)}, "holds another export"),
        ({"since": "2026-01-01T00:00:00Z"}, "_since="),
        ({"settings": replace(settings, api_version=ApiVersion.V1)}, "/api/v2/.*, not /api/v1/"),
        ({"settings": replace(settings, base_url="https://sandbox.bcda.cms.gov")}, "from loopback, not from https"),
        ({"settings": replace(settings, client_id=OTHER.client_id)}, "another client id"),
    ):
        with pytest.raises(InvalidRequestError, match=said):
            run_export(
                **{"folder": folder, "settings": settings, "resource_types": ("Patient",), "land": False, **changes}
            )
    with pytest.raises(InvalidRequestError, match="holds another export"):
        download_job("1", folder, settings)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("not an export")
    with pytest.raises(InvalidRequestError, match=r"not an export \(thesis.txt\)"):
        run_export(tmp_path / "other", settings)
    with pytest.raises(InvalidRequestError, match="is a file"):
        run_export(tmp_path / "other/thesis.txt", settings)
    with (folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequestError, match="Another process is exporting"):
            run_export(folder, settings, resource_types=("Patient",), land=False)
    assert (sorted(path.name for path in folder.rglob("*")), len(server.requests)) == (held, sent)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("Group/new", "BCDA has no Group/new"),
        ("group-new", "group-all with `since`"),
        ("ExplanationOfBenefit", "removed /api/v1/ExplanationOfBenefit"),
        ("/api/v1/Coverage/$export", "removed /api/v1/Coverage"),
        ("$export", "no export of the whole system"),
        ("Group/A9999", "Choose patient, group-all, or group-runout"),
    ],
)
def test_an_endpoint_that_bcda_does_not_have_is_explained(serve, settings_for, tmp_path, scope, said):
    server = serve()
    with pytest.raises(InvalidRequestError, match=said):
        run_export(tmp_path, settings_for(server), scope)
    assert (list(tmp_path.iterdir()), server.requests) == ([], [])


@pytest.mark.parametrize("scope", ["group-runout", "Group/runout", "/api/v2/Group/runout/$export"])
def test_a_scope_has_the_name_of_the_form_or_bcdas_path(scope):
    from bcda.api.export_request import scope_of

    assert scope_of(scope) is Scope.GROUP_RUNOUT


def test_runout_and_since_are_asked_for_as_given(serve, settings_for, tmp_path):
    server = serve(start=parse_instant("2026-03-10T12:00:00Z"))
    result = run_export(tmp_path, settings_for(server), "group-runout", since="2026-01-01T01:00:00+01:00", land=False)
    assert result.request_url.endswith(
        "/Group/runout/$export?_type=Patient,Coverage,ExplanationOfBenefit&_since=2026-01-01T00:00:00Z"
    )


@pytest.mark.complete
def test_v3_is_asked_for_the_claims_of_every_system(serve, settings_for, tmp_path):
    server = serve()
    result = run_export(tmp_path / "a", settings_for(server, api_version=ApiVersion.V3))
    assert "SharedSystem" in asked(server, "kick-off")[0]
    again = download_job(result.job_id, tmp_path / "b", settings_for(server))
    assert lines_of(again) == lines_of(result)
    assert rows(again) == rows(result)


CHILD = """
import os, signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)
if {is_notebook}:
    # By this DuckDB knows a Jupyter kernel, in which it has settings that cannot be set.
    sys.modules["IPython"] = types.ModuleType("IPython")
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace(config={{"IPKernelApp": {{}}}})
from bcda import ConnectionSettings, run_export
from bcda.storage.commit_points import EVENT
from bcda.settings import Tuning

def at(event, arguments):
    if event == EVENT and arguments[0] == {point!r}:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(at)
settings = ConnectionSettings({url!r}, {client!r}, {secret!r}, tuning=Tuning(poll_seconds=0.05, poll_max_seconds=0.1))
{call}
"""


def child(server, folder, *, point="", call="run_export({folder!r}, settings)"):
    entity = server.entity
    text = CHILD.format(
        point=point,
        is_notebook=call is NOTEBOOK,
        url=server.base_url,
        client=entity.client_id,
        secret=entity.client_secret,
        call=textwrap.dedent(call).format(folder=str(folder)),
    )
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


POINTS = [
    CommitPoint.ABOUT_TO_ASK,
    CommitPoint.MANIFEST_SAVED,
    CommitPoint.FILE_RECEIPTED,
    CommitPoint.BATCH_ACCOUNTED,
    CommitPoint.MERGE_COMMITTED,
    CommitPoint.LOG_SHUT_OUT,
    CommitPoint.PUBLISHED,
]


@pytest.mark.complete
@pytest.mark.parametrize(
    "point", [CommitPoint.JOB_ACCEPTED, *(pytest.param(point, marks=pytest.mark.complete) for point in POINTS)]
)
def test_killed_anywhere_the_same_call_goes_on_and_doubles_nothing(serve, settings_for, tmp_path, point):
    server = serve(settings=SimulatorSettings(chunk_people={"ExplanationOfBenefit": 2}))
    with child(server, tmp_path / "claims", point=point.value) as killed:
        assert killed.wait(60) == -signal.SIGKILL, killed.stderr.read()
    receipts = sorted(path.name for path in (tmp_path / "claims").rglob("*.receipt.json"))
    before = Counter(asked(server, "data"))
    result = run_export(tmp_path / "claims", settings_for(server))
    assert len(asked(server, "kick-off")) == 1
    again = [
        target for target, count in Counter(asked(server, "data")).items() if before[target] and count > before[target]
    ]
    assert len(again) <= len(before) - len(receipts)
    plain = by_plain_http(server)
    assert lines_of(result) == plain
    claims = len(plain["ExplanationOfBenefit"])
    assert rows(result) == [(claims, claims)]
    assert duckdb.read_parquet(result.tables["claim"]).count("*").fetchall() == [(claims,)]


NOTEBOOK = """
import asyncio
async def cell():
    run_export({folder!r}, settings, on_progress=lambda text: print(text, flush=True))
asyncio.run(cell())
"""
SCRIPT = "run_export({folder!r}, settings, on_progress=lambda text: print(text, flush=True))"


@pytest.mark.complete
@pytest.mark.parametrize("call", [SCRIPT, NOTEBOOK], ids=["script", "notebook"])
def test_an_interrupt_cancels_nothing_and_says_what_remains(serve, settings_for, tmp_path, call):
    server = serve(settings=SimulatorSettings(pending_seconds=4))
    with child(server, tmp_path / "claims", call=call) as process:
        assert any("Pending" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    last = next(line for line in said.splitlines() if line.startswith("bcda.errors.ExportInterrupted"))
    assert "ExportInterrupted: Interrupted. Job 1 stays at BCDA" in last
    assert f"run the same export again with the folder {tmp_path / 'claims'}" in last
    assert last.endswith("python -m bcda cancel 1")
    assert asked(server, "cancel") == []
    server.clock.advance(60)
    with child(server, tmp_path / "claims", call=call) as process:
        said = process.communicate(timeout=60)
    assert (process.returncode, "Job 1 is complete" in said[0]) == (0, True), said
    assert len(asked(server, "kick-off")) == 1


@pytest.mark.complete
def test_an_interrupt_of_a_statement_while_it_loads_says_so_too(serve, settings_for, tmp_path, monkeypatch):
    server = serve()

    def land(*_):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        # DuckDB heeds an interrupt at once or, now and then, at the end of the statement, which so must have one.
        duckdb.execute("SELECT sum(a.range * b.range) FROM range(100000) AS a, range(10000) AS b").fetchall()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(export, "land_batch", land)
        with pytest.raises(ExportInterrupted, match="All files are here"):
            run_export(tmp_path, settings_for(server), resource_types=("Patient",))
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    assert run_export(tmp_path, settings_for(server), resource_types=("Patient",)).lines["Patient"] == 5


def test_the_next_call_starts_another_job_when_the_first_is_gone(serve, settings_for, tmp_path):
    server, said = serve(settings=SimulatorSettings(chunk_people={"ExplanationOfBenefit": 2})), []
    server.faults.add(Fault(FaultKind.ANSWER, "data", skip=2, status=500, body="text"))
    with pytest.raises(BcdaError) as failed:
        run_export(tmp_path, settings_for(server), land=False)
    assert "To go on, run the same export again" in failed.value.__notes__[0]
    server.faults.clear()
    server.clock.advance(3 * 86_400)
    result = run_export(tmp_path, settings_for(server), land=False, on_progress=said.append)
    assert result.job_id == "2"
    assert any("Starting another job" in text for text in said)
    plain = by_plain_http(server)
    assert lines_of(result) == plain
    with pytest.raises(ExportExpiredError, match="job list"):
        download_job("1", tmp_path / "download", settings_for(server))


def test_a_job_that_fails_is_an_error_and_the_same_call_starts_another(serve, settings_for, tmp_path):
    server = serve(faults=[Fault(FaultKind.JOB_FAILS, "kick-off", times=1)])
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, failed_grace_seconds=0.1))
    with pytest.raises(ExportFailedError, match=r"Job 1 failed at BCDA.*it starts another job"):
        run_export(tmp_path, settings, land=False)
    said = []
    assert run_export(tmp_path, settings, land=False, on_progress=said.append).job_id == "2"
    assert not [text for text in said if "Job 1" in text]


def test_a_job_that_passes_its_deadline_is_canceled_and_said_so(serve, settings_for, tmp_path):
    server = serve(faults=[Fault(FaultKind.STUCK, "kick-off")])
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, job_deadline_seconds=0.3))
    with pytest.raises(ExportFailedError, match="has been canceled"):
        run_export(tmp_path, settings, land=False)
    assert len(asked(server, "cancel")) == 1


def test_an_answer_that_drips_does_not_put_the_end_of_a_wait_off(serve, settings_for, tmp_path):
    drips = Fault(FaultKind.DRIP, "status", seconds=0.1)
    server, said = serve(faults=[Fault(FaultKind.STUCK, "kick-off"), drips]), []
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, job_deadline_seconds=0.5))
    began = time.monotonic()
    with pytest.raises(ExportFailedError, match="has been canceled"):
        run_export(tmp_path, settings, land=False, on_progress=said.append)
    assert "No answer on job 1 before the end of the wait." in said
    # The time of one request is a minute.
    assert time.monotonic() - began < 30


def test_a_wait_that_a_server_asks_for_ends_with_the_deadline(serve, settings_for, tmp_path):
    server, said = serve(), []
    server.faults.add(Fault(FaultKind.ANSWER, "kick-off", status=429, retry_after="86400", body="none"))
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, job_deadline_seconds=3_600.0))
    with pytest.raises(RateLimitedError):
        run_export(tmp_path, settings, land=False, on_progress=said.append)


def test_a_job_that_stays_pending_is_replaced_once(serve, settings_for, tmp_path):
    server, said = serve(faults=[Fault(FaultKind.STUCK_PENDING, "kick-off", times=1)]), []
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, pending_restart_seconds=0.2))
    result = run_export(tmp_path, settings, resource_types=("Patient",), land=False, on_progress=said.append)
    assert (result.job_id, len(asked(server, "cancel"))) == ("2", 1)
    assert "Job 1 stays Pending. It is canceled and another is started." in said


def test_an_export_waits_for_another_job_of_the_organization(serve, settings_for, tmp_path):
    server, said = serve(settings=SimulatorSettings(pending_seconds=0.6)), []

    async def occupy():
        async with BcdaClient(settings_for(server)) as client:
            return await client.kick_off(ExportRequest(ApiVersion.V2, Scope.GROUP_ALL, ("Patient",)))

    assert asyncio.run(occupy()) == "1"
    result = run_export(
        tmp_path, settings_for(server), resource_types=("Patient",), land=False, on_progress=said.append
    )
    assert result.job_id == "2"
    assert any("trying again. Job 1 of this organization" in text for text in said)


def test_an_outage_while_the_job_runs_is_waited_out(serve, settings_for, tmp_path):
    server, said = serve(settings=SimulatorSettings(pending_seconds=0.3)), []
    server.faults.add(Fault(FaultKind.DROP, "status", skip=1, times=6))
    result = run_export(
        tmp_path, settings_for(server), resource_types=("Patient",), land=False, on_progress=said.append
    )
    assert result.lines["Patient"] > 0
    assert any("No answer on job 1" in text for text in said)


def test_people_whom_bcda_could_not_retrieve_are_counted_by_type_and_not_named(serve, settings_for, tmp_path):
    fault = Fault(FaultKind.PEOPLE_FAIL, people=(0, 2), resource_type="Coverage")
    server, said = serve(faults=[fault]), []
    result = run_export(tmp_path, settings_for(server), land=False, on_progress=said.append)
    assert result.gaps == {"Coverage": 2}
    assert "Missing: Coverage of 2 people" in str(result)
    named = [file for file in result.files if file.kind is FileKind.ERROR]
    with gzip.open(named[0].path, "rt") as lines:
        mbis = [line.split("MBI ")[1].split()[0] for line in lines]
    text = " ".join([*said, str(result), json.dumps(result.to_json()), (tmp_path / "export.json").read_text()])
    assert len(mbis) == 2
    assert not [mbi for mbi in mbis if mbi in text]


def test_the_type_of_a_gap_is_that_of_the_data_file_with_the_same_name(tmp_path):
    from bcda.api.manifest import Manifest, OutputFile
    from bcda.by_hand.gaps import count_gaps

    def issue(text, severity="error"):
        return json.dumps({"issue": [{"severity": severity, "diagnostics": text}]})

    blue = "Error retrieving BlueButton ID for cclfBeneficiary MBI 1S00E00AA0"
    texts = {
        "00003-OperationOutcome.ndjson.gz": ("b-error", [issue(blue + "0"), issue(blue + "1"), issue(blue + "0")]),
        "00004-OperationOutcome.ndjson.gz": ("lone-error", [issue(blue + "2"), "no json"]),
        "00005-OperationOutcome.ndjson.gz": ("warnings-and-info", [issue("Default System-Type", "warning")]),
    }
    files = [
        OutputFile("00001-Patient.ndjson.gz", FileKind.OUTPUT, "Patient", "http://x/data/1/a.ndjson"),
        OutputFile("00002-Coverage.ndjson.gz", FileKind.OUTPUT, "Coverage", "http://x/data/1/b.ndjson"),
    ]
    for name, (stem, lines) in texts.items():
        (tmp_path / name).write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))
        files.append(OutputFile(name, FileKind.ERROR, "OperationOutcome", f"http://x/data/1/{stem}.ndjson"))
    manifest = Manifest("1", parse_instant("2026-01-01T00:00:00Z"), "", None, tuple(files))
    assert count_gaps(manifest, tmp_path) == {"Coverage": 2, "unknown type": 2}


def test_every_endpoint_answers_what_a_plain_http_client_gets(serve, settings_for, tmp_path):
    server = serve(BOTH, entities=(Entity(), OTHER), settings=SimulatorSettings(pending_seconds=60))
    here = Bcda(settings_for(server))

    async def start(settings):
        async with BcdaClient(settings) as client:
            return await client.kick_off(ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",)))

    asyncio.run(start(settings_for(server)))
    asyncio.run(start(settings_for(server, client_id=OTHER.client_id, client_secret=OTHER.client_secret)))
    with httpx.Client(base_url=server.base_url, trust_env=False) as http:
        theirs = http.get("/api/v2/metadata").json()
        assert {**here.metadata(), "date": ""} == {**theirs, "date": ""}
        assert here.health() == http.get("/_health").json()
        assert here.version() == http.get("/_version").json()["version"]
    assert here.attribution().current_at.day == 5
    assert [job.job_id for job in here.jobs()] == ["1"]
    assert [job.job_id for job in here.jobs(["pending"])] == ["1"]
    assert here.jobs(["In Progress", "in-progress", "Completed"]) == []
    assert here.job("1").state is JobState.PENDING
    assert here.cancel("1") is True
    assert here.cancel("1") is False
    assert here.job("1").state is JobState.CANCELLED


@pytest.mark.parametrize("name", ["job", "cancel", "download"])
def test_a_job_that_is_not_ours_is_explained(serve, settings_for, tmp_path, name):
    server = serve(BOTH, entities=(Entity(), OTHER))
    other = settings_for(server, client_id=OTHER.client_id, client_secret=OTHER.client_secret)
    run_export(tmp_path / "theirs", other, resource_types=("Patient",), land=False)
    here = Bcda(settings_for(server))
    more = (tmp_path / "ours",) if name == "download" else ()
    ask = getattr(here, name)
    with pytest.raises(InvalidRequestError, match="is not a job number"):
        ask("../1", *more)
    with pytest.raises(BcdaError, match=r"(does not have|has no) job 999"):
        ask("999", *more)
    with pytest.raises(InvalidRequestError, match="Job 1 belongs to another organization"):
        ask("1", *(folder / "b" for folder in more))
    wrong = Bcda(settings_for(server, client_secret="not-the-secret"))
    with pytest.raises(CredentialsError, match="token endpoint"):
        getattr(wrong, name)("1", *(folder / "c" for folder in more))


def test_a_status_that_bcda_does_not_know_is_refused_here(serve, settings_for):
    server = serve()
    with pytest.raises(
        InvalidRequestError, match=r"'Done' is not a job status\. Choose from Pending, In Progress, Completed"
    ):
        Bcda(settings_for(server)).jobs(["Done"])
    assert server.requests == []


def test_the_package_says_what_is_public_and_imports_it_late():
    text = "import sys, bcda; print(sorted(m for m in sys.modules if m in {'duckdb', 'pyarrow', 'httpx', 'typer'}))"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert {name: getattr(bcda, name).__name__ for name in bcda.__all__} == {name: name for name in bcda.__all__}
    with pytest.raises(AttributeError, match="nothing"):
        _ = bcda.nothing


def test_wrong_credentials_leave_a_folder_that_the_right_ones_go_on_with(serve, settings_for, tmp_path):
    server = serve()
    with pytest.raises(ActionNeededError):
        run_export(tmp_path, settings_for(server, client_secret="not-the-secret"), resource_types=("Patient",))
    assert "secret" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert run_export(tmp_path, settings_for(server), resource_types=("Patient",), land=False).lines["Patient"]


def test_a_job_that_was_complete_and_is_running_again_is_waited_for(serve, settings_for, tmp_path):
    back = Fault(FaultKind.BACK_TO_RUNNING, "status", skip=1, times=1)
    server, told = serve(faults=[back]), []
    result = run_export(tmp_path, settings_for(server), resource_types=("Patient",), on_progress=told.append)
    assert (result.job_id, result.lines["Patient"], back.struck) == ("1", 5, 1)
    assert any("running again" in text for text in told)
    assert server.jobs() == {1: "Completed"}


def test_a_job_that_somebody_else_started_in_another_way_can_be_downloaded(serve, settings_for, tmp_path):
    server = serve()
    by_plain_http(server, "Patient/$export?_outputFormat=ndjson")
    assert download_job("1", tmp_path, settings_for(server), land=False).lines["Patient"] == 5
