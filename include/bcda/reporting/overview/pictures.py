"""The page's charts; each is a function from rows of an `Overview` to Vega-Lite, drawn once wide and once narrow."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from bcda.reporting import charts
from bcda.reporting.overview.snapshot import Overview, Rows, incomplete_from

WIDE, NARROW = 860, 330
"""Widths in pixels: a column of a desktop page, and a phone."""

_LABELS = 215
"""Pixels for the longest name of a row, in the widest of the fonts that a system's own may be."""

_MONTH: dict[str, Any] = {
    "type": "temporal",
    "axis": {
        "format": "%b %Y",
        "title": None,
        "tickCount": {"interval": "month", "step": 1},
        "labelOverlap": True,
        "labelFlush": False,
    },
}

_SHORT = {"labelExpr": "format(datum.value, '~s')"}
"""Large numbers as 20k or 1.5M; a format of the axis would give all one unit, and write zero with it."""


CHARTS = ("coverage", "paid", "roster", "lag")
"""Names of all charts."""


def pictures(overview: Overview, now: datetime, names: Sequence[str] = CHARTS) -> dict[str, dict[str, str]]:
    """Return the charts of a page by name, each as `wide` and `narrow`; what has no rows has no chart.

    Args:
        overview: of one source.
        now: present instant, where the time axis of the coverage ends.
        names: charts that the page shows; each takes some 20 ms.
    """
    drawn: dict[str, tuple[bool, str, Callable[[int], dict[str, Any]]]] = {
        "coverage": (
            bool(overview.covered),
            "Timeline of the covered intervals of each resource type, with gaps; the table below has the same.",
            lambda width: _coverage(overview, now, width),
        ),
        "paid": (
            any(row["paid"] is not None for row in overview.paid),
            "Medicare payments by month of service, stacked by claim type; the table below has the same.",
            lambda width: _paid(overview, width),
        ),
        "roster": (
            any(row["people"] is not None for row in overview.roster),
            "People on the attribution lists of each month; the table below has the same.",
            lambda width: _roster(overview.roster, width),
        ),
        "lag": (
            any(row["people"] is not None for row in overview.lag[1:]),
            "Days from service to processing of a claim, by claim type; the table below has the same.",
            lambda width: _lag(overview.lag, width),
        ),
    }
    return {
        name: {
            "wide": charts.svg(spec(WIDE), description=description),
            "narrow": charts.svg(spec(NARROW), description=description),
        }
        for name, (is_there, description, spec) in drawn.items()
        if is_there and name in names
    }


def _coverage(overview: Overview, now: datetime, width: int) -> dict[str, Any]:
    begun = [row["since_ts"] for row in [*overview.covered, *overview.gaps] if row["since_ts"]]
    first = min([*begun, *(row["first_until_ts"] for row in overview.covered)])
    # The beginning of the data has no date of its own; it is drawn as the left edge, well before the first date there is.
    edge = first - max(timedelta(days=30), (now - first) / 8)
    bars = [_bar(row, edge, "covered") for row in overview.covered] + [_bar(row, edge, "gap") for row in overview.gaps]
    return {
        "width": width - _LABELS,
        "height": {"step": 26},
        "data": {"values": bars},
        "mark": {"type": "bar", "height": 14, "cornerRadius": 2},
        "encoding": {
            "y": {
                "field": "what",
                "type": "nominal",
                "title": None,
                "axis": {"minExtent": _LABELS, "labelLimit": _LABELS},
            },
            "x": {**_MONTH, "field": "since", "scale": {"domain": [_iso(edge), _iso(now)]}},
            "x2": {"field": "until"},
            "color": {
                "field": "state",
                "type": "nominal",
                "scale": {"domain": ["covered", "gap"], "range": ["var(--c3)", "var(--bad)"]},
            },
            "order": {"field": "state", "type": "nominal"},
        },
    }


def _bar(row: dict[str, Any], edge: datetime, state: str) -> dict[str, Any]:
    runout = " runout" if row["population"] == "runout" else ""
    return {
        "what": f"{row['resource_type']} {row['api_version']}{runout}",
        "since": _iso(row["since_ts"] or edge),
        "until": _iso(row["until_ts"]),
        "state": state,
    }


def _paid(overview: Overview, width: int) -> dict[str, Any]:
    values = [
        {"month": row["month"].isoformat(), "type": row["claim_type"], "paid": row["paid"]}
        for row in overview.paid
        if row["paid"] is not None
    ]
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": values},
            "mark": "bar",
            "encoding": {
                "x": {**_MONTH, "field": "month", "timeUnit": "yearmonth"},
                "y": {"field": "paid", "type": "quantitative", "title": "paid, USD", "axis": _SHORT},
                "color": {"field": "type", "type": "nominal", "legend": {"columns": 8 if width == WIDE else 3}},
            },
        }
    ]
    months = incomplete_months(overview)
    if months:
        shade = {
            "from": months[0].isoformat(),
            "to": _next_month(max(row["month"] for row in overview.paid)).isoformat(),
        }
        layers.insert(
            0,
            {
                "data": {"values": [shade]},
                "mark": {"type": "rect", "color": "var(--grid)", "opacity": 0.8},
                "encoding": {"x": {**_MONTH, "field": "from"}, "x2": {"field": "to"}},
            },
        )
    return {"width": width, "height": 240, "layer": layers}


def incomplete_months(overview: Overview) -> list[date]:
    """Return the months of service whose claims are not all here yet, in order: shaded, and marked in the table."""
    until = overview.covered_until or max((run["transaction_time"] for run in overview.runs), default=None)
    if until is None:
        return []
    settled = incomplete_from(overview.lag, until).date()
    return sorted({row["month"] for row in overview.paid if _next_month(row["month"]) > settled})


def _roster(roster: Rows, width: int) -> dict[str, Any]:
    months = [row["month"] for row in roster]
    # At least a year, so that a month is as wide with one list as with twelve.
    shown = [min(*months, _months_before(max(months), 11)), _next_month(max(months))]
    return {
        "width": width,
        "height": 180,
        "data": {
            "values": [
                {"month": row["month"].isoformat(), "people": row["people"]}
                for row in roster
                if row["people"] is not None
            ]
        },
        "mark": {"type": "bar", "width": {"band": 0.7}},
        "encoding": {
            "x": {
                **_MONTH,
                "field": "month",
                "timeUnit": "yearmonth",
                "scale": {"domain": [month.isoformat() for month in shown]},
            },
            "y": {"field": "people", "type": "quantitative", "title": "people on the list"},
        },
    }


def _lag(lag: Sequence[dict[str, Any]], width: int) -> dict[str, Any]:
    values = [
        {"type": row["claim_type"], "quick": row["quick_days"], "median": row["median_days"], "slow": row["slow_days"]}
        for row in lag[1:]
        if row["people"] is not None
    ]
    y = {"field": "type", "type": "nominal", "title": None}
    title = "days from service to processing"
    return {
        "width": width,
        "height": {"step": 24},
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 6, "opacity": 0.45, "color": "var(--c1)"},
                "encoding": {
                    "y": y,
                    "x": {"field": "quick", "type": "quantitative", "title": title},
                    "x2": {"field": "slow"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": "var(--c1)"},
                "encoding": {"y": y, "x": {"field": "median", "type": "quantitative", "title": title}},
            },
        ],
    }


def _next_month(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def _months_before(month: date, count: int) -> date:
    years, index = divmod(month.year * 12 + month.month - 1 - count, 12)
    return date(years, index + 1, 1)


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
