"""The simulator against the wire contract, over plain HTTP and without the library."""

import gzip
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from bcda_simulator import Entity, Fault, FaultKind, Quirks, SimulatorServer, SimulatorSettings

HEADERS = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
START = datetime(2026, 11, 10, 12, tzinfo=UTC)
MEMBER = bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000")


@pytest.fixture
def call(serve) -> Callable[..., httpx.Response]:
    server: SimulatorServer = serve(start=START, settings=SimulatorSettings(pending_seconds=30))
    return caller(server)


def caller(server, client_id=None, secret=None):
    http = httpx.Client(base_url=server.base_url)
    entity = server.entity
    answer = http.post("/auth/token", auth=(client_id or entity.client_id, secret or entity.client_secret))
    token = answer.json()["access_token"]

    def call(method, path, headers=None, *, bare=False):
        default = {} if bare else {**HEADERS, "Authorization": f"Bearer {token}"}
        return http.request(method, path, headers={**default, **(headers or {})})

    call.server = server
    return call


def body_v2(status_code, code, text):
    detail = {"system": "http://hl7.org/fhir/ValueSet/operation-outcome", "code": "Request Error"}
    issue = {"severity": "error", "code": code}
    if text:
        detail["display"] = text
        issue["diagnostics"] = text
    issue["details"] = {"coding": [detail]} | ({"text": text} if text else {})
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}, separators=(",", ":"))


def test_the_token_endpoint(serve):
    server = serve()
    url = f"{server.base_url}/auth/token"
    good = httpx.post(url, auth=(server.entity.client_id, server.entity.client_secret))
    assert good.status_code == 200
    assert good.text.startswith('{"access_token": "')
    assert good.text.endswith('", "expires_in": "1200", "token_type":"bearer"}')
    assert good.headers["connection"] == "close"
    refused = [
        httpx.post(url),
        httpx.post(url, auth=("nobody", "x")),
        httpx.post(url, auth=(server.entity.client_id, "x")),
    ]
    assert [(answer.status_code, answer.text) for answer in refused] == [
        (400, "Bad Request\n"),
        (401, "Unauthorized\n"),
        (401, "Unauthorized\n"),
    ]


