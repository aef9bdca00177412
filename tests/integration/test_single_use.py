"""A refused token and what comes after it, direct and behind a proxy that shares connections (docs/bcda.md#connections)."""

import asyncio
from dataclasses import replace

import httpx
import pytest
from plain_export import every_phase, planned
from pooling_proxy import pooling_proxy

from bcda import export
from bcda.api import protocol, single_use
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.errors import CredentialsError, ExportExpiredError, ServerError
from bcda.runs.fetch import fetch_batch
from bcda.settings import ApiVersion
from bcda_simulator import Fault, FaultKind

OTHERS = ("attribution", "kick-off", "status", "cancel")
PHASES = ("jobs", "data", *(pytest.param(phase, marks=pytest.mark.complete) for phase in OTHERS))


@pytest.fixture
def without_closing(monkeypatch):
    """Take the cure away: connections are kept, and nobody is asked to close them."""
    monkeypatch.setattr(single_use, "LIMITS", httpx.Limits())
    monkeypatch.setattr(single_use, "CLOSING", {})


@pytest.fixture
def without_asking_again(monkeypatch):
    """Take the other cure away: every answer is believed."""
    monkeypatch.setattr(protocol, "is_misrouted", lambda *_: False)


def refuse_in(server, phase):
    server.faults.add(Fault(FaultKind.EXPIRE_TOKENS, phase, times=1))


def misrouted(server):
    """Count the answers of a handler to what it does not know."""
    return sum(not entry.endpoint for entry in server.requests)


@pytest.mark.parametrize("phase", PHASES)
def test_a_refused_token_is_renewed_on_a_connection_of_its_own(serve, settings_for, places, phase):
    server = serve()
    refuse_in(server, phase)
    assert asyncio.run(every_phase(settings_for(server), places))
    # Files are asked for side by side, so that several of them can be refused.
    refused = sum(entry.status == 401 for entry in server.requests)
    assert (0 < refused <= (4 if phase == "data" else 1), misrouted(server)) == (True, 0)


def test_without_closing_the_renewal_meets_the_handler_that_refused(serve, settings_for, places, without_closing):
    server = serve()
    refuse_in(server, "jobs")
    # The request that is sent again is what helps then.
    assert asyncio.run(every_phase(settings_for(server), places))
    assert misrouted(server) == 1


def test_a_client_without_either_cure_blames_the_secret(
    serve, settings_for, places, without_closing, without_asking_again
):
    server = serve()
    refuse_in(server, "jobs")
    with pytest.raises(CredentialsError, match="secret"):
        asyncio.run(every_phase(settings_for(server), places))


def one_at_a_time(settings):
    """Ask for one file after the other, so that the connection of the refusal is the next one that the pool gives."""
    return replace(settings, tuning=replace(settings.tuning, concurrent_downloads=1))


@pytest.mark.parametrize("phase", PHASES)
def test_a_refused_token_behind_a_proxy_that_pools(serve, settings_for, places, phase):
    server = serve()
    refuse_in(server, phase)
    with pooling_proxy(server.base_url) as (base_url, pool):
        assert asyncio.run(every_phase(one_at_a_time(settings_for(server, base_url=base_url)), places))
    assert (pool.reused > 0, misrouted(server) > 0) == (True, True)
    assert pool.asked_to_close == pool.clients


def test_behind_a_pool_a_client_that_does_not_ask_again_blames_the_secret(
    serve, settings_for, places, without_asking_again
):
    server = serve()
    refuse_in(server, "data")
    with pooling_proxy(server.base_url) as (base_url, _), pytest.raises(CredentialsError, match="secret"):
        asyncio.run(every_phase(one_at_a_time(settings_for(server, base_url=base_url)), places))


@pytest.mark.parametrize("others", ["/api/v2/jobs", "/data/1/x.ndjson"], ids=["api", "data"])
def test_refusals_of_others_hit_whoever_comes_next(serve, settings_for, places, others):
    """Two strangers are refused at once before each of our requests, so that the pool is never clean."""
    server = serve()
    with pooling_proxy(server.base_url) as (base_url, pool):
        settings = settings_for(server, base_url=base_url)

        def stranger():
            refused = {"Authorization": "Bearer a.b.c", "Host": base_url.removeprefix("http://")}
            assert pool.ask("GET", others, refused)[0] == 401

        async def ask():
            async with BcdaClient(settings) as client:
                stranger()
                await client.welcome()
                stranger()
                await client.attribution_status()
                stranger()
                return await client.live_jobs()

        assert asyncio.run(ask()) == []
    assert misrouted(server) >= 1


