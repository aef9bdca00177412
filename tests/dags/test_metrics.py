"""What a monitoring system gets: real UDP packets of a real run of the DAGs."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from metric_sink import MetricSink

from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.settings import ApiVersion
from bcda_simulator import Fault, FaultKind
from bcda_simulator.world import World

KINDS = {"counter": "c", "gauge": "g", "timer": "ms"}


@pytest.fixture
def sink(monkeypatch, airflow_database):
    """A StatsD server that this process's metrics go to."""
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import stats_utils

    def start():
        names = conf.getboolean("metrics", "legacy_names_on")
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=names)

    with MetricSink() as sink, monkeypatch.context() as settings:
        for name, value in sink.environment.items():
            settings.setenv(name, value)
        start()
        yield sink
    start()


def total(sent, metric):
    return sum(int(entry.value) for entry in sent if entry.name == metric.name)


@pytest.mark.complete
def test_a_run_emits_every_metric_and_no_other_with_the_numbers_of_the_ledger(
    serve, connect, run_dag, ask, sink, places
):
    from bcda_provider import metrics

    server = serve(
        World(people=12, seed=5, history_weeks=60),
        faults=[
            Fault(FaultKind.ANSWER, "kick-off", status=429, retry_after="0", body="none", times=1),
            Fault(FaultKind.NO_ATTRIBUTION, "kick-off", times=1),
            Fault(FaultKind.ANSWER, "status", status=503, times=1),
            Fault(FaultKind.PEOPLE_FAIL, people=(1,), resource_type="ExplanationOfBenefit"),
        ],
    )
    connect(server, extra={"list_wait_seconds": 0.2, "failed_grace_seconds": 0.3})
    state, tasks = run_dag("bcda_weekly_export")
    assert state == "success", tasks

    sent = sink.sent()
    assert {(entry.name, entry.kind, frozenset(entry.tags)) for entry in sent} == {
        (metric.name, KINDS[metric.kind], frozenset(metric.tags))
        for metric in metrics.METRICS
        if metric is not metrics.RUNS_LATE
    }
    assert {(name, value) for entry in sent for name, value in entry.tags.items()} == {
        ("source", "bcda_default"),
        ("api_version", "v2"),
        ("scope", "patient"),
        *(("resource_type", name) for name in ("Patient", "Coverage", "ExplanationOfBenefit")),
    }

    (counted,) = ask(
        "SELECT count(*), sum(wire_bytes), sum(lines_read), sum(rows_landed), sum(lines_quarantined) FROM ops.export_file"
    )
    emitted = (
        metrics.FILES_FETCHED,
        metrics.BYTES_FETCHED,
        metrics.LINES_READ,
        metrics.LINES_LANDED,
        metrics.LINES_QUARANTINED,
    )
    assert counted == tuple(total(sent, metric) for metric in emitted)
    assert total(sent, metrics.RUNS_LOADED) == 1
    # The endpoints without a token are asked by the http provider's hook, before the run begins.
    answers = [entry.endpoint for entry in server.requests if entry.endpoint not in {"open", "metadata"}]
    assert total(sent, metrics.REQUESTS) == len(answers)
    assert total(sent, metrics.RATE_LIMITED) == 1
    assert total(sent, metrics.REQUEST_RETRIES) == 1

    values = {(entry.name, entry.tags.get("resource_type")): entry.value for entry in sent if entry.kind == "g"}
    for name, covered_until in ask("SELECT resource_type, covered_until FROM ops.data_status"):
        age = (datetime.now(UTC).replace(tzinfo=None) - covered_until).total_seconds()
        assert age - 60 < values[metrics.FRESHNESS.name, name] <= age
        assert values[metrics.GAPS_OPEN.name, name] == (1 if name == "ExplanationOfBenefit" else 0)
    waited = {entry.name: entry.value for entry in sent if entry.kind == "ms"}
    assert waited[metrics.LIST_WAIT.name] == 200
    assert 0 < waited[metrics.RETRY_WAIT.name] <= 600
    assert 100 <= waited[metrics.JOB_WAIT.name] < 60_000


