"""The simulated server: paths, order of checks, answers (docs/bcda.md#endpoints)."""

import asyncio
import gzip
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bcda_simulator import control, kickoff
from bcda_simulator.clock import Clock
from bcda_simulator.downloads import Bandwidth, BodyCutError, send_file
from bcda_simulator.excess import EndlessHeaders, endless_file, exceeding
from bcda_simulator.faults import Fault, FaultKind, Faults
from bcda_simulator.handlers import Connections, Handler, handler_of
from bcda_simulator.jobs import Job, JobStore
from bcda_simulator.metadata import capability_statement
from bcda_simulator.outcomes import go_json, outcome
from bcda_simulator.rewriting import rewritten
from bcda_simulator.settings import Entity, SimulatorSettings
from bcda_simulator.source import Source
from bcda_simulator.tokens import BearerError, Tokens

_FHIR = {"Content-Type": "application/fhir+json"}
_JSON = {"Content-Type": "application/json"}
_SECURITY = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    "Cache-Control": "no-cache; no-store; must-revalidate; max-age=0",
    "Pragma": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer over TLS, but those of the token check (docs/bcda.md#connections)."""
_STATES = (
    "Archived",
    "Cancelled",
    "CancelledExpired",
    "Completed",
    "Expired",
    "Failed",
    "FailedExpired",
    "In Progress",
    "Pending",
)
_TASK = {
    "Pending": "accepted",
    "In Progress": "in-progress",
    "Completed": "completed",
    "Archived": "completed",
    "Expired": "completed",
}


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """What a test may ask about a request; tokens are never kept."""

    method: str
    endpoint: str
    target: str
    has_authorization: bool
    range_header: str | None
    status: int
    body_bytes: int
    client: str = ""


class Simulator:
    """The ASGI application with everything it knows."""

    def __init__(
        self, source: Source, *, settings: SimulatorSettings, entities: Sequence[Entity], clock: Clock, folder: Path
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = Faults()
        self.entities = tuple(entities)
        self.tokens = Tokens(entities, settings, clock)
        self.store = JobStore(source, settings, clock, self.faults, folder)
        self._bandwidth = Bandwidth(settings.bytes_per_second)
        self._connections = Connections()
        self.requests: list[LoggedRequest] = []
        api = r"/api/(?P<version>v[123])"
        self._routes: list[tuple[str, str, re.Pattern[str], Callable[..., Awaitable[Response]]]] = [
            ("POST", "token", re.compile(r"/auth/token"), self._token),
            ("GET", "welcome", re.compile(r"/auth/welcome"), self._welcome),
            ("GET", "kick-off", re.compile(api + r"/Patient/\$export"), self._kick_off),
            ("GET", "kick-off", re.compile(api + r"/Group/(?P<group>[^/]+)/\$export"), self._kick_off),
            ("GET", "jobs", re.compile(api + r"/jobs"), self._jobs),
            ("GET", "status", re.compile(api + r"/jobs/(?P<number>[^/]+)"), self._status),
            ("DELETE", "cancel", re.compile(api + r"/jobs/(?P<number>[^/]+)"), self._cancel),
            ("GET", "attribution", re.compile(api + r"/attribution_status"), self._attribution),
            ("GET", "metadata", re.compile(api + r"/metadata"), self._metadata),
            ("GET", "data", re.compile(r"/data/(?P<number>[^/]+)/(?P<file>[^/]+)"), self._data),
            ("GET", "open", re.compile(r"/_(?P<what>version|health|auth)"), self._open),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        if path.startswith("/_sim/"):
            await (await control.answer(self, request, path))(scope, receive, send)
            return
        endpoint, response = await self._answer(request, path, self._handler(send, path))
        if response is None:
            _reset(send)
            self._log(request, endpoint, 0, 0)
            return
        if isinstance(response, EndlessHeaders):
            await response.write(send)
            self._log(request, endpoint, 0, 0)
            return
        if isinstance(response, _NoAnswer):
            _transport(send).close()
            self._log(request, endpoint, 0, 0)
            return
        self._finish_headers(response, request)
        response.headers["Date"] = format_datetime(self.clock.now(), usegmt=True)
        sent = 0
        broken, is_reset = self._break(response, request, endpoint)

        async def counting(message: Any) -> None:
            nonlocal sent
            if broken is not None and message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": broken, "more_body": True})
                raise BodyCutError(is_reset=is_reset)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await response(scope, receive, counting)
        except BodyCutError as cut:
            if cut.is_reset:
                _reset(send)
            else:
                _transport(send).close()
        finally:
            self._log(request, endpoint, response.status_code, sent)

    def _handler(self, send: Send, path: str) -> Handler:
        if not self.settings.quirks.refusals_keep_connections:
            return handler_of(path)
        # The server makes one protocol object for each connection.
        connection = send.__self__.on_response.__self__  # type: ignore[attr-defined]
        return self._connections.choose(connection, path)

    def _finish_headers(self, response: Response, request: Request) -> None:
        """Close the connection, but after a refusal by the token check, which comes before what does that (docs/bcda.md#connections)."""
        if isinstance(response, _TokenRefusal) and self.settings.quirks.refusals_keep_connections:
            return
        response.headers["Connection"] = "close"
        if request.scope["scheme"] == "https":
            for name, value in _SECURITY.items():
                response.headers.setdefault(name, value)

    def _break(self, response: Response, request: Request, endpoint: str) -> tuple[bytes | None, bool]:
        """Shorten the body of an answer that is no file; return what is sent before the connection breaks, and whether by a reset."""
        if endpoint == "data" or not getattr(response, "body", b""):
            return None, False
        target = _target(request)
        if fault := self.faults.strike(FaultKind.SHORT, endpoint, target):
            response.body = response.body[: int(len(response.body) * fault.fraction)]
            response.headers["Content-Length"] = str(len(response.body))
        for kind in (FaultKind.CUT, FaultKind.RESET):
            if fault := self.faults.strike(kind, endpoint, target):
                return bytes(response.body[: int(len(response.body) * fault.fraction)]), kind is FaultKind.RESET
        return None, False

    def _log(self, request: Request, endpoint: str, status: int, sent: int) -> None:
        self.requests.append(
            LoggedRequest(
                request.method,
                endpoint,
                _target(request),
                "authorization" in request.headers,
                request.headers.get("range"),
                status,
                sent,
                self.tokens.client_of(request.headers.get("authorization")),
            )
        )

    async def _answer(self, request: Request, path: str, handler_asked: Handler) -> tuple[str, Response | None]:
        matching = [(m, e, pattern.fullmatch(path), h) for m, e, pattern, h in self._routes if pattern.fullmatch(path)]
        if not matching or handler_of(path) is not handler_asked:
            return "", self._unknown(request, handler_asked)
        for method, endpoint, match, handler in matching:
            if method == request.method and match is not None:
                return endpoint, await self._with_faults(request, endpoint, handler, match.groupdict())
        return "", Response(status_code=405, headers={"Allow": ", ".join(sorted({entry[0] for entry in matching}))})

    def _unknown(self, request: Request, handler: Handler) -> Response:
        """Answer a path that a handler does not know."""
        if handler.checks_tokens_first and "authorization" in request.headers:
            try:
                self._entity(request)
            except BearerError as error:
                return _token_refusal("v1", error)
        return Response("404 page not found\n", 404, {"Content-Type": "text/plain; charset=utf-8"})

    async def _with_faults(
        self, request: Request, endpoint: str, handler: Callable[..., Awaitable[Response]], found: dict[str, str]
    ) -> Response | None:
        target, strike = _target(request), self.faults.strike
        version = found.get("version", "v1")
        if delay := strike(FaultKind.DELAY, endpoint, target):
            await asyncio.sleep(delay.seconds)
        if strike(FaultKind.DROP, endpoint, target):
            return None
        if strike(FaultKind.EXPIRE_TOKENS, endpoint, target):
            self.tokens.expire_all()
        if strike(FaultKind.CLEAN_UP, endpoint, target):
            self.store.archive_finished()
        if fault := strike(FaultKind.ENDLESS_HEADERS, endpoint, target):
            return EndlessHeaders(fault)
        if fault := strike(FaultKind.ANSWER, endpoint, target):
            response = _faulty_answer(fault, version)
        else:
            response = await self._handled(request, handler, found, version)
        if endpoint == "data" and response.status_code in {200, 206}:
            # A file has faults of its own.
            return response
        place = "manifest" if endpoint == "status" and response.status_code == 200 else endpoint  # noqa: PLR2004
        return exceeding(response, lambda kind: strike(kind, place, target))

    async def _handled(
        self, request: Request, handler: Callable[..., Awaitable[Response]], found: dict[str, str], version: str
    ) -> Response:
        try:
            return await handler(request, **found)
        except BearerError as error:
            return _token_refusal(version, error)
        except kickoff.Refusal as refusal:
            headers = {"Retry-After": refusal.retry_after} if refusal.retry_after is not None else {}
            if not refusal.has_body:
                return Response(status_code=refusal.status, headers=headers)
            return Response(outcome(version, refusal.status, refusal.text), refusal.status, headers | _FHIR)

    def _entity(self, request: Request) -> Entity:
        """Return who asks.

        Raises:
            BearerError: the token is not accepted, or the token service is gone (docs/bcda.md#token-check).
        """
        if self.faults.strike(FaultKind.TOKEN_SERVICE_GONE, "check", _target(request)):
            raise BearerError(500, "Internal Error")
        return self.tokens.check(request.headers.get("authorization"))

    async def _token(self, request: Request) -> Response:
        if self.faults.strike(FaultKind.TOKEN_SERVICE_GONE, "token", _target(request)):
            return _NoAnswer()
        status, headers, body = self.tokens.answer(request.headers.get("authorization"))
        return Response(body, status, headers)

    async def _welcome(self, request: Request) -> Response:
        self._entity(request)
        return Response(b'{"success":"Welcome to the Beneficiary Claims Data API!"}', headers=_JSON)

    async def _kick_off(self, request: Request, version: str, group: str | None = None) -> Response:
        job = kickoff.start(self.store, self._asked(request, version, group))
        return Response(
            status_code=202, headers={"Content-Location": f"{_base(request)}/api/{version}/jobs/{job.number}"}
        )

    def _asked(self, request: Request, version: str, group: str | None) -> kickoff.KickOff:
        query = request.scope["query_string"].decode("latin-1")
        return kickoff.KickOff(
            entity=self._entity(request),
            version=version,
            group=group,
            accept=", ".join(request.headers.getlist("accept")),
            prefer=", ".join(request.headers.getlist("prefer")),
            query=kickoff.read_query(query),
            path_and_query=_target(request),
            url=_base(request) + _target(request),
        )

    def _job(self, request: Request, version: str, number: str) -> Job | Response:
        entity = self._entity(request)
        if not re.fullmatch(r"\d{1,18}", number):
            return Response(outcome(version, 400), 400, _FHIR)
        job = self.store.jobs.get(int(number))
        if job is None:
            return Response(outcome(version, 404), 404, _FHIR)
        if job.entity == entity:
            return job
        return Response(outcome(version, 401) + self._second_outcome(version), 401, _FHIR)

    def _second_outcome(self, version: str) -> bytes:
        """Return what follows the answer for an archived or foreign job (docs/bcda.md#job-status)."""
        return outcome(version, 401, code="forbidden") if self.settings.quirks.second_outcome_forbidden else b""

    async def _status(self, request: Request, version: str, number: str) -> Response:
        job = self._job(request, version, number)
        if isinstance(job, Response):
            return job
        state, quirks = self.store.state(job), self.settings.quirks
        if state in {"Pending", "In Progress"}:
            return Response(status_code=202, headers={"X-Progress": self.store.progress(job)})
        if state == "Failed":
            text = "Service encountered numerous errors. Job failed to complete."
            return Response(outcome(version, 500, text), 500, _FHIR)
        if state.startswith("Cancelled"):
            return Response(outcome(version, 404, "Job has been cancelled."), 404, _FHIR)
        if state in {"Archived", "Expired"}:
            status = 404 if quirks.archived_is_404 else 410
            body = outcome(version, status)
            second = self._second_outcome(version) or (body if quirks.double_bodies else b"")
            return Response(body + second, status, _FHIR)
        if self.faults.strike(FaultKind.BACK_TO_RUNNING, "status", _target(request)):
            return Response(status_code=202, headers={"X-Progress": "In Progress"})
        completed = job.completed_at or self.clock.now()
        expires = completed + timedelta(hours=self.settings.file_hours)
        text = (
            f"{expires.strftime('%Y-%m-%d %H:%M:%S.%f').rstrip('0').rstrip('.')} +0000 UTC"
            if quirks.odd_expires
            else format_datetime(expires, usegmt=True)
        )
        if self.clock.now() >= expires:
            return Response(outcome(version, 410), 410, _FHIR | {"Expires": text})
        return Response(go_json(self._manifest(request, job)), headers=_JSON | {"Expires": text})

    def _manifest(self, request: Request, job: Job) -> dict[str, object]:
        foreign = self.faults.strike(FaultKind.FOREIGN, "status", _target(request))
        base = foreign.origin if foreign else _base(request)
        listed = [file for file in job.files if file.is_listed]
        if self.faults.strike(FaultKind.LISTED_TWICE, "status", _target(request)):
            listed += listed
        is_blank = self.faults.strike(FaultKind.BLANK_TYPE, "status", _target(request)) is not None
        entries = {
            kind: [
                {"type": "" if is_blank else f.resource_type, "url": f"{base}/data/{job.number}/{f.name}"}
                for f in listed
                if f.kind in kinds
            ]
            for kind, kinds in (("output", {"output"}), ("error", {"warning", "error"}), ("deleted", {"deleted"}))
        }
        instant = job.transaction_time.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
        changed = self.faults.strike(FaultKind.MANIFEST, "status", _target(request))
        fields = {
            "transactionTime": instant,
            "request": job.request_url,
            "requiresAccessToken": True,
            "output": entries["output"],
            "error": entries["error"],
            # BCDA itself has no such field (docs/bcda.md#job-status).
            **({"deleted": entries["deleted"]} if entries["deleted"] else {}),
            "JobID": job.number,
            **(changed.fields if changed else {}),
        }
        return {name: value for name, value in fields.items() if value is not None}

    async def _cancel(self, request: Request, version: str, number: str) -> Response:
        job = self._job(request, version, number)
        if isinstance(job, Response):
            return job
        state = self.store.state(job)
        over = outcome(version, 410, "job was not cancelled because it is not Pending or In Progress")
        if state in {"Pending", "In Progress"}:
            if not self.faults.strike(FaultKind.CANCEL_LOST, "cancel", _target(request)):
                job.cancelled_at = self.clock.now()
            return Response(status_code=202)
        if state in {"Archived", "Expired"}:
            return Response(outcome(version, 404) + (over if self.settings.quirks.double_bodies else b""), 404, _FHIR)
        return Response(over, 410, _FHIR)

    async def _jobs(self, request: Request, version: str) -> Response:
        asked = self._asked(request, version, None)
        kickoff.check_request(self.store, asked)
        names = (asked.first("_status") or "").split(",") if asked.first("_status") is not None else list(_STATES)
        for place, name in enumerate(names):
            if name in names[:place]:
                raise kickoff.Refusal(400, f"Repeated status type {name}")
            if name not in _STATES:
                supported = " ".join(f"{state}:{{}}" for state in _STATES)
                raise kickoff.Refusal(400, f"invalid status type {name}. Supported types map[{supported}]")
        found = [
            job for job in self.store.jobs.values() if job.entity == asked.entity and self.store.state(job) in names
        ]
        if not found:
            text = f"no Jobs found for acoID {asked.entity.cms_id} with job statuses [{' '.join(names)}]"
            bundle = go_json({"resourceType": "Bundle", "type": "searchset", "total": 0})
            return Response(outcome(version, 404, text) + bundle, 404, _FHIR)
        entries = [{"resource": self._task(request, version, job)} for job in found]
        return Response(
            go_json({"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}),
            headers=_JSON,
        )

    def _task(self, request: Request, version: str, job: Job) -> dict[str, object]:
        state = self.store.state(job)
        changed = job.cancelled_at or job.completed_at or job.created_at
        fault = self.faults.strike(FaultKind.JOB_DATE, "jobs", _target(request))
        return {
            "resourceType": "Task",
            "identifier": [
                {"use": "official", "system": f"{_base(request)}/api/{version}/jobs", "value": str(job.number)}
            ],
            "status": _TASK.get(state, "failed" if state.startswith("Failed") else "cancelled"),
            "intent": "order",
            "input": [{"type": {"text": "BULK FHIR Export"}, "valueString": f"GET {job.request_url}"}],
            "executionPeriod": {
                "start": fault.text if fault else job.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "end": changed.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }

    async def _attribution(self, request: Request, version: str) -> Response:
        entity, dates = self._entity(request), []
        for kind, name in (("all", "last_attribution_update"), ("runout", "last_runout_update")):
            lists = self.store.source.attribution_lists(entity.cms_id, kind, self.clock.now())  # type: ignore[arg-type]
            if lists:
                fault = self.faults.strike(FaultKind.LIST_DATE, "attribution", _target(request))
                dated = fault.text if fault else lists[-1].dated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
                dates.append({"timestamp": dated, "type": name})
        if not dates:
            return Response(outcome(version, 404), 404, _FHIR)
        return Response(go_json({"ingestion_dates": dates}) + b"\n", headers=_JSON)

    async def _metadata(self, request: Request, version: str) -> Response:
        if "authorization" in request.headers:
            self._entity(request)
        return JSONResponse(capability_statement(version, _base(request), self.clock.now()))

    async def _open(self, request: Request, what: str) -> Response:
        if "authorization" in request.headers:
            self._entity(request)
        bodies = {
            "version": {"version": "r297"},
            "auth": {"auth_provider": "ssas", "version": "r297"},
            "health": {"database": "ok", "ssas": "ok", "ssas_introspect": "ok"},
        }
        status = 200
        if what == "health" and self.faults.strike(FaultKind.TOKEN_SERVICE_GONE, "open", _target(request)):
            status = 502
            bodies["health"] |= dict.fromkeys(("ssas", "ssas_introspect"), "Cannot connect to SSAS")
        return Response(
            go_json(bodies[what]),
            status,
            headers={"Content-Type": "text/plain; charset=utf-8"} if what == "health" else _JSON,
        )

    async def _data(self, request: Request, number: str, file: str) -> Response:
        job = self._job(request, "v1", number)
        if isinstance(job, Response):
            return job
        plain = {"Content-Type": "text/plain; charset=utf-8"}
        if self.store.state(job) in {"Archived", "Expired"}:
            second = self._second_outcome("v1") or (b"Not Found\n" if self.settings.quirks.double_bodies else b"")
            body = outcome("v1", 404) + second
            return Response(body, 404, _FHIR)
        if file not in {entry.name for entry in job.files}:
            return Response(outcome("v1", 404, "Job not found"), 404, _FHIR)
        path = self.store.folder / str(job.number) / file
        if not path.exists():
            return Response("Not Found\n", 404, plain)
        target, strike = _target(request), self.faults.strike
        if (other := self._other_than_stored(path, target)) is not None:
            return other
        kinds = (FaultKind.CUT, FaultKind.RESET, FaultKind.SHORT, FaultKind.CORRUPT, FaultKind.SLOW)
        return send_file(
            path,
            range_header=request.headers.get("range"),
            if_range=request.headers.get("if-range"),
            gzip_asked="gzip" in ",".join(request.headers.getlist("accept-encoding"))
            and not strike(FaultKind.UNCOMPRESSED, "data", target),
            extra_member=self.settings.quirks.extra_gzip_member,
            damage=[fault for kind in kinds if (fault := strike(kind, "data", target))],
            bandwidth=self._bandwidth,
        )

    def _other_than_stored(self, path: Path, target: str) -> Response | None:
        """Return what comes in the place of a stored file by a fault; None without one."""
        strike = self.faults.strike
        fhir = {"Content-Type": "application/fhir+ndjson"}
        if strike(FaultKind.EMPTY, "data", target):
            return Response(b"", headers=fhir | {"Content-Encoding": "gzip"})
        if fault := strike(FaultKind.UNPACKED, "data", target):
            content = gzip.decompress(path.read_bytes())
            sent = content[: int(len(content) * fault.fraction)]
            return Response(sent, headers=fhir | {"Content-Length": str(len(content))})
        if fault := strike(FaultKind.FLOOD, "data", target):
            return endless_file(path.read_bytes(), fault)
        if fault := strike(FaultKind.REWRITTEN, "data", target):
            return rewritten(path.read_bytes(), fault.text)
        return None


class _TokenRefusal(Response):
    """An answer of the token check."""


class _NoAnswer(Response):
    """The connection is closed without an answer."""


def _token_refusal(version: str, error: BearerError) -> Response:
    return _TokenRefusal(outcome(version, error.status, error.text), error.status, _FHIR)


def _faulty_answer(fault: Fault, version: str) -> Response:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
    headers |= {"Location": fault.location} if fault.location is not None else {}
    headers |= {"X-Progress": fault.progress} if fault.progress is not None else {}
    if fault.body == "html":
        return Response("<html><body>Down for maintenance</body></html>", fault.status, headers, "text/html")
    if fault.body == "outcome":
        return Response(outcome(version, fault.status, fault.text), fault.status, headers | _FHIR)
    return Response(fault.text if fault.body == "text" else None, fault.status, headers, "text/plain")


def _reset(send: Send) -> None:
    """Reset a connection; the only place for that is below the framework, at the server's transport."""
    transport = _transport(send)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _transport(send: Send) -> Any:
    """Return the connection below the framework."""
    return send.__self__.transport  # type: ignore[attr-defined]


def _target(request: Request) -> str:
    path = request.scope.get("raw_path", request.scope["path"].encode()).decode("latin-1").partition("?")[0]
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _base(request: Request) -> str:
    return f"{request.scope['scheme']}://{request.headers.get('host', '')}"
