"""Every refusal of a kick-off and every state of a job, with the sentence that a person reads in the task's log."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from plain_export import planned

from bcda import export
from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.protocol import JobState
from bcda.errors import (
    ActionNeededError,
    AttributionMissingError,
    BcdaError,
    CredentialsError,
    ExportExpiredError,
    ExportFailedError,
    InvalidRequestError,
    JobNotCompleteError,
    MissingList,
    RateLimitedError,
    ServerError,
)
from bcda.privacy import server_text
from bcda.settings import ApiVersion
from bcda_simulator import Entity, Fault, FaultKind, SimulatorSettings

ENDS = "Change the request; the same one will be refused again"
SECRET = "secrets expire 90 days after"

HELP_DESK = "only BCDA's help desk can change that"
ENABLED = "Set the connection's API version to one that is enabled"

REFUSALS = [
    (1, 401, "Invalid Token", CredentialsError, SECRET),
    (1, 401, "Expired Token", CredentialsError, SECRET),
    (1, 400, "Request Error", CredentialsError, "base URL and credentials must be of one environment"),
    (1, 403, "Unauthorized Error", CredentialsError, HELP_DESK),
    (1, 403, "ACO (CMS_ID: A9999) is unauthorized", CredentialsError, HELP_DESK),
    (1, 503, "Internal Error", ServerError, '"Internal Error", as it does when its token service is slow or down'),
    (1, 500, "Internal Error", ServerError, '"Internal Error", as it does when its token service is slow or down'),
    (2, 401, "", CredentialsError, SECRET),
    (3, 403, "v1 nor v2 access not enabled for this ACO", CredentialsError, ENABLED),
    (3, 403, "V3 access not enabled for this ACO", CredentialsError, ENABLED),
    (4, 400, "_outputFormat parameter must be one of [ndjson]", InvalidRequestError, ENDS),
    (5, 400, "Invalid parameter: this server does not support the _elements parameter.", InvalidRequestError, ENDS),
    (6, 400, "Invalid parameter: query parameters cannot start with ?", InvalidRequestError, ENDS),
    (7, 400, "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format.", InvalidRequestError, ENDS),
    (8, 400, "Invalid date format supplied in _since parameter. Date must be a date that has already passed", InvalidRequestError, ENDS),
    (9, 400, "Repeated resource type Patient", InvalidRequestError, ENDS),
    (10, 400, "failed to process request given more that one _typeFilter parameter", InvalidRequestError, ENDS),
    (10, 400, "missing question mark ExplanationOfBenefit", InvalidRequestError, ENDS),
    (10, 400, "invalid _typeFilter Resource Type (Only EOBs valid): Patient", InvalidRequestError, ENDS),
    (10, 400, "invalid _typeFilter parameter/value: outcome", InvalidRequestError, ENDS),
    (10, 400, "invalid _typeFilter subquery parameter: status", InvalidRequestError, ENDS),
    (10, 400, "invalid _tag value: DDPS. Searching by tag requires a token (system|code) to be specified", InvalidRequestError, ENDS),
    (10, 400, "invalid _tag value: x|y", InvalidRequestError, ENDS),
    (10, 400, "invalid outcome value: done. Supported outcome values are 'complete' and 'partial'", InvalidRequestError, ENDS),
    (10, 400, "invalid service-date value: then. Pass a valid FHIR date parameter", InvalidRequestError, ENDS),
    (11, 400, "Accept header is required", InvalidRequestError, ENDS),
    (12, 400, "application/fhir+json is the only supported response format", InvalidRequestError, ENDS),
    (13, 400, "Prefer header is required", InvalidRequestError, ENDS),
    (14, 400, "Only asynchronous responses are supported", InvalidRequestError, ENDS),
    (15, 429, None, RateLimitedError, "429, an overlapping job of this organization is running."),
    (16, 400, "Invalid group ID", InvalidRequestError, ENDS),
    (17, 400, "Model entities in GUIDE are not eligible to access SharedSystem data.", InvalidRequestError, "Set shared_system to false"),
    (18, 400, "invalid resource type Observation. Supported types [Patient]", InvalidRequestError, ENDS),
    (18, 400, "unauthorized resource type Claim", InvalidRequestError, ENDS),
    (19, 404, "failed to start job; attribution file not found", AttributionMissingError, "from the last 50 days; wait"),
    (19, 404, "runout data is no longer available. Runout data expires 180 days after ingestion", AttributionMissingError, "kept for 180 days"),
    (20, 404, "No up-to-date attribution information is available for ACOID 'A9999'.", AttributionMissingError, "about mid February"),
    (21, 404, "failed to start job; attribution file not found for given _since parameter.", AttributionMissingError, "Ask in full, or with a `since`"),
    (22, 500, "", ServerError, "BCDA gave no reason"),
    (22, 500, "Database Error", ServerError, "Database Error"),
]  # fmt: skip


def start(settings, places, **wish):
    async def kick_off():
        async with BcdaClient(settings) as client:
            return await export.kick_off(client, places, planned(settings, places, **wish).run_id)

    return asyncio.run(kick_off())


@pytest.mark.parametrize(("row", "status", "text", "kind", "said"), REFUSALS)
def test_a_refused_kick_off_says_what_bcda_said_and_what_to_do(
    serve, settings_for, places, row, status, text, kind, said
):
    answer = Fault(
        FaultKind.ANSWER, "kick-off", status=status, text=text or "", body="outcome" if text is not None else "none"
    )
    with pytest.raises(BcdaError) as caught:
        start(settings_for(serve(faults=[answer])), places)
    assert type(caught.value) is kind
    assert said in str(caught.value)
    # The server's own words are there, apart from values that could be anything.
    assert server_text.shown(text or "") in str(caught.value)


@pytest.mark.parametrize(
    ("entity", "settings", "wish", "said"),
    [
        (Entity("IOTA123"), {}, {}, "v1 nor v2 access not enabled"),
        (Entity(), {"v3_entities": frozenset()}, {"api_version": ApiVersion.V3}, "V3 access not enabled"),
        (
            Entity(has_partially_adjudicated=False),
            {},
            {"resource_types": ("Claim",)},
            "unauthorized resource type Claim",
        ),
    ],
    ids=["v3-only-entity", "not-listed-for-v3", "not-entitled"],
)
def test_what_the_organization_may_not_is_refused_by_the_simulated_server_too(
    serve, settings_for, places, entity, settings, wish, said
):
    server = serve(entities=(entity,), settings=SimulatorSettings(**settings))
    version = wish.get("api_version", ApiVersion.V2)
    with pytest.raises(ActionNeededError, match=said):
        start(settings_for(server, api_version=version), places, **wish)


@pytest.mark.parametrize("text", [row[2] for row in REFUSALS if row[1] == 404])
def test_the_cases_of_a_missing_list_are_told_apart(text):
    expected = {
        "failed to start job; attribution file not found": MissingList.NO_LIST,
        "failed to start job; attribution file not found for given _since parameter.": MissingList.NO_OLDER_LIST,
    }.get(text, MissingList.RUNOUT_GONE if "runout" in text else MissingList.WRONG_YEAR)
    assert protocol.missing_list(text) is expected
    assert protocol.missing_list("something new") is MissingList.UNKNOWN


FAILED = b'{"issue":[{"diagnostics":"Service encountered numerous errors. Job failed to complete."}]}'
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}'

STATES = [
    (404, {}, OUTCOME, ExportExpiredError, "is gone at BCDA"),
    (202, {"x-progress": "Pending"}, b"", JobNotCompleteError, "is pending; it is not complete yet"),
    (202, {"x-progress": "In Progress"}, b"", JobNotCompleteError, "is in-progress; it is not complete yet"),
    (202, {"x-progress": "In Progress (33%)"}, b"", JobNotCompleteError, "is in-progress; it is not complete yet"),
    (410, {"expires": "x"}, OUTCOME, ExportExpiredError, "Its files live for a day; clear `kick_off`"),
    (404, {}, OUTCOME + OUTCOME, ExportExpiredError, "clear `kick_off` with everything after it"),
    (500, {}, FAILED.replace(b"{", b'{"resourceType":"OperationOutcome",', 1), ExportFailedError, "Service encountered numerous errors"),
    (404, {}, b'{"issue":[{"diagnostics":"Job has been cancelled."}]}', ExportFailedError, "has been canceled. Clear `kick_off`"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "body", "kind", "said"), STATES)
def test_every_state_of_a_job_has_its_sentence(status, headers, body, kind, said):
    read = protocol.status_of(status, headers, body, base_url="https://api.bcda.cms.gov")
    error = export.job_error("42", read.state, read.reason)
    assert type(error) is kind
    assert said in str(error)
    assert "42" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "said"), [(400, InvalidRequestError, ENDS), (401, CredentialsError, SECRET)]
)
def test_a_job_number_that_is_not_ours_is_refused_with_a_sentence(serve, settings_for, status, kind, said):
    server = serve(faults=[Fault(FaultKind.ANSWER, "status", status=status, text="")])

    async def ask():
        async with BcdaClient(settings_for(server)) as client:
            await client.status("42")

    with pytest.raises(kind, match=said):
        asyncio.run(ask())


def test_a_completed_job_has_a_manifest():
    body = b'{"transactionTime":"2026-08-18T02:11:09.481Z","request":"","output":[],"error":[],"JobID":42}'
    read = protocol.status_of(200, {}, body, base_url="https://api.bcda.cms.gov")
    assert (read.state, read.manifest.job_id) == (JobState.COMPLETED, "42")


def listed(types, *, version="v2", state=JobState.IN_PROGRESS, at=None, endpoint="Patient"):
    query = f"?_type={types}" if types else ""
    return protocol.ListedJob("7", state, f"https://x/api/{version}/{endpoint}/$export{query}", at)


@pytest.mark.parametrize(
    ("running", "asked", "refused", "overlap"),
    [
        ("Patient", ("Patient", "Coverage"), True, True),
        ("Patient,Coverage", ("Patient",), False, True),
        ("Patient,Coverage", ("Patient", "Coverage"), True, True),
        ("Coverage", ("Patient",), False, False),
        ("", ("Patient",), True, True),
    ],
    ids=["single-in-list", "list-before-single", "same", "disjoint", "no-type"],
)
def test_the_duplicate_rule_is_not_symmetric(settings_for, serve, running, asked, refused, overlap):
    now = datetime(2026, 11, 1, tzinfo=UTC)
    request = ExportRequest(ApiVersion.V2, Scope.PATIENT, asked)
    assert protocol.refuses(listed(running), request, now) is refused
    assert protocol.overlaps(listed(running), request, now) is overlap
    for other in (listed(running, version="v3"), listed(running, state=JobState.COMPLETED)):
        assert protocol.refuses(other, request, now) is False
        assert protocol.overlaps(other, request, now) is False
    # What the rule says is what the simulated server does.
    server = serve(settings=SimulatorSettings(pending_seconds=60))

    async def both():
        async with BcdaClient(settings_for(server)) as client:
            first = ("Patient",) if not running else tuple(running.split(","))
            if running:
                await client.kick_off(ExportRequest(ApiVersion.V2, Scope.PATIENT, first))
                await client.kick_off(request)

    if running and refused:
        with pytest.raises(RateLimitedError):
            asyncio.run(both())
    elif running:
        asyncio.run(both())


@pytest.mark.parametrize(
    ("age", "counts"),
    [(timedelta(hours=23), True), (timedelta(hours=24), False), (timedelta(days=30), False), (None, True)],
    ids=["23 hours", "24 hours", "30 days", "not known"],
)
def test_a_job_older_than_a_day_is_in_nobodys_way(age, counts):
    now = datetime(2026, 11, 1, tzinfo=UTC)
    same = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",))
    for asked in (same, replace(same, resource_types=("Patient", "Coverage")), replace(same, since=now)):
        running = listed("Patient", at=now - age if age else None)
        assert protocol.is_in_force(running, now) is counts
        assert protocol.refuses(running, asked, now) is counts
        assert protocol.overlaps(running, asked, now) is counts
    for parallel in (True, False):
        assert bool(protocol.in_the_way(running, asked, now, parallel_jobs=parallel)) is counts


@pytest.mark.parametrize("hours", [23, 25])
def test_a_stuck_job_of_a_day_is_not_waited_for_and_ours_is_cancelled(serve, settings_for, places, hours):
    server = serve(
        faults=[Fault(FaultKind.STUCK, "kick-off", times=2)], settings=SimulatorSettings(refuse_duplicates=False)
    )
    settings = settings_for(server)

    types = {"resource_types": ("Patient",)}
    run = planned(settings, places, **types)

    async def before():
        async with BcdaClient(settings) as client:
            await client.kick_off(replace(run.request, scope=Scope.GROUP_ALL))
            await client.kick_off(run.request)

    asyncio.run(before())
    server.clock.advance(hours * 3600)
    started = start(settings, places, **types)
    if hours < 24:
        assert (started.job_id, started.is_adopted) == ("2", True)
        return
    assert (started.job_id, started.is_adopted) == ("3", False)
    # Whose the other job is cannot be told, so it is left.
    assert {number: state for number, state in server.jobs().items() if number < 3} == {
        1: "In Progress",
        2: "Cancelled",
    }


@pytest.mark.parametrize(
    ("running", "asked", "parallel", "goes"),
    [
        (("Patient", "Coverage"), ("Patient",), False, False),
        (("Coverage",), ("Patient",), False, False),
        (("Coverage",), ("Patient",), True, True),
        (("Patient", "Coverage"), ("Patient",), True, False),
    ],
    ids=["overlap-bcda-would-allow", "one-at-a-time", "disjoint-allowed", "overlap-when-parallel"],
)
def test_a_run_waits_for_a_job_that_somebody_else_started(serve, settings_for, places, running, asked, parallel, goes):
    server = serve(settings=SimulatorSettings(pending_seconds=60))
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, parallel_jobs=parallel))

    async def elsewhere():
        async with BcdaClient(settings) as client:
            await client.kick_off(ExportRequest(ApiVersion.V2, Scope.GROUP_ALL, running))

    asyncio.run(elsewhere())
    if goes:
        assert start(settings, places, resource_types=asked).is_adopted is False
        return
    with pytest.raises(RateLimitedError, match="Job 1 of this organization is pending for"):
        start(settings, places, resource_types=asked)
    assert [entry.status for entry in server.requests if entry.endpoint == "kick-off"] == [202]
