"""What the hook makes of a server that is not well, before anything is asked for."""

from dataclasses import replace
from datetime import UTC, datetime

import certifi
import pytest
from own_authority import own_authority
from pooling_proxy import pooling_proxy

from bcda import budgets
from bcda_simulator import Fault, FaultKind

ILL = '{"database":"error","ssas":"ok","ssas_introspect":"1S00E00AA00"}'


def answers(status, text="", body="text", **more):
    return Fault(FaultKind.ANSWER, more.pop("endpoint", "open"), status=status, text=text, body=body, **more)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answers(502, ILL), r"not well \(database: error, ssas_introspect: \[unknown text, 11 characters\]\)"),
        (answers(502, body="html", endpoint="metadata"), "a maintenance page answers"),
        (answers(503, body="html", endpoint="metadata"), "answers with 503"),
        (answers(500, body="none", endpoint="metadata"), "answers with 500"),
        (answers(404, "404 page not found", endpoint="metadata"), "check the base URL and the API version"),
        (answers(429, body="none", retry_after="7", endpoint="metadata"), "answers with 429"),
        (
            answers(302, body="none", location="https://elsewhere.example/", endpoint="metadata"),
            "does not answer as BCDA",
        ),
        (answers(200, body="html", endpoint="metadata"), "does not answer as BCDA v2 does"),
        (Fault(FaultKind.DROP), r"does not answer as BCDA v2 does \(ConnectionError\)"),
    ],
    ids=[
        "ill",
        "gateway",
        "busy",
        "broken",
        "another version",
        "429",
        "redirect",
        "a page",
        "no answer",
    ],
)
def test_a_server_that_is_not_well_is_an_error_of_the_library(serve, settings_for, logged, fault, said):
    from bcda.errors import ServerError
    from bcda_provider.hooks import BcdaHook

    settings = settings_for(serve(faults=[fault]))
    with pytest.raises(ServerError, match=said) as caught:
        BcdaHook().check_open_endpoints(settings)
    assert caught.value.retry_after_seconds == (7 if fault.retry_after else None)
    assert ILL not in logged()


@pytest.mark.parametrize(
    "fault",
    [
        answers(302, body="none", location="https://elsewhere.example/"),
        answers(404, "404 page not found"),
        answers(405, body="none"),
        answers(403, body="html"),
        answers(503, body="html"),
        answers(502, "{}"),
        answers(200, "well"),
        Fault(FaultKind.DROP, "open"),
        Fault(FaultKind.DELAY, "open", seconds=3),
    ],
    ids=["redirect", "missing", "method", "forbidden", "busy", "nothing said", "not JSON", "no answer", "hangs"],
)
def test_a_health_check_that_says_nothing_of_bcda_stops_no_run(serve, settings_for, monkeypatch, fault):
    from bcda_provider import hooks

    monkeypatch.setattr("bcda_provider.open_checks.HEALTH_SECONDS", 0.5)
    assert hooks.BcdaHook().check_open_endpoints(settings_for(serve(faults=[fault]))) == "4.0.1"


EXCESS = {
    "floods": {"kind": FaultKind.FLOOD},
    "unpacks": {"kind": FaultKind.BOMB},
    "drips": {"kind": FaultKind.DRIP, "seconds": 0.05},
    "header block drips": {"kind": FaultKind.ENDLESS_HEADERS, "seconds": 0.05},
    "header block never ends": {"kind": FaultKind.ENDLESS_HEADERS, "seconds": 0.0},
}


@pytest.mark.parametrize("excess", EXCESS)
def test_the_first_check_takes_no_more_bytes_and_time_than_its_budget(serve, settings_for, monkeypatch, excess):
    from bcda.errors import ServerError
    from bcda_provider import hooks

    monkeypatch.setattr("bcda_provider.open_checks.HEALTH_SECONDS", 0.5)
    server = serve(faults=[Fault(endpoint="open", **EXCESS[excess])])
    settings = settings_for(server)
    settings = replace(settings, tuning=replace(settings.tuning, request_timeout_seconds=1.0))
    assert hooks.BcdaHook().check_open_endpoints(settings) == "4.0.1"
    server.faults.clear()
    server.faults.add(Fault(endpoint="metadata", **EXCESS[excess]))
    with pytest.raises(ServerError, match=r"larger than|does not answer as BCDA v2 does"):
        hooks.BcdaHook().check_open_endpoints(settings)
    # What lies in the buffers of the two systems was sent, and not read.
    assert max(entry.body_bytes for entry in server.requests) < budgets.ANSWER_BYTES + (16 << 20)


