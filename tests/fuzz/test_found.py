"""What the fuzzers found, each as the smallest input that showed it and what has to come of it now."""

import json

import documents
import duckdb
import httpx
import pytest
from contract import FindingError
from fuzz_lines import key_of, smallest
from lines import Case, pool, run
from mutations import CANARY
from rawfiles import land

from bcda.api import protocol
from bcda.api.auth import BcdaAuth
from bcda.api.protocol import AttributionStatus
from bcda.errors import BcdaError, InvalidRequestError, ManifestError, RateLimitedError, ServerError
from bcda.privacy import server_text
from bcda.settings import ApiVersion, ConnectionSettings

BASE = documents.BASE
DEEP = b"[" * 3000 + b"]" * 3000
REFERENCE_YEAR = "https://bluebutton.cms.gov/resources/variables/rfrnc_yr"
DEEP_OUTCOME = b'{"issue":[{"diagnostics":' + DEEP + b"}]}"


def manifest(**changes: object) -> bytes:
    text = json.dumps(
        {
            "transactionTime": "2026-08-18T02:11:09.481Z",
            "request": f"{BASE}/api/v2/Patient/$export",
            "output": [{"type": "Patient", "url": f"{BASE}/data/42/1.ndjson"}],
            "error": [],
            "JobID": 42,
            **changes,
        }
    )
    return text.encode()


def jobs(**changes: object) -> bytes:
    task = {
        "identifier": [{"value": "42"}],
        "status": "in-progress",
        "input": [{"valueString": f"GET {BASE}/x"}],
        **changes,
    }
    return json.dumps({"entry": [{"resource": task}]}).encode()


def outcome(text: object) -> bytes:
    return json.dumps({"issue": [{"diagnostics": text}]}).encode()


def read(target: str, payload: bytes) -> object:
    """Return what a reader makes of an input: its value, or the error."""
    readers = {
        "manifest": lambda: protocol.manifest_of(payload, base_url=BASE, expires_in=None),
        "jobs": lambda: protocol.jobs_of(payload, as_of=documents.NOW),
        "attribution": lambda: protocol.attribution_of(payload, as_of=documents.NOW),
        "health": lambda: protocol.health_of(payload),
        "metadata": lambda: protocol.metadata_of(payload),
        "reason": lambda: server_text.shown(protocol.reason_of(payload)),
        "token": lambda: protocol.token_of(payload),
        "retry_after": lambda: protocol.retry_after_seconds(payload.decode(), documents.NOW),
        "expires": lambda: protocol.expires_in_seconds(*payload.decode().split("\n")),
        "lenient_instant": lambda: protocol.lenient_instant(payload.decode()),
        "job_id": lambda: protocol.job_id_of(payload.decode(), BASE),
        "origin": lambda: protocol.check_origin(payload.decode(), BASE),
    }
    try:
        return readers[target]()
    except BcdaError as error:
        return type(error)


