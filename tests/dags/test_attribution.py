"""Attribution lists: the daily look, the export of a new list, January; and the runout pull."""

from datetime import UTC, datetime

import pytest

from bcda_simulator import Entity, Fault, FaultKind
from bcda_simulator.world import World

CHECK, EXPORT, WEEKLY, RUNOUT = (
    "bcda_attribution_check",
    "bcda_attribution_export",
    "bcda_weekly_export",
    "bcda_runout_export",
)


@pytest.fixture
def world():
    """A world in which people join and leave within a few months."""
    return World(people=30, seed=4, history_weeks=400)


@pytest.fixture
def at(serve, world, connect):
    """Serve the world from an instant on."""

    def start(text, **options):
        server = serve(world, start=datetime.fromisoformat(text).replace(tzinfo=UTC), **options)
        connect(server, extra={"list_wait_seconds": 0.2, "failed_grace_seconds": 0.3})
        return server

    return start


def listed(world, server, kind="all"):
    return world.attribution_lists("A9999", kind, server.clock.now())[-1].people


def claims(ask, people):
    ids = ", ".join(f"'-2000000{int(person):07d}'" for person in people) or "''"
    return ask(f"SELECT count(*) FROM claim WHERE patient_id IN ({ids})")[0][0]


def kick_offs(server):
    return [entry.target for entry in server.requests if entry.endpoint == "kick-off" and entry.status == 202]


