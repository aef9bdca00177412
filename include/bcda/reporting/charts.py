"""Charts as SVG from Vega-Lite, made where the numbers are: the page and the run report load no library in the browser.

Colors are custom properties of CSS, so that one chart is readable in light and in dark; `COLORS` gives both.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

import vl_convert

CATEGORIES = 8
"""Colors for the values of one field; what has more is put together as `other` before it is drawn."""

COLORS = """
:root { color-scheme: light dark;
  --ink: #1f2328; --quiet: #57606a; --grid: #d5dae0; --paper: #ffffff; --panel: #f6f8fa; --link: #0a58ca;
  --good: #1a7f37; --warn: #8a5a00; --bad: #b42318;
  --c1: #2f6fb5; --c2: #c2571a; --c3: #2f8558; --c4: #7d55b8; --c5: #b03a5b; --c6: #5f6b1e; --c7: #1f8a99; --c8: #6b7280; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) {
  --ink: #e6edf3; --quiet: #a2adb8; --grid: #3a424c; --paper: #12161c; --panel: #1b2129; --link: #7ab7ff;
  --good: #57c278; --warn: #e3b341; --bad: #ff8a80;
  --c1: #7cb2ee; --c2: #f0955c; --c3: #67c794; --c4: #b796ea; --c5: #ee86a4; --c6: #b7c45a; --c7: #5cc8d6; --c8: #a3acb8; } }
:root[data-theme=dark] {
  --ink: #e6edf3; --quiet: #a2adb8; --grid: #3a424c; --paper: #12161c; --panel: #1b2129; --link: #7ab7ff;
  --good: #57c278; --warn: #e3b341; --bad: #ff8a80;
  --c1: #7cb2ee; --c2: #f0955c; --c3: #67c794; --c4: #b796ea; --c5: #ee86a4; --c6: #b7c45a; --c7: #5cc8d6; --c8: #a3acb8; }
"""
"""The style sheet that the charts' colors come from: what the system prefers, or what `data-theme` of the root says."""

_TEXT = {"labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "labelFontSize": 11, "titleFontSize": 11}
_THEME: dict[str, Any] = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "titleFontWeight": "normal",
        "gridColor": "var(--grid)",
        "domainColor": "var(--grid)",
        "tickColor": "var(--grid)",
    },
    "axisX": {"grid": False},
    "legend": {**_TEXT, "labelColor": "var(--ink)", "title": None, "orient": "top", "symbolType": "square"},
    "header": _TEXT,
    "text": {"color": "var(--ink)"},
    "line": {"color": "var(--c1)", "strokeWidth": 2},
    "bar": {"color": "var(--c1)"},
    "range": {"category": [f"var(--c{number})" for number in range(1, CATEGORIES + 1)]},
}


def svg(spec: Mapping[str, Any], *, description: str) -> str:
    """Return a chart as an SVG element that scales with its column.

    Args:
        spec: Vega-Lite (version 6) with its data inline; aggregates only, nothing of one person.
        description: what it shows, in a sentence; read by screen readers in place of the picture.

    Raises:
        ValueError: the specification is not Vega-Lite.
    """
    drawn = vl_convert.vegalite_to_svg({"background": None, "padding": 2, **spec}, vl_version="6.4", config=_THEME)
    width, height = re.findall(r'\b(?:width|height)="(\d+)"', drawn[: drawn.index(">")])
    # One picture with one sentence: the marks' own labels would be read number by number, and the page has a table of them.
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(description)}" viewBox="0 0 {width} {height}">'
    inner = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", drawn[drawn.index(">") + 1 :])
    return head + inner