def test_the_token_limit_counts_per_organization(serve):
    server = serve(settings=SimulatorSettings(token_limit=2))
    answers = [httpx.post(f"{server.base_url}/auth/token", auth=(server.entity.client_id, "x")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[2].headers["retry-after"] == "300"
    assert (
        answers[2].text
        == "A9999 exceeded the rate limit for /auth/token. Access tokens last 20 minutes; please cache and reuse them.\n"
    )


@pytest.mark.parametrize(
    ("authorization", "status", "code", "text"),
    [
        (None, 401, "forbidden", "Invalid Token"),
        ("Basic abc", 401, "forbidden", "Invalid Token"),
        ("Bearer  two", 401, "forbidden", "Invalid Token"),
        ("Bearer x", 400, "structure", "Request Error"),
        ("Bearer a.b.c", 401, "forbidden", "Expired Token"),
    ],
    ids=["missing", "basic", "two-blanks", "no-jwt", "unknown"],
)
def test_the_bearer_check(call, authorization, status, code, text):
    answer = call(
        "GET", "/api/v2/attribution_status", {"Authorization": authorization} if authorization else {}, bare=True
    )
    assert (answer.status_code, answer.text) == (status, body_v2(status, code, text))


EXPORT = "/api/v2/Patient/$export"


@pytest.mark.parametrize(
    ("path", "headers", "status", "text"),
    [
        (f"{EXPORT}?_outputFormat=csv", {}, 400, None),
        (f"{EXPORT}?_elements=id", {}, 400, "Invalid parameter: this server does not support the _elements parameter."),
        (f"{EXPORT}??_type=Patient", {}, 400, "Invalid parameter: query parameters cannot start with ?"),
        (
            f"{EXPORT}?_since=2026-01-01",
            {},
            400,
            "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format.",
        ),
        (
            f"{EXPORT}?_since=",
            {},
            400,
            "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format.",
        ),
        (
            f"{EXPORT}?_since=2026-12-01T00:00:00Z",
            {},
            400,
            "Invalid date format supplied in _since parameter. Date must be a date that has already passed",
        ),
        (
            f"{EXPORT}?_since=2026-01-01T00:00:00+01:00",
            {},
            400,
            "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format.",
        ),
        (f"{EXPORT}?_type=Patient,Patient", {}, 400, "Repeated resource type Patient"),
        (EXPORT, {"Accept": ""}, 400, "Accept header is required"),
        (EXPORT, {"Accept": "*/*"}, 400, "application/fhir+json is the only supported response format"),
        (EXPORT, {"Prefer": ""}, 400, "Prefer header is required"),
        (EXPORT, {"Prefer": "handling=lenient"}, 400, "Only asynchronous responses are supported"),
        ("/api/v2/Group/new/$export", {}, 400, "Invalid group ID"),
        ("/api/v2/Group/ALL/$export", {}, 400, "Invalid group ID"),
        (f"{EXPORT}?_type=", {}, 400, None),
        (f"{EXPORT}?_type=patient", {}, 400, None),
        (
            "/api/v2/Group/all/$export?_type=Patient&_since=2020-01-01T00:00:00Z",
            {},
            404,
            "failed to start job; attribution file not found for given _since parameter.",
        ),
    ],
)
def test_refusals_of_a_kick_off(call, path, headers, status, text):
    answer = call("GET", path, headers)
    assert answer.status_code == status
    found = answer.json()["issue"][0]["diagnostics"]
    if text is not None:
        assert answer.text == body_v2(status, "structure" if status == 400 else "not-found", text)
    assert answer.headers["content-type"] == "application/fhir+json"
    assert found


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        ("v1", ["severity", "code", "diagnostics"]),
        ("v2", ["severity", "code", "diagnostics", "details"]),
        ("v3", ["severity", "code", "diagnostics", "details"]),
    ],
)
def test_errors_have_the_shape_of_their_version(call, version, keys):
    issue = call("GET", f"/api/{version}/Patient/$export?_type=Patient,Patient").json()["issue"][0]
    assert list(issue) == keys


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/api/v2/Patient/%24export", 404, None),
        ("GET", "/api/v1/Coverage/$export", 404, None),
        ("GET", "/API/v2/metadata", 404, None),
        ("GET", "/nowhere", 404, None),
        ("POST", EXPORT, 405, "GET"),
        ("HEAD", "/api/v2/metadata", 405, "GET"),
        ("PUT", "/api/v2/jobs/1", 405, "DELETE, GET"),
    ],
)
def test_unknown_paths_and_methods(call, method, path, status, allow):
    answer = call(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)
    assert answer.text == ("404 page not found\n" if status == 404 else "")


def test_only_the_first_of_a_repeated_parameter_counts_and_unknown_ones_are_ignored(call):
    answer = call("GET", f"{EXPORT}?_type=Patient&_type=Coverage&_until=2026-01-01")
    assert answer.status_code == 202
    assert answer.content == b""
    assert answer.headers["content-location"] == f"{call.server.base_url}/api/v2/jobs/1"
    assert call.server.job(1).resource_types == ("Patient",)


@pytest.mark.parametrize(
    ("running", "asked", "refused"),
    [
        ("?_type=Patient", "?_type=Patient", True),
        ("?_type=Patient", "?_type=Coverage", False),
        ("?_type=Patient", "", True),
        ("", "?_type=Patient", True),
        ("?_type=Patient", "?_type=Patient,Coverage", True),
        ("?_type=Patient,Coverage", "?_type=Patient", False),
    ],
    ids=["same", "disjoint", "new-without-type", "running-without-type", "running-within-new", "unsplit-quirk"],
)
def test_overlapping_jobs(call, running, asked, refused):
    assert call("GET", f"/api/v2/Group/all/$export{running}").status_code == 202
    answer = call("GET", f"{EXPORT}{asked}")
    assert answer.status_code == (429 if refused else 202)
    if refused:
        assert (answer.headers["retry-after"], answer.content) == ("0", b"")
    assert call("GET", f"/api/v3/Patient/$export{asked}").status_code == 202


