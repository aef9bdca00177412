import json
import shutil
from collections import Counter
from functools import partial

import duckdb
import pytest

from bcda_simulator import Fault, FaultKind, FolderSource, SimulatorSettings
from bcda_simulator.world import World

WEEK = 7 * 86_400


@pytest.fixture
def weekly(run_dag):
    """Run the weekly DAG."""
    return partial(run_dag, "bcda_weekly_export")


def query(places, sql):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def with_everybody(samples, folder):
    """Copy the samples and add a Patient for each claim whose person is not among them: they are a cut of a larger set."""
    shutil.copytree(samples, folder)
    known, named = set(), set()
    for path in folder.glob("*.ndjson"):
        for text in path.read_text().splitlines():
            resource = json.loads(text)
            if resource["resourceType"] == "Patient":
                known.add(resource["id"])
            if resource["resourceType"] == "ExplanationOfBenefit":
                named.add(resource["patient"]["reference"].removeprefix("Patient/"))
    people = [{"resourceType": "Patient", "id": i, "birthDate": "1940-01-01"} for i in sorted(named - known)]
    (folder / "Patient.missing.ndjson").write_text("".join(json.dumps(person) + "\n" for person in people))
    return folder


@pytest.mark.samples
def test_claims_of_unknown_people_are_published_and_suspect(serve, connect, weekly, places, samples):
    connect(serve(FolderSource({"v2": samples / "v2" / "ndjson"})))
    state, tasks = weekly(resource_types=["Patient", "Coverage", "ExplanationOfBenefit"])
    assert (state, tasks["merge[-1]"], tasks["publish[-1]"]) == ("success", "success", "success")
    with duckdb.connect(str(places.published), read_only=True) as connection:
        claims, suspects = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE is_suspect) FROM claim_current"
        ).fetchall()[0]
        listed = connection.execute(
            "SELECT count(*) FROM ops.suspect_claim WHERE check_id = 'orphan_patient'"
        ).fetchall()
    assert claims >= suspects > 0 < listed[0][0]


@pytest.mark.samples
def test_real_samples_arrive_with_every_claim_line_and_diagnosis(serve, connect, weekly, places, samples, tmp_path):
    folder = with_everybody(samples / "v2" / "ndjson", tmp_path / "everyone")
    connect(serve(FolderSource({"v2": folder})))
    state, tasks = weekly(resource_types=["Patient", "Coverage", "ExplanationOfBenefit", "Claim", "ClaimResponse"])
    assert state == "success", tasks

    lines, newest = Counter(), {}
    for path in folder.glob("*.ndjson"):
        kind = path.name.partition(".")[0]
        for text in path.read_text().splitlines():
            resource = json.loads(text)
            lines[kind] += 1
            newest[kind, resource["id"]] = resource
    claims = [resource for (kind, _), resource in newest.items() if kind == "ExplanationOfBenefit"]

    assert {row[0] for row in query(places, "SELECT claim_id FROM claim")} == {claim["id"] for claim in claims}
    assert Counter(query(places, "SELECT claim_id, line_number FROM claim_line")) == Counter(
        (claim["id"], item["sequence"]) for claim in claims for item in claim["item"]
    )
    assert Counter(query(places, "SELECT claim_id, sequence, dx_code FROM claim_diagnosis")) == Counter(
        (claim["id"], dx["sequence"], dx["diagnosisCodeableConcept"]["coding"][0]["code"].replace(".", ""))
        for claim in claims
        for dx in claim.get("diagnosis", [])
    )
    assert {row[0] for row in query(places, "SELECT patient_id FROM patient")} == {
        i for k, i in newest if k == "Patient"
    }
    assert {row[0] for row in query(places, "SELECT coverage_id FROM coverage")} == {
        i for k, i in newest if k == "Coverage"
    }
    assert dict(query(places, "SELECT resource_type, sum(lines_read)::INT FROM ops.export_file GROUP BY ALL")) == dict(
        lines
    )
    assert query(places, "SELECT sum(lines_quarantined), sum(lines_read - rows_landed) FROM ops.export_file") == [
        (0, 0)
    ]
    assert query(places, "SELECT count(*) FROM resource_version WHERE is_latest") == [(len(newest),)]


