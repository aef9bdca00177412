"""A document as HTML and as text: templates print what the document says and know no number."""

from functools import cache
from importlib import resources

import jinja2

from bcda.reporting import charts
from bcda.reporting.run_report.document import Document

_WIDTH, _HEIGHT, _WIDEST_BAR = 640, 200, 40


def as_html(document: Document) -> str:
    """Return a page that loads nothing and runs nothing, readable in light and dark, on a phone and printed."""
    return _templates().get_template("report.html.j2").render(d=document, colors=charts.COLORS, chart=_chart(document))


def as_text(document: Document) -> str:
    """Return the short text for mail and chat."""
    return _templates().get_template("report.txt.j2").render(d=document)


@cache
def _templates() -> jinja2.Environment:
    folder = resources.files(__package__) / "templates"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".j2")}
    return jinja2.Environment(
        loader=jinja2.DictLoader(texts),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _chart(document: Document) -> str:
    if len(document.bars) < 2:  # noqa: PLR2004 - one bar says no more than its row in the table
        return ""
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": _WIDTH,
        "height": _HEIGHT,
        "data": {"values": [{"month": month, "dollars": dollars} for month, dollars in document.bars]},
        "mark": {"type": "bar", "size": min(_WIDEST_BAR, 0.8 * _WIDTH / len(document.bars))},
        "encoding": {
            "x": {
                "field": "month",
                "type": "ordinal",
                "title": None,
                "axis": {"labelAngle": -45, "labelOverlap": True},
            },
            "y": {
                "field": "dollars",
                "type": "quantitative",
                "title": "USD moved",
                "axis": {"format": "$~s", "tickCount": 5},
            },
        },
    }
    return charts.svg(spec, description="Dollars moved by month of service; the table below has the same numbers.")