def finish(call, path=EXPORT + "?_type=Patient"):
    number = call("GET", path).headers["content-location"].rpartition("/")[2]
    call.server.clock.advance(60)
    call.server.job(int(number)).written.wait(10)
    return f"/api/v2/jobs/{number}"


def test_a_job_from_pending_to_gone(call):
    job = call("GET", f"{EXPORT}?_type=Patient").headers["content-location"].removeprefix(call.server.base_url)
    pending = call("GET", job)
    assert (pending.status_code, pending.headers["x-progress"], pending.content) == (202, "Pending", b"")
    assert "retry-after" not in pending.headers
    call.server.clock.advance(60)
    call.server.job(1).written.wait(10)
    done = call("GET", job)
    assert list(done.json()) == ["transactionTime", "request", "requiresAccessToken", "output", "error", "JobID"]
    assert done.json()["transactionTime"] == "2026-11-07T02:11:09.481Z"
    assert done.headers["expires"].endswith(" +0000 UTC")
    over = call("DELETE", job)
    assert (over.status_code, over.json()["issue"][0]["diagnostics"]) == (
        410,
        "job was not cancelled because it is not Pending or In Progress",
    )
    # Tokens expire with the clock; a new one is needed each time to see the job.
    call.server.clock.advance(23 * 3600)
    assert caller(call.server)("GET", job).status_code == 200
    call.server.clock.advance(3600)
    gone = caller(call.server)("GET", job)
    assert (gone.status_code, gone.json()["issue"][0]["code"]) == (410, "not-found")
    call.server.clock.advance(12 * 3600)
    archived = caller(call.server)("GET", job)
    assert archived.status_code == 404
    assert archived.text == body_v2(404, "not-found", "") * 2


def test_jobs_are_private_and_ids_checked(serve):
    server = serve(entities=(Entity(), Entity("A1111", "other", "other-secret")))
    mine, others = caller(server), caller(server, "other", "other-secret")
    assert mine("GET", EXPORT).status_code == 202
    assert others("GET", "/api/v2/jobs/1").status_code == 401
    assert mine("GET", "/api/v2/jobs/x").status_code == 400
    assert mine("GET", "/api/v2/jobs/99").status_code == 404


def test_the_job_list(call):
    nothing = call("GET", "/api/v2/jobs")
    assert nothing.status_code == 404
    assert nothing.text.endswith('{"resourceType":"Bundle","type":"searchset","total":0}')
    call("GET", f"{EXPORT}?_type=Patient")
    bundle = call("GET", "/api/v2/jobs?_status=Pending,In%20Progress").json()
    (task,) = [entry["resource"] for entry in bundle["entry"]]
    assert (task["status"], task["identifier"][0]["value"]) == ("accepted", "1")
    assert task["input"][0]["valueString"] == f"GET {call.server.base_url}{EXPORT}?_type=Patient"
    wrong = call("GET", "/api/v2/jobs?_status=pending").json()["issue"][0]["diagnostics"]
    assert wrong.startswith("invalid status type pending. Supported types map[Archived:{} Cancelled:{}")


def test_downloads_compressed_plain_and_in_part(call):
    url = call("GET", finish(call)).json()["output"][0]["url"].removeprefix(call.server.base_url)
    with httpx.stream(
        "GET", call.server.base_url + url, headers={"Authorization": authorization(call), "Accept-Encoding": "gzip"}
    ) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-length" not in answer.headers
    assert packed.endswith(MEMBER)
    plain = call("GET", url, {"Accept-Encoding": "identity"})
    assert gzip.decompress(packed) == plain.content
    assert "content-encoding" not in plain.headers
    part = {
        "Authorization": authorization(call),
        "Accept-Encoding": "gzip",
        "Range": "bytes=10-",
        "If-Range": answer.headers["last-modified"],
    }
    with httpx.stream("GET", call.server.base_url + url, headers=part) as rest:
        assert rest.status_code == 206
        assert b"".join(rest.iter_raw()) == packed[: -len(MEMBER)][10:]
    with httpx.stream(
        "GET", call.server.base_url + url, headers={**part, "If-Range": "Sat, 01 Jan 2000 00:00:00 GMT"}
    ) as whole:
        assert whole.status_code == 200


