import asyncio
import math
from dataclasses import replace

import pytest

from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope, parse_instant
from bcda.api.protocol import JobState
from bcda.errors import (
    AttributionMissingError,
    CredentialsError,
    InvalidRequestError,
    ManifestError,
    NotAllowListedError,
    RateLimitedError,
    ServerError,
)
from bcda.settings import ApiVersion, ConnectionSettings
from bcda_simulator import Entity, Fault, FaultKind, SimulatorSettings

PATIENTS = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",))
SLOW = SimulatorSettings(pending_seconds=60)


async def wait_for(client: BcdaClient, job_id: str) -> JobState:
    while (status := await client.status(job_id)).state in {JobState.PENDING, JobState.IN_PROGRESS}:
        await asyncio.sleep(0.05)
    return status.state


async def test_kick_off_sends_a_literal_dollar_and_exact_headers(serve, settings_for):
    server = serve()
    request = replace(
        PATIENTS, resource_types=("Patient", "Coverage"), since=parse_instant("2026-01-01T00:00:00.5+01:00")
    )
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(request)
    assert job_id == "1"
    kick_off = next(entry for entry in server.requests if entry.endpoint == "kick-off")
    assert kick_off.target == "/api/v2/Patient/$export?_type=Patient,Coverage&_since=2025-12-31T23:00:00.5Z"


async def test_a_completed_job_gives_a_manifest_with_the_time_left_by_the_servers_clock(serve, settings_for):
    # The simulated clock is years away from ours; only the server's own Date makes its Expires meaningful.
    server = serve(start=parse_instant("2025-06-10T12:00:00Z"))
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(PATIENTS)
        assert await wait_for(client, job_id) is JobState.COMPLETED
        manifest = (await client.status(job_id)).manifest
    assert manifest.transaction_time == parse_instant("2025-06-07T02:11:09.481Z")
    assert [file.resource_type for file in manifest.files] == ["Patient"]
    assert manifest.expires_in_seconds == pytest.approx(86_400, abs=10)


async def test_a_token_that_expires_while_polling_is_renewed_once(serve, settings_for):
    server = serve(settings=SimulatorSettings(pending_seconds=0.5))
    server.faults.add(Fault(FaultKind.EXPIRE_TOKENS, "status", skip=2, times=1))
    async with BcdaClient(settings_for(server)) as client:
        assert await wait_for(client, await client.kick_off(PATIENTS)) is JobState.COMPLETED
    assert sum(entry.endpoint == "token" for entry in server.requests) == 2
    assert sum(entry.status == 401 for entry in server.requests) == 1


async def test_a_token_is_renewed_before_it_expires(serve, settings_for):
    server = serve(settings=SimulatorSettings(token_seconds=1))
    async with BcdaClient(settings_for(server)) as client:
        await client.attribution_status()
        await asyncio.sleep(0.6)
        await client.attribution_status()
    assert [entry.status for entry in server.requests] == [200, 200, 200, 200]
    assert sum(entry.endpoint == "token" for entry in server.requests) == 2


async def test_many_requests_at_once_share_one_token(serve, settings_for):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        await asyncio.gather(*(client.attribution_status() for _ in range(8)))
    assert sum(entry.endpoint == "token" for entry in server.requests) == 1


async def test_wrong_credentials_fail_at_once_and_say_what_to_check(serve, settings_for):
    server = serve()
    async with BcdaClient(settings_for(server, client_secret="wrong-secret")) as client:
        with pytest.raises(CredentialsError, match="client secret") as caught:
            await client.attribution_status()
    assert "wrong-secret" not in str(caught.value)
    assert [entry.endpoint for entry in server.requests] == ["token"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (FaultKind.NO_ATTRIBUTION, "failed to start job; attribution file not found"),
        (
            FaultKind.WRONG_YEAR,
            "unable to perform export operations for this Group. No up-to-date attribution information i",
        ),
    ],
    ids=["no-list", "january-closure"],
)
async def test_missing_attribution_carries_the_servers_reason(serve, settings_for, fault, reason):
    server = serve(faults=[Fault(fault, "kick-off")])
    async with BcdaClient(settings_for(server)) as client:
        with pytest.raises(AttributionMissingError) as caught:
            await client.kick_off(PATIENTS)
    assert reason in str(caught.value)
    assert reason in caught.value.reason


