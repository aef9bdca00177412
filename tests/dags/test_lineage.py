"""What OpenLineage gets: the events that a real HTTP server received from a real run of the DAG."""

import json
import threading
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bcda_simulator.world import World


@pytest.fixture
def events(monkeypatch, airflow_database):
    """Events that arrive at an OpenLineage server while the listener of the provider is switched on."""
    got = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    transport = {"type": "http", "url": f"http://127.0.0.1:{server.server_port}"}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    # Forks of a test process that has threads would be another thing than those of a task's own process.
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    from airflow.providers.openlineage.plugins.listener import OpenLineageListener
    from airflow.sdk.listener import get_listener_manager

    listener = OpenLineageListener()
    get_listener_manager().add_listener(listener)
    yield got
    get_listener_manager().pm.unregister(listener)
    server.shutdown()
    thread.join()
    server.server_close()


def done(events, task_id):
    """Return the datasets of the completed tries of a task: inputs and outputs, each by namespace and name."""
    of_task = [e for e in events if e["job"]["name"].endswith(f".{task_id}") and e["eventType"] == "COMPLETE"]
    assert of_task, Counter((e["job"]["name"], e["eventType"]) for e in events)
    return [
        {(d["namespace"], d["name"]): d for event in of_task for d in event[side]} for side in ("inputs", "outputs")
    ]


def rows_written(events, task_id):
    told = Counter()
    for event in events:
        if event["job"]["name"].endswith(f".{task_id}") and event["eventType"] == "COMPLETE":
            for dataset in event["outputs"]:
                statistics = dataset.get("outputFacets", {}).get("outputStatistics", {})
                told[dataset["name"].rpartition("/")[2]] += statistics.get("rowCount") or 0
    return told


@pytest.mark.complete
def test_a_run_tells_where_claims_came_from_and_went_to_with_columns_and_counts(
    serve, connect, run_dag, ask, places, events
):
    from bcda import model

    server = serve(World(people=15, seed=5, history_weeks=120))
    connect(server)
    state, tasks = run_dag("bcda_weekly_export", batches=1)
    assert state == "success", tasks

    endpoints, raw = done(events, "fetch")
    assert set(endpoints) == {
        ("loopback", f"v2/Patient/$export/{name}") for name in ("Patient", "Coverage", "ExplanationOfBenefit")
    }
    assert list(raw) == [("file", str(places.raw))]
    for dataset in endpoints.values():
        assert dataset["inputFacets"]["inputStatistics"]["fileCount"] > 0
        assert "rowCount" not in dataset["inputFacets"]["inputStatistics"]

    read, lake = done(events, "land")
    assert list(read) == list(raw)
    landed = {name: dataset for (_, name), dataset in lake.items()}
    claims = landed[str(places.lake / "claim")]
    assert claims["outputFacets"]["outputStatistics"]["rowCount"] == ask("SELECT count(*) FROM claim")[0][0]
    assert claims["outputFacets"]["outputStatistics"]["size"] == sum(
        path.stat().st_size for path in (places.lake / "claim").rglob("*.parquet")
    )
    fields = {field["name"]: field for field in claims["facets"]["schema"]["fields"]}
    assert fields["paid_amount"]["type"] == "DECIMAL(18,2)"
    assert fields["paid_amount"]["description"].startswith("Medicare payment, USD")
    assert "is_current" not in fields

    _, working = done(events, "merge")
    from_working, published = done(events, "publish")
    assert set(working) <= set(from_working)
    assert {name for _, name in published} == {
        f"main.{name}" if "." not in name else name for name in map(model.relation, model.all_tables())
    }
    few = any(0 < ask(f"SELECT count(*) FROM {name}")[0][0] < 11 for _, name in published)
    for (namespace, name), dataset in published.items():
        assert namespace == f"duckdb://{places.published}"
        (rows,) = ask(f"SELECT count(*) FROM {name}")[0]
        told = dataset["outputFacets"]["outputStatistics"].get("rowCount")
        is_few = 0 < rows < 11
        assert told == (None if is_few or (few and name == "main.resource_version") else rows), name
        columns = ask(
            "SELECT column_name, data_type, comment FROM duckdb_columns() "
            f"WHERE schema_name || '.' || table_name = '{name}' ORDER BY column_index"
        )
        assert [(f["name"], f["type"], f["description"]) for f in dataset["facets"]["schema"]["fields"]] == columns

    text = json.dumps(events)
    people = ask("SELECT DISTINCT id_value FROM patient_identifier UNION SELECT patient_id FROM patient")
    secrets = [server.entity.client_secret, "_type=", "eyJ"]
    assert [one for one in [*(row[0] for row in people), *secrets] if one in text] == []
    runs = {name for event in events for side in ("inputs", "outputs") for d in event[side] for name in [d["name"]]}
    assert not any(run_id in name for (run_id,) in ask("SELECT run_id FROM ops.export_run") for name in runs)


def test_few_rows_are_not_told_nor_a_total_that_gives_them_away(places):
    from bcda_provider import lineage

    def told(**rows):
        datasets = lineage.published(places, rows).outputs
        return {d.name: d.outputFacets["outputStatistics"].rowCount for d in datasets if d.outputFacets}

    rows = {"patient": 10, "claim": 11, "coverage": 0, "resource_version": 21}
    assert told(**rows) == {
        "main.patient": None,
        "main.claim": 11,
        "main.coverage": 0,
        "main.resource_version": None,
    }
    assert told(**{**rows, "patient": 11})["main.resource_version"] == 21


def test_places_in_a_bucket_are_named_by_it(places):
    from bcda.storage.store_address import StoreAddress
    from bcda_provider import lineage

    shared = replace(places, store=StoreAddress("claims", "aco"))
    assert [(raw.namespace, raw.name) for raw in lineage.landing(shared).inputs] == [("s3://claims", "aco/raw")]