def test_a_full_export_then_an_incremental_one_hold_the_world_as_it_is(serve, connect, weekly, places):
    world = World(people=10, seed=21, history_weeks=400)
    server = serve(world)
    connect(server)
    assert weekly()[0] == "success"
    server.clock.advance(WEEK)
    state, tasks = weekly()
    assert state == "success", tasks

    now = server.clock.now()
    people = world.attribution_lists("A9999", "all", now)[-1].people
    expected = world.expected(now, people=people)
    assert dict(query(places, "SELECT claim_type, count(*) FROM claim GROUP BY ALL")) == dict(expected.claims)
    assert dict(query(places, "SELECT claim_type, count(*) FROM claim_current GROUP BY ALL")) == dict(expected.active)
    paid = query(
        places, "SELECT claim_type, sum(paid_amount) FROM claim_current WHERE claim_type <> 'PDE' GROUP BY ALL"
    )
    assert dict(paid) == expected.paid
    assert query(places, "SELECT count(*) FROM claim_line") == [(expected.lines,)]

    (first, second) = query(
        places, "SELECT since_ts, transaction_time, is_full FROM ops.export_run ORDER BY finished_at"
    )
    assert (first[0], first[2], second[2]) == (None, True, False)
    assert second[0] == first[1]
    kick_offs = [entry.target for entry in server.requests if entry.endpoint == "kick-off"]
    assert "_since" not in kick_offs[0]
    assert "_since=" in kick_offs[1]


@pytest.mark.complete
def test_an_export_without_changes_is_recorded(serve, connect, weekly, places):
    server = serve()
    connect(server)
    assert weekly()[0] == "success"
    state, tasks = weekly()
    assert state == "success", tasks
    assert not any(name.startswith("batch.") and status == "success" for name, status in tasks.items())
    assert query(places, "SELECT output_files FROM ops.export_run ORDER BY finished_at")[1] == (0,)


@pytest.mark.complete
def test_broken_lines_are_set_aside_and_the_rest_arrives(serve, connect, weekly, places, tmp_path):
    folder = tmp_path / "v2"
    folder.mkdir()
    good = json.dumps({"resourceType": "Patient", "id": "-1"})
    (folder / "Patient.ndjson").write_text(
        f'{good}\n{{"id":"x"\n{{"resourceType":"Coverage","id":"a"}}\n{{"resourceType":"Patient"}}\n'
    )
    connect(serve(FolderSource({"v2": folder})))
    assert weekly(resource_types=["Patient"])[0] == "success"
    assert Counter(query(places, "SELECT reason FROM ops.quarantine")) == Counter(
        [("no id",), ("not JSON",), ("wrong resource type",)]
    )
    assert query(places, "SELECT patient_id FROM patient") == [("-1",)]


@pytest.mark.parametrize(
    ("faults", "changes", "said", "failed"),
    [
        ([], {"password": "wrong-secret"}, "Check client id (login) and client secret", "kick_off[-1]"),
        pytest.param(
            [Fault(FaultKind.STUCK, "kick-off")],
            {"extra": {"job_deadline_seconds": 1}},
            "at its deadline",
            "wait_for_job[-1]",
            marks=pytest.mark.complete,
        ),
        (
            [Fault(FaultKind.JOB_FAILS, "kick-off")],
            # A slow machine sees it only when it has failed, and then waits for it to heal.
            {"extra": {"failed_grace_seconds": 0.5}},
            "Service encountered numerous errors",
            "wait_for_job[-1]",
        ),
        ([Fault(FaultKind.CORRUPT, "data", match="data/1/")], {}, "damaged at BCDA", "batch.fetch[0]"),
        pytest.param(
            [Fault(FaultKind.DELAY, "metadata", seconds=3)],
            {"extra": {"request_timeout_seconds": 0.5}},
            "does not answer as BCDA v2 does",
            "plan[-1]",
            marks=pytest.mark.complete,
        ),
    ],
    ids=["wrong-credentials", "stuck-job", "failed-job", "corrupt-file", "silent-metadata"],
)
def test_a_failure_says_what_and_leaves_no_trace(
    serve, connect, weekly, places, capfd, caplog, faults, changes, said, failed
):
    server = serve(faults=faults)
    connect(server, **changes)
    state, tasks = weekly()
    assert state == "failed"
    assert tasks[failed] == "failed", tasks
    output = "".join(capfd.readouterr()) + caplog.text
    assert said in output
    assert "wrong-secret" not in output
    assert not places.published.exists()
    assert not places.warehouse.exists() or query_rows(places.warehouse) == 0
    # Nothing is left to run at BCDA.
    assert set(server.jobs().values()) <= {"Cancelled", "Failed", "Completed"}


