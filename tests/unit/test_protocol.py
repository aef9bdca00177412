import json
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import pytest

from bcda.api import protocol
from bcda.api.export_request import ExportRequest, Scope, format_instant, parse_instant
from bcda.api.manifest import Manifest
from bcda.api.protocol import JobState
from bcda.api.type_filter import ClaimOutcome, TypeFilter
from bcda.errors import (
    AttributionMissingError,
    CredentialsError,
    InvalidRequestError,
    ManifestError,
    RateLimitedError,
    ServerError,
)
from bcda.settings import ApiVersion

NOW = datetime(2026, 8, 22, 12, tzinfo=UTC)
BASE = "https://api.example.org"


@pytest.mark.parametrize(
    ("scope", "since", "path"),
    [
        (Scope.PATIENT, None, "/api/v2/Patient/$export?_type=Patient,Coverage"),
        (
            Scope.GROUP_ALL,
            "2026-01-01T00:00:00Z",
            "/api/v2/Group/all/$export?_type=Patient,Coverage&_since=2026-01-01T00:00:00Z",
        ),
        (
            Scope.GROUP_RUNOUT,
            "2026-01-01T01:00:00.250+02:00",
            "/api/v2/Group/runout/$export?_type=Patient,Coverage&_since=2025-12-31T23:00:00.25Z",
        ),
    ],
    ids=["patient", "group", "offset-and-fraction"],
)
def test_kick_off_path(scope, since, path):
    request = ExportRequest(ApiVersion.V2, scope, ("Patient", "Coverage"), since and parse_instant(since))
    assert protocol.kick_off_path(request) == path


@pytest.mark.parametrize(
    ("listed", "is_same"),
    [
        ("https://other-name/api/v2/Patient/$export?_type=Patient,Coverage", True),
        ("https://x/api/v2/Patient/%24export?_type=Patient%2CCoverage", True),
        ("https://x/api/v3/Patient/$export?_type=Patient,Coverage", False),
        ("https://x/api/v2/Patient/$export?_type=Coverage,Patient", False),
        ("https://x/api/v2/Patient/$export?_type=Patient,Coverage&_since=2026-01-01T00:00:00Z", False),
    ],
    ids=["host", "escaped", "version", "order", "since"],
)
def test_same_request(listed, is_same):
    assert protocol.same_request(listed, "/api/v2/Patient/$export?_type=Patient,Coverage") is is_same


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("Sat, 22 Aug 2026 12:00:30 GMT", 30.0),
        ("Sat, 22 Aug 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
    ids=["none", "zero", "seconds", "date", "past", "nonsense", "negative", "empty"],
)
def test_retry_after(value, seconds):
    assert protocol.retry_after_seconds(value, NOW) == seconds


def test_a_date_to_wait_for_is_measured_by_the_servers_clock():
    ours = NOW + timedelta(hours=5)
    headers = {"retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}
    assert protocol.wished_wait_seconds(headers, NOW) == 30
    assert protocol.wished_wait_seconds({**headers, "date": format_datetime(NOW, usegmt=True)}, ours) == 30
    assert protocol.wished_wait_seconds({**headers, "date": "now"}, NOW) == 30


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [
        ("2026-08-22 19:02:15.123456 +0000 UTC", 25335.123456),
        ("2026-08-22 19:02:15.123456789 +0000 UTC", 25335.123456),
        ("2026-08-22 19:02:15 +0000 UTC", 25335.0),
        ("2026-08-22 21:02:15.5 +0200 CEST", 25335.5),
        ("2026-08-22T19:02:15Z", 25335.0),
        ("Sat, 22 Aug 2026 19:02:15 GMT", 25335.0),
        ("tomorrow", None),
        (None, None),
    ],
    ids=["bcda", "nanoseconds", "no-fraction", "zone", "iso", "http", "nonsense", "none"],
)
def test_expires_in_seconds_by_the_servers_clock(expires, seconds):
    assert protocol.expires_in_seconds(expires, "Sat, 22 Aug 2026 12:00:00 GMT") == seconds


@pytest.mark.parametrize("digits", range(10))
def test_expires_has_as_many_digits_as_it_needs(digits):
    """BCDA drops trailing zeros, down to no fraction at all (docs/bcda.md#job-status)."""
    fraction = "123456789"[:digits]
    expires = f"2026-08-22 12:00:01{'.' if fraction else ''}{fraction} +0000 UTC"
    found = protocol.expires_in_seconds(expires, "Sat, 22 Aug 2026 12:00:00 GMT")
    assert found == pytest.approx(1 + float(f"0.{fraction[:6]}0"), abs=1e-9)