def authorization(call):
    answer = httpx.post(
        f"{call.server.base_url}/auth/token", auth=(call.server.entity.client_id, call.server.entity.client_secret)
    )
    return f"Bearer {answer.json()['access_token']}"


def test_people_that_fail_have_their_error_file(call):
    call.server.faults.add(Fault(FaultKind.PEOPLE_FAIL, people=(0,)))
    manifest = call("GET", finish(call, f"{EXPORT}?_type=Patient,ExplanationOfBenefit")).json()
    assert {entry["type"] for entry in manifest["error"]} == {"OperationOutcome"}
    outcome = call("GET", manifest["error"][0]["url"].removeprefix(call.server.base_url)).json()
    assert outcome["issue"][0]["diagnostics"].startswith("Error retrieving ")
    assert " for beneficiary MBI 1S00" in outcome["issue"][0]["diagnostics"]


def test_quirks_can_be_switched_off(serve):
    quirks = Quirks(text_expires_in=False, odd_expires=False, double_bodies=False)
    server = serve(settings=SimulatorSettings(quirks=quirks))
    answer = httpx.post(f"{server.base_url}/auth/token", auth=(server.entity.client_id, server.entity.client_secret))
    assert answer.json()["expires_in"] == 1200


def test_the_attribution_of_january_is_missing_until_february(serve):
    server = serve(start=datetime(2026, 1, 20, tzinfo=UTC))
    answer = caller(server)("GET", EXPORT)
    assert answer.status_code == 404
    assert "beginning of a Performance Year" in answer.text
    server.clock.set(datetime(2026, 2, 13, tzinfo=UTC))
    assert caller(server)("GET", EXPORT).status_code == 202


def test_group_all_with_since_brings_the_history_of_new_people_only(serve):
    from bcda_simulator.world import World

    world = World(people=120, seed=4, history_weeks=20)
    server = serve(world, start=START)
    lists = world.attribution_lists("A9999", "all", START)
    joined = set(lists[-1].people) - set(lists[-13].people)
    assert joined
    since = lists[-13].dated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert caller(server)("GET", f"/api/v2/Group/all/$export?_type=Patient&_since={since}").status_code == 202
    parts = {part.after is None: set(part.people) for part in server.job(1).parts}
    assert parts[True] == joined
    assert parts[False] == set(lists[-1].people) - joined


def test_open_endpoints(call):
    assert call("GET", "/_version", bare=True).text == '{"version":"r297"}'
    assert call("GET", "/_health", bare=True).headers["content-type"] == "text/plain; charset=utf-8"
    assert [call("GET", f"/api/{v}/metadata", bare=True).json()["fhirVersion"] for v in ("v1", "v2", "v3")] == [
        "3.0.1",
        "4.0.1",
        "4.0.1",
    ]
    assert call("GET", "/api/v2/metadata", {"Authorization": "Bearer x"}, bare=True).status_code == 400


def test_all_bodies_together_keep_to_the_limit_of_bytes(serve):
    limit = 200_000.0
    server = serve(
        start=START,
        settings=SimulatorSettings(bytes_per_second=limit, chunk_people={"ExplanationOfBenefit": 2}, pending_seconds=0),
    )
    call = caller(server)
    location = call("GET", "/api/v2/Patient/$export?_type=ExplanationOfBenefit").headers["content-location"]
    while (answer := call("GET", location)).status_code == 202:
        pass
    urls = [entry["url"] for entry in answer.json()["output"]]
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda url: call("GET", url, {"Accept-Encoding": "gzip"}), urls))
    seconds = time.monotonic() - started
    sizes = sorted(server.requests[-1 - n].body_bytes for n in range(len(urls)))
    assert len(sizes) == 3
    assert [answer.status_code for answer in answers] == [200] * 3
    # The last portion is let go when the ones before it have had their time.
    assert seconds >= (sum(sizes) - min(sizes[-1], 1 << 18)) / limit > 0
