"""v3 beside v2: the baseline, the comparison, the switch; and what a filter does to the ledger."""

from datetime import UTC, datetime

import pytest

from bcda import export
from bcda.settings import ApiVersion
from bcda_simulator import Entity, SimulatorSettings
from bcda_simulator.world import World

WEEKLY = "bcda_weekly_export"
START = datetime(2026, 10, 20, 12, tzinfo=UTC)


@pytest.fixture
def server(serve, connect):
    server = serve(World(people=20, seed=3, history_weeks=400), start=START)
    connect(server)
    return server


def kick_offs(server):
    return [entry.target for entry in server.requests if entry.endpoint == "kick-off" and entry.status == 202]


@pytest.mark.complete
def test_the_way_from_v2_to_v3(server, run_dag, ask, places):
    assert run_dag(WEEKLY)[0] == "success"
    state, tasks = run_dag(WEEKLY, api_version="v3", full=True)
    assert state == "success", tasks
    target = kick_offs(server)[-1]
    assert target.startswith("/api/v3/Patient/$export?_type=Patient,Coverage,ExplanationOfBenefit&_typeFilter=")
    assert all(system in target for system in ("NationalClaimsHistory", "DDPS", "SharedSystem"))

    # Beside each other, compared, and the views still show v2.
    assert ask(
        "SELECT count(*) > 20, sum(v2_claims) > 100, sum(abs(claims_differ)), sum(abs(paid_differs)) FROM version_comparison"
    ) == [(True, True, 0, 0)]
    assert ask("SELECT DISTINCT api_version FROM claim_current") == [("v2",)]
    assert ask("SELECT count(*) > 0 FROM claim WHERE source_system = 'SHARED'") == [(True,)]
    paid = ask(
        "SELECT claim_type, sum(paid_amount) FROM claim_current WHERE claim_type <> 'PDE' GROUP BY ALL ORDER BY ALL"
    )

    export.publish(places, shown_version=ApiVersion.V3)
    assert ask("SELECT DISTINCT api_version FROM claim_current") == [("v3",)]
    switched = ask(
        "SELECT claim_type, sum(paid_amount) FROM claim_current WHERE claim_type <> 'PDE' GROUP BY ALL ORDER BY ALL"
    )
    assert switched == paid

    # Each version has its own watermark; v3 goes back some days.
    server.clock.advance(7 * 86_400)
    assert run_dag(WEEKLY, api_version="v3")[0] == "success"
    assert "_since=2026-10-16T" in kick_offs(server)[-1]


@pytest.mark.complete
def test_a_filter_brings_a_part_and_does_not_count_as_covering_claims(server, run_dag, ask, logged, places):
    conf = {
        "api_version": "v3",
        "systems": ["NationalClaimsHistory"],
        "service_from": "2026-01-01",
        "service_through": "2026-03-31",
    }
    state, tasks = run_dag(WEEKLY, **conf)
    assert state == "success", tasks
    assert "does not count as covered" in logged()
    assert ask("SELECT count(*) > 0, count(*) FILTER (WHERE claim_type = 'PDE') FROM claim") == [(True, 0)]
    assert ask("SELECT min(service_thru) >= '2026-01-01', max(service_from) <= '2026-03-31' FROM claim") == [
        (True, True)
    ]
    covered = ask("SELECT resource_type, covered_until IS NOT NULL FROM ops.data_status ORDER BY ALL")
    assert covered == [("Coverage", True), ("ExplanationOfBenefit", False), ("Patient", True)]
    # The next run therefore asks for all claims from the beginning.
    assert run_dag(WEEKLY, api_version="v3")[0] == "success"
    assert "_since" not in kick_offs(server)[-1]
    assert ask("SELECT count(*) > 0 FROM claim WHERE claim_type = 'PDE'") == [(True,)]
    # Every run of v3 has a filter; only the first one left claims out.
    texts = [path.read_text() for path in sorted(places.reports.glob("*.txt"))]
    assert ["left claims out by its filter" in text for text in texts] == [True, False]


def test_a_filter_on_v2_is_refused_before_anything_is_asked(server, run_dag, logged):
    state, tasks = run_dag(WEEKLY, service_from="2026-01-01")
    assert (state, tasks["plan[-1]"]) == ("failed", "failed")
    assert "API v2 ignores type filters" in logged()
    assert kick_offs(server) == []


@pytest.mark.complete
def test_an_entity_without_shared_systems_says_so_on_the_connection(serve, connect, run_dag):
    server = serve(
        World(people=4, seed=3, cms_ids=("GUIDE-0001",)), entities=(Entity("GUIDE-0001"),), settings=SimulatorSettings()
    )
    connect(server, extra={"api_version": "v3", "shared_system": "false"})
    assert run_dag(WEEKLY)[0] == "success"
    (target,) = kick_offs(server)
    assert "SharedSystem" not in target
    assert "NationalClaimsHistory" in target