TEXT = {"body": "text", "text": "404 page not found\n", "status": 404}


REQUEST = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",))
CALLS = {
    "kick-off": lambda client: client.kick_off(REQUEST),
    "jobs": lambda client: client.jobs(),
    "status": lambda client: client.status("1"),
    "cancel": lambda client: client.cancel("1"),
    "attribution": lambda client: client.attribution_status(),
    "metadata": lambda client: client.metadata(),
    "welcome": lambda client: client.welcome(),
}


@pytest.mark.parametrize("endpoint", CALLS)
async def test_a_plain_404_is_asked_once_more(serve, settings_for, endpoint):
    server = serve(faults=[Fault(FaultKind.ANSWER, endpoint, times=1, **TEXT)])
    answers, retries = [], []
    async with BcdaClient(settings_for(server), on_answer=answers.append, on_retry=retries.append) as client:
        if endpoint in {"status", "cancel"}:
            await client.kick_off(REQUEST)
        await CALLS[endpoint](client)
    asked = [entry.status for entry in server.requests if entry.endpoint == endpoint]
    assert (len(asked), asked[0], retries) == (2, 404, [0.0])
    # A metric that leaves out answers would hide such a proxy.
    assert len(answers) == len(server.requests)


@pytest.mark.parametrize("endpoint", CALLS)
async def test_a_plain_404_twice_is_an_outage_and_says_nothing_of_a_job(serve, settings_for, endpoint):
    server = serve(faults=[Fault(FaultKind.ANSWER, endpoint, **TEXT)])
    settings = settings_for(server)
    async with BcdaClient(settings) as client:
        with pytest.raises(ServerError, match="404 twice, in a form that does not belong to this request") as caught:
            await CALLS[endpoint](client)
    assert caught.value.status == 404
    tries = 1 if endpoint == "kick-off" else settings.tuning.max_attempts
    assert sum(entry.endpoint == endpoint for entry in server.requests) == 2 * tries


@pytest.mark.parametrize(
    "answer",
    [{"body": "outcome", "text": "Invalid Token"}, {"body": "html"}, {"body": "none"}, {"body": "text", "text": "no"}],
    ids=["another handler", "a page", "nothing", "another text"],
)
async def test_a_401_that_the_token_endpoint_does_not_give_never_blames_the_secret(serve, settings_for, answer):
    server = serve(faults=[Fault(FaultKind.ANSWER, "token", status=401, **answer)])
    settings = settings_for(server)
    async with BcdaClient(settings) as client:
        with pytest.raises(ServerError, match="Token request: the answer was 401 twice") as caught:
            await client.attribution_status()
        assert "secret" not in str(caught.value)
        assert sum(entry.endpoint == "token" for entry in server.requests) == 2 * settings.tuning.max_attempts
        server.faults.clear()
        server.faults.add(Fault(FaultKind.ANSWER, "token", status=401, times=1, **answer))
        await client.attribution_status()


async def test_a_plain_404_of_status_and_file_does_not_end_a_run(serve, settings_for, places):
    """What is archived says so in an OperationOutcome; a page of something else does not."""
    server = serve()
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, max_attempts=1, file_attempts=1))
    run = planned(settings, places)
    async with BcdaClient(settings) as client:
        job = await export.kick_off(client, places, run.run_id)
        while (await client.status(job.job_id)).manifest is None:
            await asyncio.sleep(0.05)
        manifest = await export.save_manifest(client, places, run.run_id, job.job_id)
        folder = places.run_folder(run.run_id)
        for bodies in (TEXT, {"status": 404, "body": "html"}):
            server.faults.clear()
            for endpoint in ("data", "status"):
                server.faults.add(Fault(FaultKind.ANSWER, endpoint, **bodies))
            with pytest.raises(ServerError):
                await fetch_batch(client, manifest.files[:1], folder, job_id=manifest.job_id)
        server.faults.clear()
        server.faults.add(Fault(FaultKind.CLEAN_UP, "data", times=1))
        with pytest.raises(ExportExpiredError):
            await fetch_batch(client, manifest.files[:1], folder, job_id=manifest.job_id)