async def test_an_overlapping_job_is_a_rate_limit_with_the_servers_wish(serve, settings_for):
    server = serve(settings=replace(SLOW, kick_off_retry_after="120"))
    async with BcdaClient(settings_for(server)) as client:
        await client.kick_off(PATIENTS)
        with pytest.raises(RateLimitedError) as caught:
            await client.kick_off(PATIENTS)
    assert caught.value.retry_after_seconds == 120


async def test_a_refused_request_is_not_repeated(serve, settings_for):
    server = serve()
    future = replace(PATIENTS, since=parse_instant("2090-01-01T00:00:00Z"))
    async with BcdaClient(settings_for(server)) as client:
        with pytest.raises(InvalidRequestError, match="already passed"):
            await client.kick_off(future)
    assert sum(entry.endpoint == "kick-off" for entry in server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "waited_at_least"),
    [
        (Fault(FaultKind.ANSWER, "status", status=429, retry_after="2", times=1), 2.0),
        (Fault(FaultKind.ANSWER, "status", status=429, retry_after="0", times=2), 0.05),
        (Fault(FaultKind.ANSWER, "status", status=503, retry_after="soon", times=2), 0.05),
        (Fault(FaultKind.ANSWER, "status", status=502, body="html", times=1), 0.05),
        (Fault(FaultKind.DROP, "status", times=1), 0.05),
    ],
    ids=["429-after-2", "429-after-0", "503-nonsense", "502-html", "connection-closed"],
)
async def test_passing_faults_are_waited_out(serve, settings_for, fault, waited_at_least):
    server = serve()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with BcdaClient(settings_for(server), sleep=sleep) as client:
        job_id = await client.kick_off(PATIENTS)
        server.faults.add(fault)
        assert (await client.status(job_id)).state in {JobState.PENDING, JobState.IN_PROGRESS, JobState.COMPLETED}
    assert waits
    assert waits[0] >= waited_at_least


async def test_a_lasting_fault_ends_after_the_bounded_tries(serve, settings_for):
    server = serve(faults=[Fault(FaultKind.ANSWER, "attribution", status=503)])
    async with BcdaClient(settings_for(server)) as client:
        with pytest.raises(ServerError, match="503"):
            await client.attribution_status()
    assert sum(entry.endpoint == "attribution" for entry in server.requests) == 4


async def test_a_failed_job_is_a_state_that_may_heal(serve, settings_for):
    text = "Service encountered numerous errors. Job failed to complete."
    server = serve(faults=[Fault(FaultKind.ANSWER, "status", status=500, text=text, times=2)])
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(PATIENTS)
        first = await client.status(job_id)
        assert (first.state, first.reason) == (JobState.FAILED, text)
        assert (await client.status(job_id)).state is JobState.FAILED
        assert await wait_for(client, job_id) is JobState.COMPLETED


async def test_cancel_and_what_it_finds(serve, settings_for):
    server = serve(settings=SLOW)
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(PATIENTS)
        assert await client.cancel(job_id) is True
        assert await client.cancel(job_id) is False
        assert await client.cancel("999") is False
        status = await client.status(job_id)
    assert (status.state, status.reason) == (JobState.CANCELLED, "Job has been cancelled.")


async def test_an_archived_job_with_two_documents_in_its_answer_is_unknown(serve, settings_for):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(PATIENTS)
        await wait_for(client, job_id)
        server.clock.advance(24 * 3600)
        assert (await client.status(job_id)).state is JobState.EXPIRED
        server.clock.advance(24 * 3600)
        assert (await client.status(job_id)).state is JobState.UNKNOWN


async def test_live_jobs_are_those_that_run(serve, settings_for):
    server = serve(settings=replace(SLOW, refuse_duplicates=False))
    async with BcdaClient(settings_for(server)) as client:
        assert await client.jobs() == []
        assert await client.live_jobs() == []
        first = await client.kick_off(replace(PATIENTS, resource_types=("Coverage",)))
        second = await client.kick_off(PATIENTS)
        live = await client.live_jobs()
        assert [(job.job_id, job.type_text, job.api_version) for job in live] == [
            (second, "Patient", "v2"),
            (first, "Coverage", "v2"),
        ]
        assert live[0].created_at is not None
        await client.cancel(second)
        assert [job.job_id for job in await client.live_jobs()] == [first]


