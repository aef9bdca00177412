"""The simulator against docs/bcda.md, over plain HTTP and without the library."""

import gzip
import http.client
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
    # Attempts with an unknown client id are nobody's, so they are not counted.
    strangers = [httpx.post(f"{server.base_url}/auth/token", auth=("nobody", "x")) for _ in range(3)]
    assert [answer.status_code for answer in strangers] == [401, 401, 401]
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
    assert packed.endswith(MEMBER)
    # Short answers have a length, which counts the empty member; long ones come in chunks (docs/bcda.md#downloads).
    assert len(packed) < 2048
    assert answer.headers["content-length"] == str(len(packed))
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
    size = len(packed) - len(MEMBER)
    assert rest.headers["content-range"] == f"bytes 10-{size - 1}/{size}"
    inside = call("GET", url, {"Accept-Encoding": "gzip", "Range": f"bytes={size + 7}-"})
    assert (inside.status_code, inside.headers["content-range"]) == (416, f"bytes */{size}")
    assert inside.content == b"invalid range: failed to overlap\n" + MEMBER
    with httpx.stream(
        "GET", call.server.base_url + url, headers={**part, "If-Range": "Sat, 01 Jan 2000 00:00:00 GMT"}
    ) as whole:
        assert whole.status_code == 200


def test_the_file_of_warnings_is_compressed_on_the_way(serve):
    call = caller(serve(start=START))
    job = finish(call, "/api/v3/Patient/$export?_type=ExplanationOfBenefit")
    url = call("GET", job).json()["error"][0]["url"].removeprefix(call.server.base_url)
    assert url.endswith("/warnings-and-info.ndjson")
    packed = call("GET", url, {"Accept-Encoding": "gzip"})
    plain = call("GET", url, {"Accept-Encoding": "identity"})
    assert (packed.headers["content-encoding"], packed.content) == ("gzip", plain.content)
    beyond = call("GET", url, {"Accept-Encoding": "gzip", "Range": "bytes=4000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(plain.content)}")
    assert "content-encoding" not in beyond.headers
    assert gzip.decompress(beyond.content) == b"invalid range: failed to overlap\n"


# What running the real server has shown


REFUSED = {"Authorization": "Bearer a.b.c"}


def on_one_connection(server, *requests):
    """Send requests over one connection as long as it is open; return status, start of the body, and whether it stayed open."""
    connection, found = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=10), []
    for method, path, headers in requests:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        found.append((answer.status, "Outcome" if "OperationOutcome" in body else body, not answer.will_close))
        if answer.will_close:
            break
    connection.close()
    return found


def test_a_refused_token_leaves_the_connection_to_its_handler(serve):
    server = serve()
    basic = {"Authorization": httpx.BasicAuth(server.entity.client_id, server.entity.client_secret)._auth_header}
    api, data, token = ("GET", "/api/v2/jobs/1"), ("GET", "/data/1/x.ndjson"), ("POST", "/auth/token")
    open_401, closed_404 = (401, "Outcome", True), (404, "404 page not found\n", False)
    assert on_one_connection(server, (*api, REFUSED), (*token, basic), (*token, {})) == [open_401, open_401, closed_404]
    assert on_one_connection(server, (*data, REFUSED), (*token, basic), (*api, {})) == [open_401, open_401, closed_404]
    assert on_one_connection(server, (*api, REFUSED), (*data, {})) == [open_401, closed_404]
    assert on_one_connection(server, ("GET", "/auth/welcome", REFUSED), (*api, REFUSED)) == [open_401, closed_404]
    assert [status for status, _, is_open in on_one_connection(server, (*token, basic)) if not is_open] == [200]


def test_without_the_quirk_every_connection_is_closed(serve):
    server = serve(settings=SimulatorSettings(quirks=Quirks(refusals_keep_connections=False)))
    refused = [("GET", "/api/v2/jobs/1", REFUSED), ("GET", "/data/1/x.ndjson", REFUSED)]
    assert [is_open for one in refused for _, _, is_open in on_one_connection(server, one)] == [False, False]