def go_to(server, text):
    server.clock.set(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.complete
def test_a_new_list_brings_the_history_of_who_is_new_and_tells_who_joined_and_left(
    at, run_dag, world, ask, logged, places
):
    server = at("2026-03-01T12:00:00")
    assert run_dag(CHECK)[1] == {"check_list[-1]": "skipped"}
    assert "Nothing is loaded yet" in logged()
    assert run_dag(EXPORT)[1]["history.plan[-1]"] == "skipped"
    assert run_dag(WEEKLY)[0] == "success"
    before = set(listed(world, server))
    assert run_dag(CHECK)[1] == {"check_list[-1]": "skipped"}
    assert "is loaded, with the history of everyone on it" in logged()

    go_to(server, "2026-10-06T12:00:00")
    after = set(listed(world, server))
    joined, left = after - before, before - after
    assert joined
    assert left
    assert claims(ask, joined) == 0
    assert run_dag(CHECK) == ("success", {"check_list[-1]": "success"})
    asked = len(kick_offs(server))
    state, tasks = run_dag(EXPORT)
    assert state == "success", tasks
    roster, history = kick_offs(server)[asked:]
    assert roster.endswith("/Group/all/$export?_type=Patient")
    assert history.endswith("/Group/all/$export?_type=Coverage,ExplanationOfBenefit&_since=2026-02-12T15:31:27Z")

    expected = world.expected(server.clock.now(), people=tuple(after))
    assert claims(ask, joined) == sum(world.expected(server.clock.now(), people=tuple(joined)).claims.values())
    assert claims(ask, after) == sum(expected.claims.values())
    # A report of each of the two runs; the first says who joined and left.
    runs = [row[0] for row in ask("SELECT run_id FROM ops.export_run ORDER BY finished_at DESC LIMIT 2")]
    told = [(places.reports / f"{run_id}.txt").read_text() for run_id in runs]
    assert [" joined, " in text for text in told] == [False, True]
    changes = dict(ask("SELECT change, count(*) FROM roster_change GROUP BY ALL"))
    assert (changes["joined"], changes["left"]) == (len(joined), len(left))
    assert changes["stayed"] + changes.get("MBI changed", 0) == len(before & after)
    months = ask("SELECT month_start::VARCHAR, count(*) FROM enrollment GROUP BY ALL ORDER BY ALL")
    assert months == [("2026-02-01", len(before)), ("2026-10-01", len(after))]
    status = ask("SELECT resource_type, missing, list_loaded::DATE::VARCHAR FROM ops.data_status ORDER BY ALL")
    assert status == [(kind, "", "2026-10-05") for kind in ("Coverage", "ExplanationOfBenefit", "Patient")]

    # Announced again after a crash, or asked for by the monthly safety run: nothing is fetched twice.
    assert run_dag(CHECK)[1] == {"check_list[-1]": "skipped"}
    state, tasks = run_dag(EXPORT)
    assert {tasks["roster.plan[-1]"], tasks["history.plan[-1]"], tasks["publish[-1]"]} == {"skipped"}
    assert len(kick_offs(server)) == asked + 2


@pytest.mark.complete
def test_a_list_whose_history_failed_is_announced_again_and_taken_from_the_same_instant(at, run_dag, world, ask):
    server = at("2026-03-01T12:00:00")
    assert run_dag(WEEKLY)[0] == "success"
    go_to(server, "2026-10-06T12:00:00")
    server.faults.add(Fault(FaultKind.JOB_FAILS, "kick-off", match="_since"))
    assert run_dag(EXPORT)[1]["roster.merge[-1]"] == "success"
    assert ask("SELECT count(*) FROM roster_change") == [(0,)]
    server.faults.clear()
    assert run_dag(CHECK)[0] == "success"
    state, tasks = run_dag(EXPORT)
    assert (state, tasks["roster.plan[-1]"]) == ("success", "skipped")
    assert "_since=2026-02-12T15:31:27Z" in kick_offs(server)[-1]
    people = listed(world, server)
    assert claims(ask, people) == sum(world.expected(server.clock.now(), people=people).claims.values())


@pytest.mark.complete
def test_without_a_list_from_before_everything_is_asked_for(at, run_dag, logged, ask):
    server = at("2026-03-01T12:00:00")
    assert run_dag(WEEKLY)[0] == "success"
    go_to(server, "2026-10-06T12:00:00")
    server.faults.add(Fault(FaultKind.NO_OLDER_LIST, "kick-off"))
    assert run_dag(EXPORT)[0] == "success"
    assert "asking for everything instead" in logged()
    assert "_since" not in kick_offs(server)[-1]
    assert (
        "BCDA has no list from before that"
        in ask("SELECT reason FROM ops.export_run ORDER BY run_id DESC LIMIT 1")[0][0]
    )


@pytest.mark.complete
def test_in_january_the_check_says_why_nothing_comes_and_runout_works(at, run_dag, logged, world, ask):
    server = at("2025-12-20T12:00:00")
    assert run_dag(WEEKLY)[0] == "success"
    go_to(server, "2026-01-20T12:00:00")
    assert run_dag(CHECK)[1] == {"check_list[-1]": "skipped"}
    assert "The first list of 2026 has not come; until then only bcda_runout_export" in logged()
    state, tasks = run_dag(RUNOUT)
    assert state == "success", tasks
    assert "Claims end with services of 2025" in logged()
    server.clock.advance(7 * 86_400)
    assert run_dag(RUNOUT)[0] == "success"
    first, second = kick_offs(server)[-2:]
    assert "_since" not in first
    assert "_since=" in second
    scopes = dict(ask("SELECT population, max(people_on_list) FROM ops.data_status GROUP BY ALL"))
    assert scopes == {"current": scopes["current"], "runout": len(listed(world, server, "runout"))}
    # The weekly watermark has not moved.
    assert ask("SELECT max(covered_until) < '2026-01-01' FROM ops.data_status WHERE population = 'current'") == [
        (True,)
    ]


@pytest.mark.complete
def test_a_renewed_runout_list_is_taken_in_full(at, run_dag):
    server = at("2026-03-01T12:00:00")
    assert run_dag(RUNOUT)[0] == "success"
    go_to(server, "2026-03-15T12:00:00")
    assert run_dag(RUNOUT)[0] == "success"
    assert ["_since" in target for target in kick_offs(server)] == [False, False]


@pytest.mark.complete
@pytest.mark.parametrize(
    ("when", "said"),
    [("2026-07-01T12:00:00", None), ("2027-01-08T12:00:00", "Runout data is gone: its last list is of 2026-07-10")],
)
def test_runout_is_refused_early_when_it_is_gone(at, run_dag, logged, when, said):
    server = at(when)
    state, tasks = run_dag(RUNOUT)
    assert state == ("failed" if said else "success")
    if said:
        assert tasks["plan[-1]"] == "failed"
        assert said in logged()
        assert [entry for entry in server.requests if entry.endpoint == "kick-off"] == []


@pytest.mark.complete
def test_two_organizations_never_see_each_others_rows_files_or_tokens(
    serve, connect, monkeypatch, airflow_database, places, ask
):
    from airflow.dag_processing.dagbag import DagBag

    entities = (Entity(), Entity("A1111", "second-client", "second-secret"))
    world = World(people=20, seed=5, cms_ids=("A9999", "A1111"), history_weeks=30)
    server = serve(world, entities=entities, start=datetime(2026, 10, 20, tzinfo=UTC))
    monkeypatch.setenv("BCDA_SOURCES", "bcda_default,second_aco")
    connect(server)
    connect(server, conn_id="second_aco", login="second-client", password="second-secret")
    dags = DagBag().dags
    for name in ("bcda_weekly_export", "bcda_weekly_export__second_aco"):
        for task in dags[name].tasks:
            task.retries = 0
        assert str(dags[name].test().state) == "success"
    other = places.of_source("second_aco")
    for source, own in (("bcda_default", places), ("second_aco", other)):
        cms_id = "A9999" if own is places else "A1111"
        people = {
            f"-2000000{int(p):07d}" for p in world.attribution_lists(cms_id, "all", server.clock.now())[-1].people
        }
        assert {row[0] for row in ask("SELECT patient_id FROM patient", own)} == people
        assert ask("SELECT DISTINCT source_id FROM ops.export_run", own) == [(source,)]
    assert not {path.name for path in places.raw.iterdir()} & {path.name for path in other.raw.iterdir()}
    assert all("sources" in str(path) for path in (other.raw, other.lake, other.warehouse, other.published))
    # Each job was made, polled and fetched with the credentials of its own organization alone.
    assert {entry.status for entry in server.requests} <= {200, 202, 404}
    by_client = {entry.client: set() for entry in server.requests if entry.client}
    for entry in server.requests:
        if entry.client and entry.endpoint in {"status", "data"}:
            by_client[entry.client].add(
                server.job(int(entry.target.split("/")[-1 if entry.endpoint == "status" else 2])).entity.client_id
            )
    assert by_client == {"simulated-client": {"simulated-client"}, "second-client": {"second-client"}}


@pytest.mark.complete
def test_a_connection_that_moves_to_another_server_is_refused(serve, connect, run_dag, places, monkeypatch, logged):
    connect(serve())
    assert run_dag(WEEKLY, resource_types=["Patient"])[0] == "success"
    # Two simulators on this machine count as one server; let the second be somewhere else.
    monkeypatch.setattr("bcda_provider.operators.plan.server_of", lambda base_url: "https://api.bcda.cms.gov")
    state, tasks = run_dag(WEEKLY, resource_types=["Patient"])
    assert (state, tasks["plan[-1]"]) == ("failed", "failed")
    assert "Data of two sources is never mixed" in logged()
