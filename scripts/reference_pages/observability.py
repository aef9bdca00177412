"""The metrics, from the provider's own list."""

from bcda_provider.metrics import METRICS
from reference_pages.markdown import code, plain, table


def page() -> str:
    """Return the page of all metrics."""
    rows = [
        [code(metric.name), str(metric.kind), metric.unit, ", ".join(map(code, metric.tags)), plain(metric.description)]
        for metric in METRICS
    ]
    head = ("metric", "kind", "unit", "tags", "what it tells")
    return (
        "# Metrics\n\nSent through Airflow's own metrics, to StatsD or OpenTelemetry, when they are switched on there. They hold counts "
        f"and durations, never anything about a person.\n\n{table(head, rows)}\n"
    )