def test_a_gone_token_service(call):
    call.server.faults.add(Fault(FaultKind.TOKEN_SERVICE_GONE))
    with pytest.raises(httpx.RemoteProtocolError):
        caller(call.server)
    answer = call("GET", "/api/v2/jobs/1")
    assert (answer.status_code, answer.text) == (500, body_v2(500, "exception", "Internal Error"))
    health = call("GET", "/_health", bare=True)
    assert (health.status_code, health.json()["ssas"]) == (502, "Cannot connect to SSAS")


@pytest.mark.parametrize(
    ("query", "types", "since"),
    [
        ("_type=Patient&_since=2026-01-01T00:00:00%ZZ", ("Patient",), False),
        ("_type=Patient&_since=2026-01-01T00:00:00Z;x", ("Patient",), False),
        ("_type=Patient%2&_since=2026-01-01T00:00:00Z", ("Patient", "ExplanationOfBenefit", "Coverage"), True),
        ("_type=Patient&_since=2026-01-01T00%3A00%3A00Z", ("Patient",), True),
    ],
    ids=["bad escape", "semicolon", "bad escape of a type", "well"],
)
def test_a_parameter_that_cannot_be_read_is_dropped_whole(call, query, types, since):
    job = finish(call, f"/api/v1/Patient/$export?{query}")
    assert call.server.job(1).resource_types == types
    assert all((part.after is not None) is since for part in call.server.job(1).parts)
    assert call("GET", job).json()["request"].endswith(f"$export?{query}")


def test_a_filter_that_cannot_be_unescaped(call):
    answer = call("GET", "/api/v3/Patient/$export?_typeFilter=ExplanationOfBenefit%3Foutcome%3D%25zz")
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["diagnostics"] == "failed to unescape %zz"


def test_expires_drops_the_zeros_of_its_fraction(serve):
    found = set()
    for fraction in ("", ".5", ".25"):
        start = datetime.fromisoformat(f"2026-11-10T12:00:00{fraction}+00:00")
        call = caller(serve(start=start, settings=SimulatorSettings(pending_seconds=0)))
        job = finish(call)
        call.server.job(1).completed_at = start
        found.add(call("GET", job).headers["expires"])
    assert found == {f"2026-11-11 12:00:00{fraction} +0000 UTC" for fraction in ("", ".5", ".25")}


def test_an_archived_job_and_a_foreign_one_with_a_second_outcome(serve):
    entities = (Entity(), Entity(cms_id="A0002", client_id="other"))
    call = caller(
        serve(start=START, entities=entities, settings=SimulatorSettings(quirks=Quirks(second_outcome_forbidden=True)))
    )
    job = finish(call)
    second = body_v2(401, "forbidden", "")
    assert caller(call.server, "other")("GET", job).text == second * 2
    call.server.clock.advance(48 * 3600)
    assert caller(call.server)("GET", job).text == body_v2(404, "not-found", "") + second


def authorization(call):
    answer = httpx.post(
        f"{call.server.base_url}/auth/token", auth=(call.server.entity.client_id, call.server.entity.client_secret)
    )
    return f"Bearer {answer.json()['access_token']}"


def test_people_that_fail_have_their_error_file(call):
    call.server.faults.add(Fault(FaultKind.PEOPLE_FAIL, people=(0,), look_up=False))
    manifest = call("GET", finish(call, f"{EXPORT}?_type=Patient,ExplanationOfBenefit")).json()
    assert {entry["type"] for entry in manifest["error"]} == {"OperationOutcome"}
    outcome = call("GET", manifest["error"][0]["url"].removeprefix(call.server.base_url)).json()
    assert outcome["issue"][0]["diagnostics"].startswith("Error retrieving ")
    assert " for beneficiary MBI 1S00" in outcome["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    ("resource_type", "text"),
    [
        ("Coverage", "Error retrieving BlueButton ID for cclfBeneficiary MBI 1S00"),
        ("Claim", "Error retrieving Claim for "),
    ],
)
def test_a_short_outage_is_a_few_people_beside_the_data_file_of_its_type(call, resource_type, text):
    call.server.faults.add(Fault(FaultKind.SHORT_OUTAGE, resource_type=resource_type, times=2))
    manifest = call("GET", finish(call, f"{EXPORT}?_type=Patient,Claim,Coverage")).json()
    (error,) = manifest["error"]
    data = error["url"].replace("-error.ndjson", ".ndjson")
    assert [entry["type"] for entry in manifest["output"] if entry["url"] == data] == [resource_type]
    lines = call("GET", error["url"].removeprefix(call.server.base_url)).text.splitlines()
    texts = [json.loads(line)["issue"][0]["diagnostics"] for line in lines]
    assert len(texts) == 2
    assert all(line.startswith(text) for line in texts)


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