FILTER = TypeFilter(outcome=ClaimOutcome.COMPLETE, service_from=date(2026, 1, 2))
ASKED = ExportRequest(ApiVersion.V3, Scope.GROUP_ALL, ("Patient", "ExplanationOfBenefit"), NOW, FILTER)
CAME = f"https://another-name{protocol.kick_off_path(ASKED)}"


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (CAME, ""),
        ("", "the manifest names no request"),
        (CAME.replace("12:00:00Z", "13:00:00%2B01:00"), ""),
        (CAME.replace("Patient,ExplanationOfBenefit", "ExplanationOfBenefit,Patient"), ""),
        (f"{CAME}&_elements=id", "1 parameters that were not asked for"),
        (CAME.replace("$", "%24").replace(",", "%2C"), ""),
        (CAME.replace("12:00:00Z", "12:00:00Z;x"), "_since missing instead of 2026-08-22T12:00:00Z"),
        (CAME.replace("12:00:00Z", "12:00:00%ZZ"), "_since missing instead of 2026-08-22T12:00:00Z"),
        (CAME.replace("12:00", "11:00"), "_since 2026-08-22T11:00:00Z instead of 2026-08-22T12:00:00Z"),
        (CAME.replace("_type=Patient,", "_type=Patient%"), "_type missing instead of Patient,ExplanationOfBenefit"),
        (CAME.partition("&_typeFilter")[0], "_typeFilter missing instead of ExplanationOfBenefit?"),
        (CAME.replace("Group/all", "Patient"), "the path /api/v3/Patient/$export instead of /api/v3/Group/all/$export"),
        ("http://[", "an address that cannot be read"),
    ],
    ids=[
        "well",
        "none",
        "zone",
        "order",
        "more",
        "escaped",
        "semicolon",
        "bad escape",
        "other",
        "type",
        "filter",
        "path",
        "nonsense",
    ],
)
def test_what_came_is_compared_with_what_was_asked(came, said):
    """BCDA drops a parameter that it cannot read, and exports without it (docs/bcda.md#kick-off-request)."""
    found = protocol.differs(came, ASKED)
    assert found.startswith(said)
    assert bool(found) is bool(said)


@pytest.mark.parametrize("lifetime", ['"1200"', "1200", "1200.0"], ids=["text", "number", "float"])
def test_token_lifetime_may_be_text(lifetime):
    assert protocol.token_of(f'{{"access_token": "abc", "expires_in": {lifetime}}}'.encode()) == ("abc", 1200.0)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"access_token": "a\\nb"}', b'{"access_token": 7}', b"<html>"])
def test_an_answer_without_a_usable_token_is_a_server_error(body):
    with pytest.raises(ServerError):
        protocol.token_of(body)


OUTCOME = json.dumps(
    {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "x", "diagnostics": "why"}]}
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (OUTCOME, "why"),
        (OUTCOME * 2, "why"),
        (OUTCOME + "Not Found\n", "why"),
        ('{"issue":[{"details":{"text":"v3"}}]}', "v3"),
        ('{"issue":[{"details":{}}]}', ""),
        ('{"issue":[]}', ""),
        ("404 page not found\n", ""),
        ("<html></html>", ""),
        ("", ""),
        (
            json.dumps({"issue": [{"diagnostics": "MBI 1S00E00AA00 and 1EG4-TE5-MK73 failed"}]}),
            "MBI 1S00E00AA00 and 1EG4-TE5-MK73 failed",
        ),
    ],
    ids=[
        "one",
        "two-documents",
        "document-and-text",
        "details",
        "empty-details",
        "no-issue",
        "text",
        "html",
        "empty",
        "mbi",
    ],
)
def test_the_reason_is_that_of_the_first_document(body, reason):
    assert protocol.reason_of(body.encode()) == reason


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, CredentialsError),
        (403, CredentialsError),
        (404, AttributionMissingError),
        (429, RateLimitedError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (302, ManifestError),
    ],
)
def test_every_status_has_its_error(status, kind):
    error = protocol.error_for(status, OUTCOME.encode(), what="Kick-off", retry_after=3.0)
    assert type(error) is kind
    assert "Kick-off" in str(error)
    assert 'said "[unknown text, 3 characters]"' in str(error) or status in {302, 429}


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (404, "404 page not found\n", None),
        (404, "<html>", None),
        (404, "", None),
        (500, OUTCOME.replace("why", "Internal Error"), None),
        (500, OUTCOME.replace("why", "Database Error"), None),
        (500, OUTCOME.replace("why", "Service encountered numerous errors. Job failed to complete."), JobState.FAILED),
        (202, "", JobState.PENDING),
        (410, OUTCOME, JobState.EXPIRED),
        (404, OUTCOME.replace("why", "Job has been cancelled."), JobState.CANCELLED),
        (404, OUTCOME * 2, JobState.UNKNOWN),
        (500, OUTCOME, JobState.FAILED),
    ],
)
def test_states_of_a_job(status, body, state):
    found = protocol.status_of(status, {}, body.encode(), base_url=BASE)
    assert (found.state if found else None) is state


@pytest.mark.parametrize("status", [401, 429, 502, 503])
def test_answers_that_say_nothing_about_the_job(status):
    assert protocol.status_of(status, {}, b"<html>", base_url=BASE) is None