def test_a_value_without_its_tags_or_of_another_kind_is_refused(airflow_database):
    from bcda_provider import metrics

    with pytest.raises(ValueError, match="has the tags source, dag_id"):
        metrics.emit(metrics.RUNS_LATE, 1, source="bcda_default")
    with pytest.raises(ValueError, match="only timers take times"):
        metrics.emit(metrics.RETRY_WAIT, 1, source="bcda_default")
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names)
    assert set(metrics.METRICS) == {value for value in vars(metrics).values() if isinstance(value, metrics.Metric)}


async def test_a_late_run_is_counted_and_said_with_what_it_may_wait_for(sink, caplog):
    from bcda_provider import late_runs

    context = {"dag_run": {"dag_id": "bcda_weekly_export", "dag_run_id": "scheduled__1"}, "deadline": {}}
    await late_runs.run_is_late("bcda_default", 20.0, context)
    assert "The run scheduled__1 of bcda_weekly_export is not done 20 hours after it was queued." in caplog.text
    while not sink.sent("bcda.runs_late"):
        await asyncio.sleep(0.01)
    january = late_runs.late_text("d", "r", 20, now=datetime(2027, 1, 8, tzinfo=UTC))
    assert "Until the year's first attribution list, about mid February, that is how it should be" in january
    assert "BCDA's files live for a day" in late_runs.late_text("d", "r", 20, now=datetime(2027, 6, 8, tzinfo=UTC))


@pytest.mark.parametrize("hours", ["soon", "0", "-1", "nan", "inf"])
def test_a_malformed_time_is_refused_and_none_means_no_alert(airflow_database, monkeypatch, hours):
    from bcda_provider.late_runs import deadline_of

    monkeypatch.delenv("BCDA_LATE_HOURS", raising=False)
    assert deadline_of("bcda_default") is None
    monkeypatch.setenv("BCDA_LATE_HOURS", "20")
    assert deadline_of("bcda_default").interval == timedelta(hours=20)
    monkeypatch.setenv("BCDA_LATE_HOURS", hours)
    with pytest.raises(ValueError, match="BCDA_LATE_HOURS is"):
        deadline_of("bcda_default")


def in_a_new_process(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout + done.stderr


START = """
import sys
from datetime import timedelta
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from bcda_provider import metrics
def emit_all():
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    for metric in metrics.METRICS:
        value = timedelta(seconds=1) if metric.kind is metrics.Kind.TIMER else 7
        metrics.emit(metric, value, **{tag: tag for tag in metric.tags})
"""


def test_without_the_statsd_package_a_task_goes_on_without_metrics(sink, monkeypatch, logged):
    from bcda_provider import metrics

    # The backend is made with the first value.
    monkeypatch.setitem(sys.modules, "statsd", None)
    metrics.answered("bcda_default", 429)
    assert "Could not configure StatsClient" in logged()
    assert sink.sent() == []


def test_opentelemetry_gets_every_metric_with_its_tags(airflow_database):
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    from bcda_provider import metrics

    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(ExportMetricsServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        in_a_new_process(START + "emit_all()", **here)
        server.shutdown()
    found = {
        metric.name: {
            attribute.key
            for kind in ("sum", "gauge", "exponential_histogram")
            for point in getattr(metric, kind).data_points
            for attribute in point.attributes
        }
        for request in got
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert found == {f"airflow.{metric.name}": set(metric.tags) for metric in metrics.METRICS}


async def test_many_waits_in_one_triggerer_leave_no_socket_and_no_thread(serve, connect, settings_for, sink):
    from bcda_provider.triggers import BcdaJobTrigger

    server = serve()
    connect(server)
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",)))

    async def wait():
        trigger = BcdaJobTrigger(
            bcda_conn_id="bcda_default", api_version="v2", job_id=job_id, deadline_epoch_seconds=time.time() + 60
        )
        [event async for event in trigger.run()]

    def held():
        return sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()

    await wait()
    before, answers = held(), len(sink.sent("bcda.requests"))
    for _ in range(10):
        await wait()
    assert len(sink.sent("bcda.requests")) > answers + 10
    deadline = time.monotonic() + 5
    while held() > before:
        assert time.monotonic() < deadline, (before, held())
        await asyncio.sleep(0.05)