def simulated(serve, *faults, entity=None, **settings):
    return caller(
        serve(
            start=START,
            entities=(entity or Entity(),),
            settings=SimulatorSettings(**settings),
            faults=[Fault(kind) for kind in faults],
        )
    )


def states(call, *advances):
    """Start a job, and return its state now and after each step of the clock, in seconds."""
    assert call("GET", EXPORT + "?_type=Patient").status_code == 202
    return [call.server.jobs()[1], *(later(call, seconds) for seconds in advances)]


def later(call, seconds):
    call.server.clock.advance(seconds)
    # Files are written by our clock.
    deadline = time.monotonic() + 5
    while (state := call.server.jobs()[1]) == "In Progress" and call.server.job(1).fails_after_seconds is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return state


MINUTE = 60


def test_an_upstream_that_is_gone_for_a_while_delays_the_preparation_and_for_long_leaves_the_job_pending(serve):
    call = simulated(serve, FaultKind.UPSTREAM_GONE)
    assert states(call, 78 * MINUTE, 22 * 60 * MINUTE) == ["Pending"] * 3
    call.server.faults.clear()
    assert later(call, 60 * MINUTE) == "Pending"
    brief = simulated(serve, FaultKind.UPSTREAM_GONE)
    assert states(brief, 5 * MINUTE) == ["Pending"] * 2
    brief.server.faults.clear()
    # The next try, the sixth, is 16 minutes after the start.
    assert [later(brief, 5 * MINUTE), later(brief, 7 * MINUTE), later(brief, MINUTE)][::2] == ["Pending", "Completed"]


@pytest.mark.parametrize("returns", [True, False])
def test_a_job_canceled_while_its_preparation_fails_comes_back_if_switched_on(serve, returns):
    call = simulated(serve, FaultKind.UPSTREAM_GONE, cancelled_jobs_return=returns)
    assert states(call, 20) == ["Pending"] * 2
    assert call("DELETE", "/api/v2/jobs/1").status_code == 202
    assert later(call, 10) == "Cancelled"
    call.server.faults.clear()
    later(call, 120)
    assert later(call, 10) == ("Completed" if returns else "Cancelled")


@pytest.mark.parametrize(("version", "fault"), [("v2", FaultKind.JOB_FAILS), ("v3", FaultKind.UPSTREAM_GONE)])
def test_a_job_that_fails_is_in_progress_first_and_never_heals(serve, version, fault):
    call = simulated(serve)
    call.server.faults.add(Fault(fault, seconds=100))
    path = f"/api/{version}/jobs/1"
    assert call("GET", f"/api/{version}/Patient/$export?_type=Patient").status_code == 202
    call.server.clock.advance(90)
    assert call("GET", path).headers["x-progress"].startswith("In Progress")
    call.server.faults.clear()
    call.server.clock.advance(11)
    failed = call("GET", path)
    assert failed.status_code == 500
    assert "Service encountered numerous errors. Job failed to complete." in failed.text
    call.server.clock.advance(90 * MINUTE)
    assert call.server.jobs() == {1: "Failed"}


def test_a_job_without_types_of_an_entity_without_adjudicated_data_stays_pending(serve):
    entity = Entity(has_adjudicated=False)
    for version, state in (("v1", "Pending"), ("v2", "Completed")):
        call = simulated(serve, entity=entity)
        assert call("GET", f"/api/{version}/Patient/$export").status_code == 202
        assert later(call, 60 * MINUTE) == state
    named = simulated(serve, entity=entity)
    assert states(named, MINUTE)[1] == "Completed"


def test_a_cancellation_that_is_lost_is_answered_like_any_other(serve):
    call = simulated(serve, FaultKind.CANCEL_LOST, pending_seconds=30)
    assert states(call) == ["Pending"]
    assert call("DELETE", "/api/v2/jobs/1").status_code == 202
    assert later(call, MINUTE) == "Completed"