def manifest(**changes):
    document = {
        "transactionTime": "2026-08-18T02:11:09.481Z",
        "request": f"{BASE}/api/v2/Patient/$export",
        "requiresAccessToken": True,
        "output": [
            {"type": "Patient", "url": f"{BASE}/data/42/a.ndjson"},
            {"type": "Patient", "url": f"{BASE}/data/42/b.ndjson"},
        ],
        "error": [{"type": "OperationOutcome", "url": f"{BASE}/data/42/a-error.ndjson"}],
        "JobID": 42,
    }
    return json.dumps({**document, **changes}).encode()


def test_a_manifest_names_every_file_once_and_survives_its_own_file():
    twice = [{"type": "Patient", "url": f"{BASE}/data/42/a.ndjson"}] * 2
    read = protocol.manifest_of(manifest(), base_url=BASE, expires_in=1.5)
    assert [(file.name, file.kind) for file in read.files] == [
        ("00001-Patient.ndjson.gz", "output"),
        ("00002-Patient.ndjson.gz", "output"),
        ("00003-OperationOutcome.ndjson.gz", "error"),
    ]
    assert (read.job_id, read.transaction_time) == ("42", parse_instant("2026-08-18T02:11:09.481Z"))
    assert Manifest.from_bytes(read.to_bytes()) == read
    assert len(protocol.manifest_of(manifest(output=twice), base_url=BASE, expires_in=None).files) == 2
    assert protocol.manifest_of(manifest(output=[], error=None), base_url=BASE, expires_in=None).files == ()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"x"',
        manifest(output=None),
        manifest(output={}),
        manifest(output=[{"type": "Patient"}]),
        manifest(output=[{"type": "../x", "url": f"{BASE}/data/1/a"}]),
        manifest(output=[{"type": 7, "url": f"{BASE}/data/1/a"}]),
        manifest(output=[{"type": "Patient", "url": "https://evil.example.org/data/1/a"}]),
        manifest(output=[{"type": "Patient", "url": "http://api.example.org/data/1/a"}]),
        manifest(output=[{"type": "Patient", "url": "https://user@api.example.org/data/1/a"}]),
        manifest(output=[{"type": "Patient", "url": "https://api.example.org:8443/data/1/a"}]),
        manifest(output=[{"type": "Patient", "url": "/data/1/a"}]),
        manifest(transactionTime="yesterday"),
        manifest(transactionTime=7),
        manifest(error=[{"type": "OperationOutcome", "url": "https://evil.example.org/e"}]),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(body):
    with pytest.raises(ManifestError):
        protocol.manifest_of(body, base_url=BASE, expires_in=None)


@pytest.mark.parametrize("body", [b"", manifest()[:-20], b"<html>"], ids=["nothing", "cut", "a page"])
def test_a_manifest_that_is_no_json_is_asked_for_again(body):
    with pytest.raises(ServerError, match="instead of its manifest"):
        protocol.manifest_of(body, base_url=BASE, expires_in=None)


def test_the_job_list_leaves_out_what_it_cannot_read():
    task = {
        "identifier": [{"value": "42"}],
        "status": "in-progress",
        "input": [{"valueString": f"GET {BASE}/api/v2/Patient/$export"}],
    }
    body = json.dumps({"entry": [{"resource": task}, {"resource": {**task, "status": "odd"}}, {}, 7]}).encode()
    (job,) = protocol.jobs_of(body, as_of=NOW)
    assert (job.job_id, job.state, job.request_url) == ("42", JobState.IN_PROGRESS, f"{BASE}/api/v2/Patient/$export")


@pytest.mark.parametrize("header", [None, "", f"{BASE}/api/v2/jobs/x", "https://evil.example.org/api/v2/jobs/1"])
def test_a_kick_off_answer_without_a_job_of_ours_is_refused(header):
    with pytest.raises(ManifestError):
        protocol.job_id_of(header, BASE)


@pytest.mark.parametrize("text", ["2026-01-01", "2026-01-01T00:00:00", "now", "", "2026-13-01T00:00:00Z"])
def test_an_instant_needs_time_and_zone(text):
    with pytest.raises(InvalidRequestError):
        parse_instant(text)


def test_instants_are_written_in_utc_with_the_fraction_they_have():
    assert format_instant(parse_instant("2026-01-01T00:00:00.120+01:00")) == "2025-12-31T23:00:00.12Z"
    assert format_instant(parse_instant("2026-01-01T00:00:10Z")) == "2026-01-01T00:00:10Z"


@pytest.mark.parametrize(
    ("version", "types"),
    [
        (ApiVersion.V1, ("Claim",)),
        (ApiVersion.V2, ()),
        (ApiVersion.V2, ("Patient", "Patient")),
        (ApiVersion.V3, ("patient",)),
    ],
    ids=["not-of-the-version", "none", "twice", "case"],
)
def test_a_request_that_bcda_would_refuse_is_refused_here(version, types):
    with pytest.raises(InvalidRequestError):
        ExportRequest(version, Scope.PATIENT, types)