DOCUMENTS = {
    "manifest nested too deeply": ("manifest", DEEP, ManifestError),
    "manifest with two lists of output": (
        "manifest",
        manifest().replace(b'"error"', b'"output"'),
        ManifestError,
    ),
    "manifest whose job is no number": ("manifest", manifest(JobID=["x"]), ManifestError),
    "manifest whose job is true": ("manifest", manifest(JobID=True), ManifestError),
    "manifest whose error list is an object": ("manifest", manifest(error={}), ManifestError),
    "manifest whose time is a person": ("manifest", manifest(transactionTime=f"MBI {CANARY}"), ManifestError),
    "manifest whose time lies outside the calendar": (
        "manifest",
        manifest(transactionTime="0001-01-01T00:00:00+14:00"),
        ManifestError,
    ),
    "manifest with an address on port 0": (
        "manifest",
        manifest(output=[{"type": "Patient", "url": f"{BASE}:0/data/42/1.ndjson"}]),
        ManifestError,
    ),
    "manifest with an address over two lines": (
        "manifest",
        manifest(output=[{"type": "Patient", "url": f"{BASE}/data\n/42/1.ndjson"}]),
        ManifestError,
    ),
    "job list that is no list": ("jobs", b'{"entry":true}', ServerError),
    "job list nested too deeply": ("jobs", DEEP, ServerError),
    "listed job without a number": ("jobs", jobs(identifier=[{"value": "next"}]), []),
    "listed job whose number has no end": ("jobs", jobs(identifier=[{"value": "9" * 5000}]), []),
    "listed job whose address cannot be read": ("jobs", jobs(input=[{"valueString": "GET http://["}]), []),
    "attribution dates nested too deeply": ("attribution", DEEP, ServerError),
    "attribution date that is a number": (
        "attribution",
        b'{"ingestion_dates":[{"type":"last_attribution_update","timestamp":5}]}',
        AttributionStatus(unreadable=frozenset({"current"})),
    ),
    "metadata that are a page": ("metadata", b"<html>", ServerError),
    "health of a part that is a list": ("health", b'{"database":[1]}', {"database": "unreadable"}),
    "metadata that are a list": ("metadata", b"[]", ServerError),
    "reason nested too deeply": ("reason", DEEP_OUTCOME, ""),
    "reason that is no text": ("reason", outcome({"a": [1]}), ""),
    "reason with the controls of a terminal": (
        "reason",
        outcome("gone\n\x1b[2J\ud800"),
        "[unknown text, 9 characters]",
    ),
    "reason with a person between underscores": (
        "reason",
        outcome(f"file_{CANARY}_x"),
        f"[unknown text, {len(CANARY) + 7} characters]",
    ),
    "token nested too deeply": ("token", DEEP, ServerError),
    "token that lives for ever": ("token", b'{"access_token":"a","expires_in":1e400}', ServerError),
    "token that lives for no number": ("token", b'{"access_token":"a","expires_in":"nan"}', ServerError),
    "token that lives longer than a float": (
        "token",
        b'{"access_token":"a","expires_in":1%s}' % (b"0" * 400),
        ServerError,
    ),
    "token that ended before it began": ("token", b'{"access_token":"a","expires_in":-1}', ServerError),
    "token of a blank": ("token", b'{"access_token":" "}', ServerError),
    "wait until a zone that is no zone": ("retry_after", b"Mon, 01 Jan 2024 00:00:00 +9999999999999", None),
    "wait of thirty years": ("retry_after", b"999999999", 86_400.0),
    "wait of more years than there are": ("retry_after", b"9" * 400, 86_400.0),
    "end on an invalid date": ("expires", b"2026-02-30 19:02:15.1 +0000 UTC\nTue, 10 Nov 2026 12:00:00 GMT", None),
    "end in a zone of eighty minutes": ("expires", b"2026-08-22 19:02:15.1 +0080\nTue, 10 Nov 2026 12:00:00 GMT", None),
    "instant in the year 9999999999999999": ("lenient_instant", b"Mon, 17 Aug 9999999999999999 00:00:00 GMT", None),
    "instant at twenty-four o'clock": ("lenient_instant", b"2026-01-02 24:00:00 +0000", None),
    "job with digits of another script": ("job_id", f"{BASE}/api/v2/jobs/٤٢".encode(), ManifestError),
    "job whose number has no end": ("job_id", f"{BASE}/api/v2/jobs/{'9' * 5000}".encode(), ManifestError),
    "address with a tabulator": ("origin", b"https://api.example.org/x?\ty", ManifestError),
    "address on another host that is a person": ("origin", f"https://{CANARY}/".encode(), ManifestError),
}


