"""Everything that BCDA says outside its data files, each reader with the contract of its results.

A target takes bytes as they came and either returns, or raises one of our errors, or breaks its contract.
"""

import atexit
import email.utils
import gzip
import json
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import httpx
from contract import FindingError, check_error, holds, is_loggable
from mutations import CANARY

from bcda.api import protocol
from bcda.api.export_request import ExportRequest, Scope, format_instant, parse_instant
from bcda.api.manifest import Manifest
from bcda.api.type_filter import TypeFilter
from bcda.errors import BcdaError, IncompleteFileError
from bcda.landing.lines import LineReader
from bcda.privacy import server_text
from bcda.runs.fetch import verify_gzip
from bcda.runs.landed import landed_path, read_landed
from bcda.runs.receipts import read_receipt, receipt_path
from bcda.runs.run import read_run
from bcda.settings import ApiVersion, ConnectionSettings, Tuning, server_of
from bcda_simulator import typefilter

BASE = "https://api.example.org"
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
REQUEST = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient", "Coverage"))
FOLDER = Path(tempfile.mkdtemp(prefix="bcda-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

_FILE_NAME = re.compile(r"[0-9]{5,}-[A-Za-z]{1,64}\.ndjson\.gz")


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        read: takes what came; raises FindingError when the result breaks the contract.
        seeds: what BCDA sends when all is well, and its known oddities.
        is_from_us: a person of ours wrote it, as into a form, so an error may repeat it.
    """

    read: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    is_from_us: bool = False


def run(name: str, payload: bytes) -> None:
    """Give one input to one target.

    Raises:
        FindingError: something else than one of our errors came out, or the contract is broken.
    """
    try:
        TARGETS[name].read(payload)
    except BcdaError as error:
        if not TARGETS[name].is_from_us:
            check_error(error)
    except FindingError:
        raise
    except Exception as error:
        raise FindingError(f"{type(error).__name__} came out") from error


def _check_manifest(manifest: Manifest, text: bytes) -> None:
    holds(re.fullmatch(r"[0-9]{1,18}", manifest.job_id), "a job is known by a number")
    holds(manifest.transaction_time.utcoffset() == timedelta(0), "transactionTime is an instant in UTC")
    holds(manifest.expires_in_seconds is None or math.isfinite(manifest.expires_in_seconds), "the time left is finite")
    holds(manifest.request_url.isprintable(), "the request can be logged")
    names = [file.name for file in manifest.files]
    holds(all(_FILE_NAME.fullmatch(name) for name in names), "file names are ours")
    holds(len(set(names)) == len(names), "file names are unique")
    holds(all(_is_on_the_server(file.url) for file in manifest.files), "files lie on the server")
    document = json.loads(text, object_pairs_hook=_names_once)
    listed = {entry["url"] for kind in ("output", "deleted", "error") for entry in document.get(kind) or []}
    holds(listed == {file.url for file in manifest.files}, "every listed file is in the manifest")
    holds(Manifest.from_bytes(manifest.to_bytes()) == manifest, "a manifest can be written down and read again")


def _is_on_the_server(address: str) -> bool:
    """Ask the parser that requests are sent with, which is not the one that the check was made with."""
    url = httpx.URL(address)
    return (url.scheme, url.host, url.port, url.userinfo) in {
        ("https", "api.example.org", port, b"") for port in (None, 443)
    }


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    holds(len(dict(pairs)) == len(pairs), "a manifest that names a list twice is refused")
    return dict(pairs)


def _manifest(payload: bytes) -> None:
    _check_manifest(protocol.manifest_of(payload, base_url=BASE, expires_in=1.5), payload)


def _stored_manifest(payload: bytes) -> None:
    manifest = Manifest.from_bytes(payload)
    _check_types(manifest)
    for file in manifest.files:
        _check_types(file)
        holds(_FILE_NAME.fullmatch(file.name), "file names are ours")


def _jobs(payload: bytes) -> None:
    for job in protocol.jobs_of(payload, as_of=NOW):
        holds(re.fullmatch(r"[0-9]{1,18}", job.job_id), "a job is known by a number")
        holds(job.created_at is None or job.created_at.utcoffset() is not None, "instants have a zone")
        holds(is_loggable(job.shown_types) and is_loggable(job.shown_request), "a job's types can be shown")
        holds(isinstance(job.state, protocol.JobState), "a state is known")
        # What the kick-off asks of every listed job.
        protocol.refuses(job, REQUEST, NOW)
        protocol.overlaps(job, REQUEST, NOW)
        protocol.same_request(job.request_url, protocol.kick_off_path(REQUEST))


def _attribution(payload: bytes) -> None:
    status = protocol.attribution_of(payload, as_of=NOW)
    for at in (status.current_at, status.runout_at):
        holds(at is None or at.utcoffset() == timedelta(0), "instants are in UTC")


def _reason(payload: bytes) -> None:
    reason = server_text.shown(protocol.reason_of(payload))
    holds(is_loggable(reason) and len(reason) <= 200, "a reason is one short line that names nobody")


def _metadata(payload: bytes) -> None:
    holds(isinstance(protocol.metadata_of(payload), dict), "metadata is an object")


def _health(payload: bytes) -> None:
    for part, state in protocol.health_of(payload).items():
        holds(is_loggable(part) and is_loggable(state), "a part of BCDA can be shown")


def _token(payload: bytes) -> None:
    token, seconds = protocol.token_of(payload)
    httpx.Headers({"Authorization": f"Bearer {token}"})
    holds(token and not token.isspace(), "a token is no blank")
    holds(math.isfinite(seconds) and seconds >= 0, "a lifetime is finite and not negative")


def _headers(payload: bytes, count: int) -> list[str | None]:
    """Return the values of some headers, a line each, as the HTTP library decodes them; empty means absent."""
    parts = (payload.split(b"\n", count - 1) + [b""] * count)[:count]
    return [part.decode("latin-1") or None for part in parts]


def _status(payload: bytes) -> None:
    code, progress, expires, date, body = (payload.split(b"\n", 4) + [b""] * 5)[:5]
    status = int(code[:3]) if re.fullmatch(rb"[1-5][0-9][0-9]", code[:3]) else 200
    sent = {"x-progress": progress, "expires": expires, "date": date}
    headers = {name: value.decode("latin-1") for name, value in sent.items() if value}
    answer = protocol.status_of(status, headers, body, base_url=BASE)
    if answer is None:
        return
    holds((answer.manifest is not None) == (answer.state is protocol.JobState.COMPLETED), "completed has a manifest")
    holds(is_loggable(answer.reason), "a reason can be logged and names nobody")
    holds(answer.progress is None or is_loggable(answer.progress), "a progress can be logged and names nobody")
    if answer.manifest:
        _check_manifest(answer.manifest, body)


def _retry_after(payload: bytes) -> None:
    seconds = protocol.retry_after_seconds(payload.decode("latin-1"), NOW)
    holds(seconds is None or 0 <= seconds <= 86_400, "a wait is not negative and at most a day")


def _expires(payload: bytes) -> None:
    expires, date = _headers(payload, 2)
    seconds = protocol.expires_in_seconds(expires, date)
    holds(seconds is None or math.isfinite(seconds), "the time left is finite")


def _lenient_instant(payload: bytes) -> None:
    at = protocol.lenient_instant(payload.decode("latin-1"))
    holds(at is None or at.utcoffset() is not None, "instants have a zone")
    if at is not None:
        at.astimezone(UTC)


def _instant(payload: bytes) -> None:
    at = parse_instant(payload.decode("utf-8", "replace"))
    holds(at.utcoffset() == timedelta(0), "instants are in UTC")
    holds(parse_instant(format_instant(at)) == at, "an instant can be written down and read again")


def _job_id(payload: bytes) -> None:
    job_id = protocol.job_id_of(payload.decode("latin-1"), BASE)
    holds(re.fullmatch(r"[0-9]{1,18}", job_id), "a job is known by a number")


def _origin(payload: bytes) -> None:
    url = payload.decode("utf-8", "replace")
    protocol.check_origin(url, BASE)
    holds(_is_on_the_server(url), "the token goes to no other server")


def _error_for(payload: bytes) -> None:
    code, _, body = payload.partition(b"\n")
    status = int(code[:3]) if re.fullmatch(rb"[1-5][0-9][0-9]", code[:3]) else 400
    error = protocol.error_for(status, body, what="Kick-off", retry_after=None)
    holds(isinstance(error, BcdaError), "an answer becomes one of our errors")
    check_error(error)
    holds(is_loggable(getattr(error, "reason", "")), "a reason can be logged and names nobody")


def _check_types(value: Any) -> None:
    hints = get_type_hints(type(value))
    for field in fields(value):
        found, hint = getattr(value, field.name), hints[field.name]
        if hint is int:
            holds(type(found) is int, f"{field.name} is a whole number")
        elif isinstance(hint, type):
            holds(isinstance(found, hint), f"{field.name} is of its type")


def _receipt(payload: bytes) -> None:
    name = "00001-Patient.ndjson.gz"
    (FOLDER / name).write_bytes(b"abc")
    receipt_path(FOLDER, name).write_bytes(payload)
    receipt = read_receipt(FOLDER, name)
    holds(receipt is not None, "a receipt that is there is read or refused")
    _check_types(receipt)


def _landed(payload: bytes) -> None:
    landed_path(FOLDER, 0).write_bytes(payload)
    landed = read_landed(FOLDER, 0)
    holds(landed is not None, "an account that is there is read or refused")
    for value in (landed, *landed.files, *landed.lake_files):
        _check_types(value)


def _run(payload: bytes) -> None:
    (FOLDER / "run.json").write_bytes(payload)
    found = read_run(FOLDER)
    _check_types(found)
    holds(found.newest_job_before is None or type(found.newest_job_before) is int, "a job is known by a number")
    for at in (found.planned_at, found.list_at, found.asked_at):
        holds(at is None or at.utcoffset() == timedelta(0), "instants are in UTC")


def _type_filter(payload: bytes) -> None:
    type_filter = TypeFilter.from_json(_json(payload))
    holds(TypeFilter.from_json(json.loads(json.dumps(type_filter.to_json()))) == type_filter, "it is read again")
    # The simulator reads the parameter independently; the web framework has decoded it once by then.
    sent = httpx.URL(f"{BASE}/?_typeFilter={type_filter.to_parameter()}").params.get_list("_typeFilter")
    holds(typefilter.refusal(sent) is None and typefilter.names_system_type(sent), "BCDA takes the filter")


def _export_request(payload: bytes) -> None:
    document = _json(payload)
    if not isinstance(document, dict):
        return
    request = ExportRequest.from_json(document)
    path = protocol.kick_off_path(request)
    holds(path.isascii() and path.isprintable() and " " not in path, "a request can be sent")
    holds(httpx.URL(BASE + path).host == "api.example.org", "a request goes to the server")
    holds(ExportRequest.from_json(json.loads(json.dumps(request.to_json()))) == request, "it is read again")


def _settings(payload: bytes) -> None:
    document = _json(payload)
    if not isinstance(document, dict):
        return
    known = {field.name for field in fields(Tuning)}
    extra = document.get("extra")
    tuning = Tuning(**{key: value for key, value in extra.items() if key in known} if isinstance(extra, dict) else {})
    for field in fields(Tuning):
        value = getattr(tuning, field.name)
        holds(isinstance(value, bool | str) or 0 < value < math.inf, "durations and counts are finite and positive")
    base_url = str(document.get("host", ""))
    try:
        settings = ConnectionSettings(base_url, "id", "secret", tuning=tuning)
    except BcdaError as error:
        holds("hunter2" not in str(error), "a password in the address is not shown")
        raise
    url = httpx.URL(settings.base_url)
    holds(url.scheme == "https" or server_of(settings.base_url) == "loopback", "plain http is for this machine")
    holds((url.scheme, url.host) == protocol.origin(settings.base_url)[:2] or not base_url.isascii(), "one origin")
    holds("secret" not in repr(settings), "a secret is not shown")


def _json(payload: bytes) -> Any:
    """Return the value that a form or a stored file would hold; whatever is no JSON is nobody's input."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _gzip(payload: bytes) -> None:
    """Compare our readers with Python's own: both refuse, or both count the same lines and bytes."""
    path = FOLDER / "00001-Patient.ndjson.gz"
    path.write_bytes(payload)
    proof = _unless_incomplete(lambda: verify_gzip(path))
    if not payload:
        holds(proof is None, "a file of no bytes is not whole")
        return
    try:
        content = gzip.decompress(payload)
    except zlib.error:
        # Python's decoder refuses codes that it would never use; ours may read them, and proves what it read by CRC.
        return
    except (OSError, EOFError):
        content = None
    lines = _unless_incomplete(lambda: _lines_of(path))
    holds((proof is None) == (lines is None), "proof and landing agree on what is whole")
    # A CRC of the header is checked by ours and skipped by Python's.
    if content is None or not any(flags[0] & 2 for flags in re.findall(rb"\x1f\x8b\x08(.)", payload, re.DOTALL)):
        holds((proof is None) == (content is None), "a file is whole when Python's gzip says so")
    if content is not None and proof is not None:
        expected = content.split(b"\n")[: None if content[-1:] not in {b"\n", b""} else -1]
        holds(proof.content_bytes == len(content), "bytes are counted")
        holds(proof.lines == len(expected), "lines are counted")
        holds(lines == [_as_read(line) for line in expected], "lines are read as they are")


def _as_read(line: bytes) -> bytes | None:
    """Return what a reader makes of a line: nothing of one that is too long, no bytes of a blank one."""
    line = line if line.strip(b" \t\r\n") else b""
    return line if len(line) < 4096 else None


def _unless_incomplete(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except IncompleteFileError as error:
        check_error(error)
        return None


def _lines_of(path: Path) -> list[bytes | None]:
    found: dict[int, bytes | None] = {}
    for part in LineReader(4096).slices([path]):
        rows = range(part.first_row, part.first_row + len(part))
        found |= {part.origin(row)[1]: part.line(row) for row in rows}
        found |= dict.fromkeys((number for _, number, *_ in part.oversized), None)
        found |= dict.fromkeys((first + each for _, first, lines in part.blank for each in range(lines)), b"")
    return [found[number] for number in sorted(found)]


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}


def _outcome(text: str) -> bytes:
    return _dumped({**_OUTCOME, "issue": [{**_OUTCOME["issue"][0], "diagnostics": text, "details": {"text": text}}]})


_MANIFEST = {
    "transactionTime": "2026-08-18T02:11:09.481Z",
    "request": f"{BASE}/api/v2/Group/all/$export?_type=Patient",
    "requiresAccessToken": True,
    "output": [
        {"type": kind, "url": f"{BASE}/data/42/{n}.ndjson"} for n, kind in enumerate(("Patient", "Patient", "Coverage"))
    ],
    "error": [{"type": "OperationOutcome", "url": f"{BASE}/data/42/a-error.ndjson"}],
    "JobID": 42,
}
_TASK = {
    "resourceType": "Task",
    "identifier": [{"use": "official", "system": f"{BASE}/api/v2/jobs", "value": "42"}],
    "status": "in-progress",
    "intent": "order",
    "input": [
        {
            "type": {"text": "BULK FHIR Export"},
            "valueString": f"GET {BASE}/api/v2/Group/all/$export?_type=Patient,Coverage",
        }
    ],
    "executionPeriod": {"start": "2026-08-17T00:07:48Z", "end": "2026-08-18T00:07:48Z"},
}
_JOBS = {"resourceType": "Bundle", "type": "searchset", "total": 2, "entry": [{"resource": _TASK}, {"resource": _TASK}]}
_DATES = {
    "ingestion_dates": [
        {"timestamp": "2026-08-05T15:31:27Z", "type": "last_attribution_update"},
        {"timestamp": "2026-07-10T11:02:03Z", "type": "last_runout_update"},
    ]
}
_RUN = {
    "run_id": "20261110T120000Z-patient-v2-abc",
    "request": {**REQUEST.to_json(), "since": "2026-08-05T15:31:27Z"},
    "planned_at": "2026-08-05T15:31:27Z",
    "source_id": "bcda_default",
    "server": BASE,
    "reason": "first run",
    "may_ask_for_all": False,
    "list_at": None,
    "asked_at": "2026-08-05T15:31:27Z",
    "newest_job_before": 41,
}
_RECEIPT = {
    "name": "00001-Patient.ndjson.gz",
    "kind": "output",
    "resource_type": "Patient",
    "url": f"{BASE}/data/42/a.ndjson",
    "wire_bytes": 3,
    "wire_sha256": "0" * 64,
    "content_bytes": 9,
    "lines": 1,
}
_LANDED_FILE = {key: value for key, value in _RECEIPT.items() if key not in {"url", "lines"}} | {
    "lines_read": 3,
    "rows_landed": 2,
    "lines_quarantined": 1,
}
_LANDED = {
    "run_id": _RUN["run_id"],
    "batch": 0,
    "files": [_LANDED_FILE],
    "lake_files": [{"table": "claim", "path": "claim/api_version=v2/export_date=2026-11-10/r1-000.parquet", "rows": 2}],
}
_FILTER = {
    "systems": ["NationalClaimsHistory", "DDPS"],
    "final_action": "FinalAction",
    "outcome": "complete",
    "service_from": "2026-01-01",
    "service_through": "2026-03-31",
}
_SETTINGS = {
    "host": BASE,
    "extra": {"poll_seconds": 5, "max_attempts": 3, "credentials_made_on": "2026-11-01", "parallel_jobs": True},
}
_STORED_MANIFEST = Manifest(
    "42", NOW, "x", 12.5, protocol.manifest_of(_dumped(_MANIFEST), base_url=BASE, expires_in=None).files
).to_bytes()
_EXPIRES = b"2026-08-22 19:02:15.123456 +0000 UTC"
_HTTP_DATE = email.utils.format_datetime(NOW, usegmt=True).encode()
_REASON = _outcome(f"no Patient resources for MBI {CANARY} in ACO 1")
_EMPTY_MEMBER = bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000")

TARGETS: dict[str, Target] = {
    "manifest": Target(_manifest, (_dumped(_MANIFEST), _dumped({**_MANIFEST, "output": [], "error": []}))),
    "jobs": Target(_jobs, (_dumped(_JOBS), b'{"entry":null}')),
    "attribution": Target(_attribution, (_dumped(_DATES), b'{"ingestion_dates":[]}')),
    "metadata": Target(_metadata, (b'{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1"}',)),
    "health": Target(_health, (b'{"database":"ok","ssas":"ok","ssas_introspect":"ok"}',)),
    "reason": Target(_reason, (_REASON, _outcome("") + _outcome("Not Found") + b"\n", b"Internal Server Error\n")),
    "token": Target(_token, (b'{"access_token":"abc.def","expires_in":"1200","token_type":"bearer"}',)),
    "status": Target(
        _status,
        (
            b"\n".join((b"200", b"", _EXPIRES, _HTTP_DATE, _dumped(_MANIFEST))),
            b"202\nIn Progress (80%)\n\n\n",
            b"500\n\n\n\n" + _outcome("job failed"),
            b"404\n\n\n\n" + _outcome("Job has been cancelled.") + _outcome(""),
        ),
    ),
    "retry_after": Target(_retry_after, (b"120", b"0", b"1.5", _HTTP_DATE, b"soon")),
    "expires": Target(_expires, (_EXPIRES + b"\n" + _HTTP_DATE, _HTTP_DATE + b"\n" + _HTTP_DATE)),
    "lenient_instant": Target(
        _lenient_instant, (_EXPIRES, _HTTP_DATE, b"2026-08-17T00:07:48Z", b"Mon, 17 Aug 2026 00:00:00 +0100")
    ),
    "instant": Target(_instant, (b"2026-08-17T00:07:48Z", b"2026-08-17T00:07:48.123456-05:00"), is_from_us=True),
    "job_id": Target(_job_id, (f"{BASE}/api/v2/jobs/42".encode(),)),
    "origin": Target(
        _origin, (f"{BASE}/data/1/x.ndjson".encode(), f"{BASE}:443/x?y#z".encode(), b"https://a:b@[::1]:9/")
    ),
    "error_for": Target(_error_for, (b"400\n" + _REASON, b"404\n" + _REASON, b"503\nx", b"429\n")),
    "stored_manifest": Target(_stored_manifest, (_STORED_MANIFEST,), is_from_us=True),
    "receipt": Target(_receipt, (_dumped(_RECEIPT),)),
    "landed": Target(_landed, (_dumped(_LANDED),)),
    "run": Target(_run, (_dumped(_RUN),), is_from_us=True),
    "type_filter": Target(_type_filter, (_dumped(_FILTER), b"{}"), is_from_us=True),
    "export_request": Target(
        _export_request,
        (_dumped(_RUN["request"]), _dumped({**REQUEST.to_json(), "api_version": "v3", "type_filter": _FILTER})),
        is_from_us=True,
    ),
    "settings": Target(
        _settings,
        (_dumped(_SETTINGS), b'{"host":"http://127.0.0.1:8080/"}', b'{"host":"https://me:hunter2@x:9/"}'),
        is_from_us=True,
    ),
    "gzip": Target(
        _gzip,
        (
            gzip.compress(b'{"a":1}\n{"b":2}\n', mtime=0) + _EMPTY_MEMBER,
            gzip.compress(b"x\n", mtime=0) + gzip.compress(b"y" * 5000 + b"\nz", mtime=0),
        ),
    ),
}
NAMES = tuple(TARGETS)