def query_rows(warehouse):
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return connection.execute("SELECT count(*) FROM resource_version").fetchall()[0][0]


@pytest.mark.complete
def test_a_job_that_stays_pending_is_replaced_and_nobody_has_to_act(serve, connect, weekly, logged, places, ask):
    server = serve(faults=[Fault(FaultKind.STUCK_PENDING, "kick-off", times=1)])
    connect(server, extra={"pending_restart_seconds": 0.4})
    state, tasks = weekly(resource_types=["Patient"])
    assert state == "success", tasks
    assert server.jobs() == {1: "Cancelled", 2: "Completed"}
    assert ask("SELECT job_id FROM ops.export_run") == [("2",)]
    assert "Job 1 stayed Pending for 0.00667 minutes and was canceled. Job 2 takes its place." in logged()
    (wait,) = places.raw.glob("*/waiting.json")
    assert "Job 1 stayed Pending and was canceled. Job 2 takes its place." in wait.read_text()


@pytest.mark.complete
def test_a_preparation_that_fails_and_heals_is_waited_out(serve, connect, weekly):
    text = "Service encountered numerous errors. Job failed to complete."
    connect(serve(faults=[Fault(FaultKind.ANSWER, "status", status=500, text=text, times=3)]))
    assert weekly(resource_types=["Patient"])[0] == "success"


@pytest.mark.complete
@pytest.mark.parametrize("retry_after", ["0", "2"])
def test_a_busy_bcda_is_waited_out_without_a_second_job(serve, connect, weekly, retry_after):
    busy = Fault(FaultKind.ANSWER, "kick-off", status=429, retry_after=retry_after, body="none", times=2)
    server = serve(faults=[busy])
    connect(server)
    assert weekly(resource_types=["Patient"])[0] == "success"
    assert len(server.jobs()) == 1


@pytest.mark.complete
def test_a_phantom_job_after_a_500_is_cancelled_and_another_is_started(serve, connect, weekly, capfd, caplog):
    server = serve(faults=[Fault(FaultKind.PHANTOM, "kick-off", times=1)])
    connect(server)
    assert weekly(resource_types=["Patient"])[0] == "failed"
    assert "Job 1, which it left behind, has been canceled" in "".join(capfd.readouterr()) + caplog.text
    state, tasks = weekly(resource_types=["Patient"])
    assert state == "success", tasks
    assert server.jobs() == {1: "Cancelled", 2: "Completed"}


@pytest.mark.complete
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (FaultKind.NO_ATTRIBUTION, "no attribution list of this organization from the last 50 days"),
        (FaultKind.WRONG_YEAR, "Only `bcda_runout_export` works until then"),
    ],
    ids=["no-list", "january"],
)
def test_without_an_attribution_list_the_run_waits_with_a_reason_and_then_goes_on(
    serve, connect, weekly, capfd, caplog, kind, said
):
    connect(serve(faults=[Fault(kind, "kick-off", times=2)]), extra={"list_wait_seconds": 0.2})
    assert weekly(resource_types=["Patient"])[0] == "success"
    output = "".join(capfd.readouterr()) + caplog.text
    assert output.count(said) >= 2
    assert "This run waits, without holding a worker" in output


def test_no_secret_and_no_person_in_the_log(serve, connect, weekly, capfd, caplog, places):
    caplog.set_level("DEBUG")
    server = serve(World(people=4, seed=9), settings=SimulatorSettings(pending_seconds=0.1))
    connect(server)
    assert weekly()[0] == "success"
    output = "".join(capfd.readouterr()) + caplog.text
    assert "landed batch" in output
    mbis = [row[0] for row in query(places, "SELECT id_value FROM patient_identifier WHERE id_kind = 'MBI'")]
    names = [row[0] for row in query(places, "SELECT last_name FROM patient")]
    assert mbis
    for private in [*mbis, *names, server.entity.client_secret, "eyJ"]:
        assert private not in output