@pytest.mark.parametrize(("target", "payload", "expected"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_what_was_found_in_a_document(target, payload, expected):
    assert read(target, payload) == expected
    documents.run(target, payload)


@pytest.mark.parametrize("value", ["²", "٣", "Mon, 01 Jan 2024 00:00:00 +9999999999999"])
async def test_a_token_endpoint_that_asks_for_a_wait_that_is_none_is_a_limit_all_the_same(value):
    auth = BcdaAuth(ConnectionSettings(BASE, "id", "secret"), clock=lambda: 0.0)
    flow = auth.async_auth_flow(httpx.Request("GET", f"{BASE}/x", extensions={"timeout": {}}))
    await anext(flow)
    headers = [(b"Retry-After", value.encode())]
    with pytest.raises(RateLimitedError) as caught:
        await flow.asend(httpx.Response(429, headers=headers, stream=httpx.ByteStream(b"")))
    assert caught.value.retry_after_seconds is None


OWN = {
    "stored manifest nested too deeply": ("stored_manifest", DEEP),
    "stored manifest whose time is an object": (
        "stored_manifest",
        b'{"job_id":"1","transaction_time":{},"request_url":"","expires_in_seconds":null,"files":[]}',
    ),
    "stored manifest with a file elsewhere": (
        "stored_manifest",
        documents.TARGETS["stored_manifest"].seeds[0].replace(b"00001-Patient.ndjson.gz", b"../x"),
    ),
    "receipt nested too deeply": ("receipt", DEEP),
    "receipt whose lines are text": (
        "receipt",
        documents.TARGETS["receipt"].seeds[0].replace(b'"lines":1', b'"lines":"1"'),
    ),
    "receipt whose kind is a person": (
        "receipt",
        documents.TARGETS["receipt"].seeds[0].replace(b'"output"', b'"1S00E00CA01"'),
    ),
    "account nested too deeply": ("landed", DEEP),
    "account whose rows are null": (
        "landed",
        documents.TARGETS["landed"].seeds[0].replace(b'"rows_landed":2', b'"rows_landed":null'),
    ),
    "run nested too deeply": ("run", DEEP),
    "run whose instant is a list": (
        "run",
        documents.TARGETS["run"].seeds[0].replace(b'"list_at":null', b'"list_at":[1]'),
    ),
    "instant before the calendar": ("instant", b"0001-01-01T00:00:00+14:00"),
    "base URL that cannot be read": ("settings", b'{"host":"https://["}'),
    "base URL whose host is none": ("settings", b'{"host":"https://api.example>org"}'),
    "base URL with an invalid port": ("settings", b'{"host":"https://x:99999"}'),
    "base URL with a password and another scheme": ("settings", b'{"host":"ftp://me:hunter2@x"}'),
    "date of the secret that is a number": ("settings", b'{"host":"https://x","extra":{"credentials_made_on":5}}'),
    "wait without end": ("settings", b'{"host":"https://x","extra":{"poll_seconds":1e400}}'),
    "flag that is text": ("settings", b'{"host":"https://x","extra":{"parallel_jobs":"no"}}'),
}


@pytest.mark.parametrize(("target", "payload"), OWN.values(), ids=OWN.keys())
def test_what_was_found_in_a_document_of_our_own(target, payload):
    expected = ManifestError if target in {"stored_manifest", "receipt", "landed", "run"} else InvalidRequestError
    with pytest.raises(expected):
        documents.TARGETS[target].read(payload)
    documents.run(target, payload)


def patient(**changes: object) -> dict[str, object]:
    return {**json.loads(pool(ApiVersion.V2, "Patient", 100)[0]), **changes}


def line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# Whether it is quarantined, and the line.
LINES = {
    "an element of 130 levels": (None, line(patient()).replace(b"{", b'{"x":' + b"[" * 130 + b"]" * 130 + b",", 1)),
    "an element of 12,000 levels": (
        None,
        line(patient()).replace(b"{", b'{"x":' + b"[" * 12_000 + b"]" * 12_000 + b",", 1),
    ),
    "an id that is a number, and inside it as text": ("no id", line(patient(id=7, contained=[{"id": "7"}]))),
    "updated after the calendar": (None, line(patient(meta={"lastUpdated": "9999-12-31T23:59:59-14:00"}))),
    "a name with a dot": (None, line(patient(**{"x.y": 1}))),
    "a name that is empty": (None, line(patient(**{"": 1}))),
    "a name with a quotation mark": (None, line(patient(**{'a"b': 1}))),
    "created is a number and meta is null": (None, line(patient(created=5, meta=None))),
    "created is a number and a comma too many": (None, line(patient(created=5)).replace(b"}", b",}", 1)),
    "created is a number and nan": (None, line(patient(created=5)).replace(b"{", b'{"x":nan,', 1)),
    "created is a number in a line of 3,000 levels": (
        None,
        line(patient(created=5)).replace(b"{", b'{"x":' + DEEP + b",", 1),
    ),
    "not JSON, quoted by the engine up to the middle of a letter": (
        "not JSON",
        b'{"a":"' + "xé".encode() + "💊".encode() * 300 + b'" "b"}',
    ),
    "an id that is true": ("no id", line(patient(id=True))),
    "an id that is a number": ("no id", line(patient(id=-17))),
    "two ids, with blanks": (
        None,
        line(patient(id="-1")).replace(b":", b": ").replace(b'"id": "-1"', b'"id": "-1", "id": "-2"'),
    ),
    "an id that is false and then text": (None, line(patient()).replace(b"{", b'{"id":false,', 1)),
    "born at the epoch": (None, line(patient(birthDate="epoch"))),
    "born before Christ": (None, line(patient(birthDate="-044-03-15"))),
    "born in five digits": (None, line(patient(birthDate="99999-1-01"))),
    "born at no end": (None, line(patient(birthDate="infinity"))),
    "updated at no end": (None, line(patient(meta={"lastUpdated": "infinity"}))),
    "updated in the year 99999": (None, line(patient(meta={"lastUpdated": "99999-01-01T00:00:00Z"}))),
    "updated before the calendar": (None, line(patient(meta={"lastUpdated": "0001-01-01T00:00:00+14:00"}))),
    "a reference year before Christ": (None, line(patient(extension=[{"url": REFERENCE_YEAR, "valueDate": "-001"}]))),
    "an object where a text belongs": (None, line(patient(gender={"value": "male"}))),
    "a text where a list belongs": (None, line(patient(identifier="x"))),
}


def test_what_was_found_in_lines_harms_no_other_line():
    case = Case(ApiVersion.V2, {"Patient": [text for _, text in LINES.values()]})
    try:
        run(case)
    except FindingError as finding:
        # Which one it was, when one is enough.
        alone = smallest(case, key_of(finding))
        pytest.fail(f"{finding}: {[name for name, (_, text) in LINES.items() if text in alone.bad['Patient']]}")


def test_what_was_found_in_lines_lands_or_is_set_aside(places):
    land(places, [("Patient", b"".join(text + b"\n" for _, text in LINES.values()))])
    aside = (
        duckdb.connect().execute(f"SELECT raw_line, reason FROM '{places.lake}/quarantine/*/*/*.parquet'").fetchall()
    )
    reasons = dict.fromkeys(LINES) | {list(LINES)[number - 1]: reason for number, reason in aside}
    assert reasons == {name: reason for name, (reason, _) in LINES.items()}


@pytest.mark.parametrize(("column", "table"), [("birth_date", "patient"), ("meta_last_updated", "resource")])
def test_an_instant_that_is_none_is_null(places, column, table):
    bad = [text for name, (_, text) in LINES.items() if name.startswith(("born", "updated"))]
    land(places, [("Patient", b"".join(text + b"\n" for text in bad))])
    names = [name.partition(" ")[0] for name in LINES if name.startswith(("born", "updated"))]
    query = f"SELECT {column} IS NULL FROM '{places.lake}/{table}/*/*/*.parquet' ORDER BY raw_line"
    is_null = [row[0] for row in duckdb.connect().execute(query).fetchall()]
    assert is_null == [name == ("born" if column == "birth_date" else "updated") for name in names]