def test_a_server_that_is_well_names_its_fhir_version(serve, settings_for):
    from bcda_provider.hooks import BcdaHook

    assert BcdaHook().check_open_endpoints(settings_for(serve())) == "4.0.1"


@pytest.mark.parametrize("names_host_twice", [True, False], ids=["alternative name", "subject alone"])
def test_the_first_check_trusts_what_doctor_and_client_trust(
    serve, settings_for, tmp_path, monkeypatch, names_host_twice
):
    """One TLS context for both, whatever the http provider and its library would trust by themselves."""
    from bcda import doctor
    from bcda.errors import UntrustedServerError
    from bcda_provider.hooks import BcdaHook

    authority = own_authority(tmp_path, "localhost", names_host_twice=names_host_twice)
    settings = settings_for(serve(host="localhost", certificate=authority.server))

    def tls():
        checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC))
        return next(check.text for check in checks if check.name == "TLS")

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert BcdaHook().check_open_endpoints(settings) == "4.0.1"
    assert tls() == "The certificate is trusted."
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    with pytest.raises(UntrustedServerError, match="is not trusted by SSL_CERT_FILE") as caught:
        BcdaHook().check_open_endpoints(settings)
    assert tls() == str(caught.value)


def test_each_question_has_a_connection_of_its_own(serve, settings_for, monkeypatch):
    """A refusal leaves a connection to its handler, and a proxy shares it with whoever comes next (docs/bcda.md#connections)."""
    from bcda.errors import ServerError
    from bcda_provider.hooks import BcdaHook
    from bcda_provider.open_endpoints import OpenEndpointsHook

    server = serve()
    refused = {"Authorization": "Bearer a.b.c"}
    with pooling_proxy(server.base_url) as (base_url, pool):
        settings = settings_for(server, base_url=base_url)
        assert pool.ask("GET", "/data/1/x.ndjson", refused)[0] == 401
        assert BcdaHook().check_open_endpoints(settings) == "4.0.1"
        monkeypatch.setattr(OpenEndpointsHook, "ask", OpenEndpointsHook._ask_once)
        monkeypatch.setattr("bcda_provider.open_checks._check_health", lambda _: None)
        assert pool.ask("GET", "/data/1/x.ndjson", refused)[0] == 401
        with pytest.raises(ServerError, match="answers with 404"):
            BcdaHook().check_open_endpoints(settings)
        assert pool.asked_to_close == pool.clients > 0


def test_the_hook_reaches_every_endpoint_by_hand(serve, connect, logged, tmp_path):
    from bcda import Bcda
    from bcda.errors import InvalidRequestError
    from bcda_provider.hooks import BcdaHook

    server = serve()
    connect(server)
    hook = BcdaHook()
    done = hook.export(tmp_path / "claims", "Group/all", resource_types=["Patient"], land=False)
    assert (done.job_id, done.lines.keys()) == ("1", {"Patient"})
    assert hook.download("1", tmp_path / "again", land=False).lines == done.lines
    assert [job.job_id for job in hook.jobs(["Completed"])] == [job.job_id for job in hook.jobs()] == ["1"]
    assert hook.job("1").manifest is not None
    assert hook.cancel("1") is False
    assert hook.attribution().current_at is not None
    assert hook.metadata()["fhirVersion"] == "4.0.1"
    assert (hook.version(), set(hook.health().values())) == ("r297", {"ok"})
    with pytest.raises(InvalidRequestError, match="BCDA has no Group/new"):
        hook.export(tmp_path / "new", "Group/new")
    assert server.entity.client_secret not in logged()
    asking = {name for name, value in vars(Bcda).items() if callable(value) and name[0] != "_"}
    assert asking <= set(vars(BcdaHook))


def test_the_hook_masks_the_secret_and_the_tokens_of_calls_by_hand(serve, connect, monkeypatch):
    from bcda_provider import hooks

    masked = []
    monkeypatch.setattr("bcda_provider.clients.mask_secret", masked.append)
    server = serve()
    connect(server)
    hooks.BcdaHook().jobs()
    assert len(masked) == 1
    assert masked[0].count(".") == 2


async def test_the_hook_answers_inside_a_running_loop(serve, connect):
    from bcda_provider.hooks import BcdaHook

    connect(serve())
    assert BcdaHook().version() == "r297"
