"""The page's addresses. Each asks Airflow who the user is and what the user may see."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import escape

from bcda.errors import BcdaError, ManifestError
from bcda.reporting import charts
from bcda.reporting.overview import Overview, read_overview
from bcda.reporting.overview.pictures import incomplete_months, pictures
from bcda.runs.run import scope_and_version
from bcda.storage.places import Places
from bcda_provider import variables
from bcda_provider.page import words
from bcda_provider.page.airflow_runs import export_dags, paused_dags, teams_of
from bcda_provider.page.runs_shown import shown_runs
from bcda_provider.page.sources_shown import HIDDEN_SERVER, places_of, read_source, servers_of
from bcda_provider.sources import dag_id, sources

PREFIX = "/bcda"
"""Where Airflow mounts the app; the same as in bcda_plugin.py, which this must not import."""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

app = FastAPI(title="BCDA", docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(packages=[("bcda_provider.page", "static")]), name="static")


@app.middleware("http")
async def keep_private(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let no cache keep what a page shows, and let it load nothing from elsewhere."""
    response = await call_next(request)
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@app.exception_handler(HTTPException)
async def to_login(request: Request, error: HTTPException) -> Response:
    """Send a browser without a session to Airflow's login, and back to the page afterwards."""
    if error.status_code == HTTPStatus.UNAUTHORIZED and "text/html" in request.headers.get("accept", ""):
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{_root(request)}/api/v2/auth/login?next={quote(wanted)}")
    return PlainTextResponse(str(error.detail), error.status_code)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is about, once the user may see it.

    Attributes:
        source: connection id.
        allowed: all sources that the user may see.
        dags: its export DAGs whose runs the user may see.
        may_start: those of which the user may start runs.
        connections: those of `allowed` whose connections the user may see.
    """

    source: str
    allowed: tuple[str, ...]
    dags: tuple[str, ...]
    may_start: tuple[str, ...]
    connections: frozenset[str]

    @property
    def may_trigger(self) -> bool:
        """Whether the user may start any export of it."""
        return bool(self.may_start)


def asked(user: GetUserDep, source: Annotated[str, Query(max_length=64)] = "") -> Asked:
    """Check that the user may see the runs of the source's weekly DAG; that is who may see its page.

    Runs, reports and buttons of each export DAG ask for the right to that DAG.

    Raises:
        HTTPException: 403 when the user may see no source, or not this one. The answer is the same for a source that is not
            configured, so that nobody learns which there are.
    """
    weekly = {name: dag_id("bcda_weekly_export", name) for name in sources()}
    seen = _permitted(user, "GET", weekly.values())
    allowed = tuple(name for name in weekly if weekly[name] in seen)
    if not allowed:
        raise HTTPException(403, "You may not see the runs of any source of BCDA. Ask an Airflow admin for access.")
    wanted = source or allowed[0]
    if wanted not in allowed:
        raise HTTPException(
            403,
            "There is no such source, or you may not see the runs of its weekly DAG. BCDA_SOURCES lists the sources. Ask an Airflow "
            "admin for access.",
        )
    connections = frozenset(name for name in allowed if _may_see_connection(user, name))
    dags = export_dags(wanted)
    return Asked(wanted, allowed, _permitted(user, "GET", dags), _permitted(user, "POST", dags), connections)


AskedDep = Annotated[Asked, Depends(asked)]


@app.get("/", response_class=HTMLResponse)
def operations(request: Request, about: AskedDep, run: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
    """Sources, coverage, runs and checks, for who keeps the data current."""
    place, overview, problem = _read(about.source)
    now = datetime.now(UTC)
    return _page(
        request,
        about,
        "operations.html",
        overview=overview,
        problem=problem,
        picture=_pictures(about.source, overview, now, OPERATIONS_CHARTS) if overview else {},
        shown=[
            read_source(
                name, overview if name == about.source else None, now, may_see_connection=name in about.connections
            )
            for name in about.allowed
        ],
        runs=shown_runs(about.dags, place, overview) if place else [],
        paused=paused_dags(about.dags),
        # What is wrong with the deployment is for who works with it, and one of them says where to find a key.
        remarks=variables.remarks() if about.may_trigger else (),
        wanted=run,
    )


@app.get("/runs", response_class=HTMLResponse)
def runs(request: Request, about: AskedDep, run: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
    """The part of the page that changes while a run is at work."""
    place, overview, problem = _read(about.source)
    found = shown_runs(about.dags, place, overview) if place else []
    return _page(request, about, "runs.html", runs=found, wanted=run, problem=problem, overview=overview)


@app.get("/colors.css")
def colors() -> Response:
    """The colors of page and charts; nothing to hide."""
    return Response(charts.COLORS, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@app.get("/data", response_class=HTMLResponse)
def data(request: Request, about: AskedDep) -> HTMLResponse:
    """Payments, people and claim lag, for who uses the data."""
    _, overview, problem = _read(about.source)
    return _page(
        request,
        about,
        "data.html",
        overview=overview,
        problem=problem,
        picture=_pictures(about.source, overview, datetime.now(UTC), DATA_CHARTS) if overview else {},
        incomplete=incomplete_months(overview) if overview else [],
    )


@app.get("/reports/{run_id}", response_class=HTMLResponse)
def report(about: AskedDep, run_id: str) -> Response:
    """The report of a loaded run."""
    try:
        place = places_of(about.source)
        place.run_folder(run_id)
    except BcdaError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
    if not _may_see_report(about, run_id):
        raise HTTPException(HTTPStatus.FORBIDDEN, "You may not see the runs of the DAG that wrote this report.")
    path = place.reports / f"{run_id}.html"
    if not path.exists():
        raise HTTPException(
            HTTPStatus.NOT_FOUND, "There is no report of this run: it is not loaded, or its report was removed."
        )
    return HTMLResponse(path.read_text(encoding="utf-8"), headers={"Content-Security-Policy": _REPORT_POLICY})


def _read(source: str) -> tuple[Places | None, Overview | None, str]:
    """Return places, aggregates, and why there are none."""
    place = None
    try:
        place = places_of(source)
        return place, read_overview(place), ""
    except BcdaError as error:
        return place, None, str(error)


OPERATIONS_CHARTS = ("coverage",)
DATA_CHARTS = ("paid", "roster", "lag")

_drawn: dict[tuple[str, tuple[str, ...]], tuple[Overview, str, dict[str, dict[str, str]]]] = {}
"""The charts of the newest overview, by source and page: drawing takes longer than reading."""


def _pictures(source: str, overview: Overview, now: datetime, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    day, kept = now.date().isoformat(), _drawn.get((source, names))
    if kept is None or kept[0] is not overview or kept[1] != day:
        kept = _drawn[source, names] = (overview, day, pictures(overview, now, names))
    return kept[2]


def _permitted(user: Any, method: Any, dags: Collection[str]) -> tuple[str, ...]:
    """Return those of some DAGs whose runs the user may see, or start."""
    teams = teams_of(dags)
    return tuple(
        dag
        for dag in dags
        if get_auth_manager().is_authorized_dag(
            method=method,
            access_entity=DagAccessEntity.RUN,
            details=DagDetails(id=dag, team_name=teams.get(dag)),
            user=user,
        )
    )


_DAG_OF_SCOPE = {"group-all": "bcda_attribution_export", "group-runout": "bcda_runout_export"}
"""DAGs whose runs have a scope of their own; all others belong to the weekly export."""


def _may_see_report(about: Asked, run_id: str) -> bool:
    try:
        scope, _ = scope_and_version(run_id)
    except ManifestError:
        return True
    return dag_id(_DAG_OF_SCOPE.get(scope, "bcda_weekly_export"), about.source) in about.dags


def _may_see_connection(user: Any, source: str) -> bool:
    return get_auth_manager().is_authorized_connection(
        method="GET", details=ConnectionDetails(conn_id=source), user=user
    )


def _root(request: Request) -> str:
    """Return the path at which Airflow itself is mounted, empty at the top of its host."""
    return str(request.scope.get("root_path", "")).removesuffix(PREFIX).rstrip("/")


def _page(request: Request, about: Asked, name: str, **facts: Any) -> HTMLResponse:
    template = _templates().get_template(name)
    now = datetime.now(UTC)
    text = template.render(
        about=about, airflow=_root(request), here=f"{_root(request)}{PREFIX}", now=now, dag_id=dag_id, **facts
    )
    # Sentences of failed tasks name the server too.
    for server in servers_of(name for name in about.allowed if name not in about.connections):
        text = text.replace(str(escape(server)), HIDDEN_SERVER)
    return HTMLResponse(text)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("bcda_provider.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (
        words.people,
        words.address,
        words.number,
        words.money,
        words.share,
        words.instant,
        words.duration,
        words.ago,
        words.sentence,
    ):
        made.filters[filter_.__name__] = filter_
    made.globals["few"] = words.FEW
    return made