async def test_jobs_of_other_organizations_are_refused(serve, settings_for):
    first, second = Entity(), Entity("A1111", "second-client", "second-secret")
    server = serve(entities=(first, second))
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(PATIENTS)
    async with BcdaClient(settings_for(server, client_id="second-client", client_secret="second-secret")) as client:
        with pytest.raises(CredentialsError):
            await client.status(job_id)


async def test_a_manifest_that_names_another_server_is_refused_before_the_token_goes_there(serve, settings_for):
    server, stranger = serve(), serve()
    server.faults.add(Fault(FaultKind.FOREIGN, "status", origin=stranger.base_url))
    async with BcdaClient(settings_for(server)) as client:
        job_id = await client.kick_off(PATIENTS)
        with pytest.raises(ManifestError, match="not the configured server"):
            await wait_for(client, job_id)
        with pytest.raises(ManifestError):
            async with client.stream(f"{stranger.base_url}/data/1/x.ndjson", {}):
                pass
    assert stranger.requests == []


async def test_a_redirect_is_not_followed(serve, settings_for):
    server = serve(faults=[Fault(FaultKind.ANSWER, "attribution", status=302, body="none")])
    async with BcdaClient(settings_for(server)) as client:
        with pytest.raises(ManifestError, match="redirect"):
            await client.attribution_status()


async def test_open_endpoints_get_no_token(serve, settings_for):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        assert (await client.metadata())["fhirVersion"] == "4.0.1"
    assert [entry.has_authorization for entry in server.requests] == [False]


async def test_nobody_listening_is_a_server_error_with_the_address(settings_for, serve):
    settings = ConnectionSettings("http://127.0.0.1:9", "a", "b", tuning=settings_for(serve()).tuning)
    async with BcdaClient(settings) as client:
        with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):
            await client.attribution_status()


async def test_an_address_that_never_gets_an_answer_is_told_of_the_allow_list_after_the_bounded_tries(
    serve, settings_for, gate
):
    gate.refuses = math.inf
    async with BcdaClient(settings_for(serve())) as client:
        with pytest.raises(NotAllowListedError, match="not on the allow list"):
            await client.attribution_status()
    assert gate.refused == 4


async def test_connections_that_are_not_made_at_first_are_tried_again(serve, settings_for, gate):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    gate.refuses = 3
    async with BcdaClient(settings_for(serve()), sleep=sleep) as client:
        await client.attribution_status()
    assert len(waits) == 3
    assert waits[0] >= 0.05


async def test_after_any_answer_a_connection_that_is_not_made_is_an_outage(serve, settings_for, gate):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        # The token's answer counts too.
        server.faults.add(Fault(FaultKind.ANSWER, "jobs", status=503))
        with pytest.raises(ServerError):
            await client.jobs()
        gate.refuses = 3
        job_id = await kick_off_in_the_end(client)
        gate.refuses = 3
        await client.status(job_id)
        gate.refuses = math.inf
        with pytest.raises(ServerError, match=r"although it has answered before.*allow list") as caught:
            await client.status(job_id)
    assert caught.value.status is None


async def kick_off_in_the_end(client: BcdaClient) -> str:
    """Call again after each outage, as the task does: a kick-off is sent once."""
    while True:
        try:
            return await client.kick_off(PATIENTS)
        except ServerError:
            continue


async def test_secrets_and_tokens_never_show(serve, settings_for):
    server = serve()
    settings, seen = settings_for(server), []
    async with BcdaClient(settings, on_token=seen.append) as client:
        await client.attribution_status()
    assert len(seen) == 1
    assert settings.client_secret not in repr(settings)
    for secret in (settings.client_secret, seen[0]):
        assert secret not in repr(vars(client)["_auth"])


@pytest.mark.parametrize("version", list(ApiVersion))
async def test_all_versions_export(serve, settings_for, version):
    server = serve()
    async with BcdaClient(settings_for(server, api_version=version)) as client:
        job_id = await client.kick_off(ExportRequest(version, Scope.GROUP_ALL, ("ExplanationOfBenefit", "Patient")))
        assert await wait_for(client, job_id) is JobState.COMPLETED
        manifest = (await client.status(job_id)).manifest
    # v3 lists a warning beside the data unless the request names a source system (docs/bcda.md#manifest).
    warnings = [file for file in manifest.files if file.kind == "error"]
    assert len(warnings) == (1 if version == "v3" else 0)
    assert {file.resource_type for file in manifest.files if file.kind == "output"} == {
        "ExplanationOfBenefit",
        "Patient",
    }
