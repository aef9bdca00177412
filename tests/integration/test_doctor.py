"""What the doctor says of everything that can be wrong between this machine and an export, each provoked for real."""

import asyncio
import contextlib
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bcda import doctor
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.doctor import Status
from bcda.errors import AttributionMissingError
from bcda.settings import ApiVersion, AuthMode, ConnectionSettings, Tuning
from bcda.storage.places import Places
from bcda.warehouse import open_warehouse
from bcda_simulator import Entity, Fault, FaultKind, SimulatorSettings
from bcda_simulator.world import World

STEPS = ["proxy", "certificates", "name resolution", "connection", "TLS", "health", "clock", "token", "version", "attribution", "job slots", "secret"]  # fmt: skip
CLIENT_ID, SECRET = "client-4711", "hush-hush"


def settings_to(base_url, **changes):
    return ConnectionSettings(**{"base_url": base_url, "client_id": CLIENT_ID, "client_secret": SECRET, **changes})


def examine(settings, *, clock=lambda: datetime.now(UTC), **options):
    """Return the checks by name; whatever is wrong, they are all there in order and no text holds a credential."""
    checks = doctor.check_connection(settings, clock=clock, **options)
    assert [check.name for check in checks] == STEPS
    for check in checks:
        assert settings.client_id not in check.text
        assert settings.client_secret not in check.text
        assert check.text.endswith(".")
    return {check.name: check for check in checks}


def states(checks):
    return {name: str(check.status) for name, check in checks.items()}


def expect(checks, name, status, *texts):
    """Only this check has something to say; what needs it was not asked, and everything before is well."""
    found = checks[name]
    assert found.status is status, found
    for text in texts:
        assert text in found.text
    place = STEPS.index(name)
    assert all(checks[before].status is Status.OK for before in STEPS[:place]), checks


@pytest.fixture
def hurried(monkeypatch):
    """The bound on silence, where nothing will answer anyway."""
    monkeypatch.setattr("bcda.doctor.connection.SILENCE_SECONDS", 0.4)


# What the connection can show


def test_all_is_well_and_nothing_is_started(serve, settings_for):
    server = serve()
    settings = settings_for(server)
    today = datetime.now(UTC).date()
    settings = replace(settings, tuning=replace(settings.tuning, credentials_made_on=today.isoformat()))
    tokens = []
    checks = examine(settings, on_token=tokens.append)
    in_january = (today.month, today.day) <= (2, 20)
    assert set(states(checks).values()) == ({"ok", "warning"} if in_january else {"ok"})
    assert "BCDA v2 (FHIR 4.0.1) accepts the credentials" in checks["version"].text
    assert [entry.endpoint for entry in server.requests] == [
        "open",
        "token",
        "welcome",
        "metadata",
        "jobs",
        "attribution",
    ]
    assert [entry.endpoint for entry in server.requests if entry.has_authorization] == [
        "token",
        "welcome",
        "jobs",
        "attribution",
    ]
    assert len(tokens) == 1
    assert tokens[0] not in doctor.table(list(checks.values()))


def test_a_name_that_nobody_knows(hurried):
    checks = examine(settings_to("https://bcda.invalid"))
    expect(checks, "name resolution", Status.FAILED, "The name bcda.invalid cannot be resolved", "Check the base URL")
    for name in STEPS[3:-1]:
        assert checks[name].status is Status.SKIPPED
        assert checks[name].text == "Not asked, because name resolution failed."


def test_a_resolver_that_hangs_is_left_behind(hurried, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    started = time.monotonic()
    checks = examine(settings_to("https://bcda.invalid"))
    assert time.monotonic() - started < 2
    expect(checks, "name resolution", Status.FAILED, "cannot be resolved (no answer within")


def test_names_are_left_to_a_proxy(monkeypatch, free_port):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-password@127.0.0.1:{free_port}")
    checks = examine(settings_to("https://bcda.invalid"))
    expect(checks, "connection", Status.FAILED, f"Nobody listens on the proxy 127.0.0.1:{free_port} (HTTPS_PROXY)")
    assert "resolved by the proxy" in checks["name resolution"].text
    assert "proxy-password" not in doctor.table(list(checks.values()))


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_where_nobody_listens(free_port):
    # localhost has two addresses on many machines, so that two attempts fail.
    checks = examine(settings_to(f"https://localhost:{free_port}"))
    expect(checks, "connection", Status.FAILED, f"Nobody listens on localhost port {free_port}", "refused")
    assert {checks[name].text for name in ("TLS", "token", "job slots")} == {"Not asked, because connection failed."}


def test_a_name_with_several_addresses_where_nobody_listens(free_port, monkeypatch):
    ask = socket.getaddrinfo

    def both(host, port, *rest, **options):
        return [entry for address in ("127.0.0.1", "127.0.0.2") for entry in ask(address, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    checks = examine(settings_to(f"https://localhost:{free_port}"))
    expect(checks, "connection", Status.FAILED, f"Nobody listens on localhost port {free_port}")
    assert checks["name resolution"].text == "localhost is 127.0.0.1 and 1 more."


@contextlib.contextmanager
def full_backlog():
    """A listener whose queue is full: the kernel leaves every further connection without an answer, as BCDA's edge does."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]


def test_an_address_that_is_not_on_the_allow_list(hurried):
    with full_backlog() as port:
        started = time.monotonic()
        checks = examine(settings_to(f"https://127.0.0.1:{port}"))
    assert time.monotonic() - started < 2
    expect(
        checks,
        "connection",
        Status.FAILED,
        "not on the allow list",
        "an expired secret takes addresses off it",
        "ACO-MS or 4i",
    )
    assert checks["token"].status is Status.SKIPPED


def certificate(folder, *, name="localhost", ends=timedelta(days=1)):
    """Make a self-signed certificate; return the paths of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@contextlib.contextmanager
def listener(*, tls=None, answer=b""):
    """A server that answers whatever comes with some bytes, or with nothing at all; yields its port."""

    async def handle(reader, writer):
        with contextlib.suppress(OSError):
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
            if not answer:
                await asyncio.sleep(30)
            writer.close()

    loop = asyncio.new_event_loop()
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    server = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0, ssl=context))
    loop.set_exception_handler(lambda *_: None)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        server.close()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


WELL = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"database":0}\n'


def trust(monkeypatch, path):
    """Trust a certificate, as an operator would whose proxy opens TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


def test_a_certificate_that_nobody_vouches_for(tmp_path):
    with listener(tls=certificate(tmp_path), answer=WELL) as port:
        checks = examine(settings_to(f"https://localhost:{port}"))
    expect(
        checks,
        "TLS",
        Status.FAILED,
        f"certificate of https://localhost:{port} is not trusted by",
        "self-signed",
        "SSL_CERT_FILE",
        "do not go on",
    )
    assert checks["health"].text == "Not asked, because TLS failed."


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"ends": timedelta(days=-1)}, "certificate has expired"), ({"name": "elsewhere"}, "Hostname mismatch")],
    ids=["expired", "of-another-host"],
)
def test_a_certificate_that_is_no_longer_good_or_somebody_elses(tmp_path, monkeypatch, changes, why):
    made = certificate(tmp_path, **changes)
    trust(monkeypatch, made[0])
    with listener(tls=made, answer=WELL) as port:
        checks = examine(settings_to(f"https://localhost:{port}"))
    expect(checks, "TLS", Status.FAILED, why)


def test_a_certificate_that_is_trusted(tmp_path, monkeypatch):
    made = certificate(tmp_path)
    trust(monkeypatch, made[0])
    with listener(tls=made, answer=WELL) as port:
        checks = examine(settings_to(f"https://localhost:{port}"))
    assert checks["TLS"].text == "The certificate is trusted."


def test_a_server_without_tls(serve):
    server = serve()
    checks = examine(settings_to(server.base_url.replace("http:", "https:")))
    expect(checks, "TLS", Status.FAILED, "does not speak TLS as it should", "scheme and port")


def test_a_server_that_takes_connections_and_says_nothing(hurried):
    with listener() as port:
        started = time.monotonic()
        checks = examine(settings_to(f"http://127.0.0.1:{port}"))
    assert time.monotonic() - started < 2
    expect(checks, "health", Status.FAILED, "took the request and did not answer in time", "help desk")
    assert checks["clock"].text == "BCDA has not said what time it is."


def test_a_server_that_takes_connections_and_does_not_begin_with_tls(hurried):
    with listener() as port:
        checks = examine(settings_to(f"https://127.0.0.1:{port}"))
    expect(checks, "TLS", Status.FAILED, "takes connections and then says nothing", "not on the allow list")


def bound(monkeypatch, **seconds):
    for name, value in seconds.items():
        monkeypatch.setattr(f"bcda.doctor.connection.{name.upper()}_SECONDS", value)


def slow(seconds, *endpoints):
    return [Fault(FaultKind.DELAY, endpoint, seconds=seconds) for endpoint in endpoints]


def test_answers_that_take_long_are_given_up_together(monkeypatch, serve, settings_for):
    bound(monkeypatch, silence=5.0, step=5.0, all=1.2)
    server = serve(faults=slow(0.5, "open", "token", "metadata", "jobs", "attribution"))
    started = time.monotonic()
    checks = examine(settings_for(server))
    assert time.monotonic() - started < 2
    # On a busy machine the time is up a step earlier.
    (failed,) = [check for check in checks.values() if check.status is Status.FAILED]
    assert "did not answer in time" in failed.text
    assert checks["attribution"].status is Status.SKIPPED


def test_what_there_is_no_time_for_is_not_asked(monkeypatch, serve, settings_for):
    bound(monkeypatch, all=0.0)
    server = serve()
    checks = examine(settings_for(server))
    assert {checks[name].text for name in STEPS[3:-1]} == {"Not asked, because the time was up."}
    assert server.requests == []


def test_one_step_that_takes_long_keeps_the_next_from_nothing(monkeypatch, serve, settings_for):
    bound(monkeypatch, silence=5.0, step=1.0)
    checks = examine(settings_for(serve(faults=slow(0.6, "metadata", "jobs"))))
    expect(checks, "version", Status.FAILED, "did not answer in time")
    assert states(checks)["attribution"] == "ok"


def test_the_resolvers_time_counts(monkeypatch, serve, settings_for):
    bound(monkeypatch, silence=5.0, step=5.0, all=1.0)
    ask, late = socket.getaddrinfo, [0.6]

    def late_at_first(*arguments, **options):
        time.sleep(late.pop() if late else 0)
        return ask(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", late_at_first)
    checks = examine(settings_for(serve(faults=slow(0.6, "open"))))
    expect(checks, "connection", Status.FAILED, "did not answer in time")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            Fault(FaultKind.ANSWER, "open", status=502, body="text", text='{"database":"ok","ssas":"error"}'),
            "its token service is not well (ssas: error)",
        ),
        (Fault(FaultKind.ANSWER, "open", status=200, body="html"), "a maintenance page answers"),
        (Fault(FaultKind.ANSWER, "open", status=404, body="text", text="404 page not found"), "check the base URL"),
        (
            Fault(FaultKind.ANSWER, "open", status=503, body="none"),
            "Health: 503, BCDA gave no reason. Try again in some minutes",
        ),
        (Fault(FaultKind.DROP, "open"), "failed (ReadError)"),
    ],
    ids=["ill", "maintenance-page", "another-server", "busy", "dropped"],
)
def test_a_server_that_is_not_well_or_not_bcda(serve, settings_for, fault, said):
    checks = examine(settings_for(serve(faults=[fault])))
    expect(checks, "health", Status.FAILED, said)
    assert checks["token"].text == "Not asked, because health failed."


@pytest.mark.parametrize("hours", [1, -1], ids=["behind", "ahead"])
def test_a_clock_that_is_an_hour_off(serve, settings_for, hours):
    server = serve(start=datetime.now(UTC) + timedelta(hours=hours))
    checks = examine(settings_for(server))
    expect(checks, "clock", Status.WARNING, "1.0 hours", "behind BCDA's" if hours > 0 else "ahead of BCDA's", "NTP")
    # It is not in the way of anything.
    assert states(checks)["job slots"] == "ok"


@pytest.mark.parametrize(
    ("seconds", "status"), [(50, Status.OK), (-50, Status.OK), (70, Status.WARNING), (-70, Status.WARNING)]
)
def test_a_minute_of_the_clock_is_nothing(serve, settings_for, seconds, status):
    checks = examine(settings_for(serve()), clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    assert checks["clock"].status is status


def test_a_wrong_secret(serve, settings_for):
    server = serve()
    checks = examine(settings_for(server, client_secret="not-the-secret"))
    expect(checks, "token", Status.FAILED, "answered 401", "client secret (password)", "expires 90 days")
    assert checks["version"].text == "Not asked, because token failed."
    # Asked once: wrong secrets count against the organization's limit.
    assert [entry.endpoint for entry in server.requests] == ["open", "token"]


def test_too_many_token_requests(serve, settings_for):
    server = serve(settings=SimulatorSettings(token_limit=0))
    checks = examine(settings_for(server))
    expect(
        checks,
        "token",
        Status.FAILED,
        "429, the token limit: BCDA gives an organization 1,000 tokens in five minutes",
        "Try again in some minutes",
    )
    assert "job" not in checks["token"].text


@pytest.mark.parametrize(
    ("place", "name", "said"),
    [
        (
            "open",
            "health",
            "its token service is not well (ssas: Cannot connect to SSAS, ssas_introspect: Cannot connect",
        ),
        (
            "token",
            "token",
            "BCDA closed the connection without an answer (RemoteProtocolError), as it does when its token service",
        ),
        ("check", "token", '500, BCDA said "Internal Error", as it does when its token service is slow or down'),
    ],
)
def test_an_outage_of_the_token_service(serve, settings_for, place, name, said):
    """Each of the three signs alone (docs/bcda.md#token-check)."""
    checks = examine(settings_for(serve(faults=[Fault(FaultKind.TOKEN_SERVICE_GONE, place)])))
    expect(checks, name, Status.FAILED, said)
    assert "the credentials are not the cause" in checks[name].text or name == "health"


def test_an_open_test_server_needs_no_token(serve, settings_for):
    checks = examine(settings_for(serve(), auth=AuthMode.NONE))
    assert checks["token"].text == checks["secret"].text == "None is used, as the connection says."


@pytest.mark.parametrize(
    ("entity", "version", "texts"),
    [
        ("A9999", ApiVersion.V3, ["BCDA refuses v3", "V3 access not enabled for this ACO", "API version to v2"]),
        ("IOTA123", ApiVersion.V2, ["BCDA refuses v2", "v1 nor v2 access not enabled", "API version to v3"]),
    ],
)
def test_a_version_that_is_not_enabled(serve, settings_for, entity, version, texts):
    server = serve(entities=(Entity(entity),), settings=SimulatorSettings(v3_entities=frozenset()))
    checks = examine(settings_for(server, api_version=version))
    expect(checks, "version", Status.FAILED, "403", *texts)
    assert checks["job slots"].text == "Not asked, because version failed."


def test_a_model_that_is_switched_off(serve, settings_for):
    server = serve(faults=[Fault(FaultKind.ANSWER, "jobs", status=401)])
    expect(examine(settings_for(server)), "version", Status.FAILED, "401 and no reason", "model is off")


def test_a_version_that_is_not_there(serve, settings_for):
    server = serve(faults=[Fault(FaultKind.ANSWER, "metadata", status=404, body="text")])
    expect(examine(settings_for(server)), "version", Status.FAILED, "does not know v2 of the API")


class LateLists(World):
    """A world whose lists stopped coming."""

    stopped_at = datetime.max.replace(tzinfo=UTC)

    def attribution_lists(self, cms_id, kind, as_of):
        return [entry for entry in super().attribution_lists(cms_id, kind, as_of) if entry.dated_at <= self.stopped_at]


def at(day):
    return datetime.fromisoformat(f"{day}T12:00:00+00:00")


@pytest.mark.parametrize(
    ("today", "stopped", "status", "texts"),
    [
        ("2026-09-03", "2026-12-31", Status.OK, ["is of 2026-08-05", "runout data goes away on 2027-01-06"]),
        ("2026-03-03", "2026-03-01", Status.OK, ["is of 2026-02-12", "runout data goes away on 2026-08-09"]),
        ("2026-09-15", "2026-08-31", Status.WARNING, ["is of 2026-08-05, 40 days ago", "the monthly next one is late"]),
        ("2026-09-24", "2026-08-31", Status.WARNING, ["49 days ago"]),
        ("2026-09-26", "2026-08-31", Status.FAILED, ["51 days ago", "older than 50 days", "contact at CMS"]),
        ("2027-01-15", "2027-12-31", Status.WARNING, ["closed until the first attribution list of 2027", "its newest is of 2026-12-05", "bcda_runout_export"]),
        ("2027-02-11", "2027-12-31", Status.WARNING, ["closed until"]),
        ("2027-02-13", "2027-12-31", Status.OK, ["is of 2027-02-12"]),
        ("2027-02-21", "2027-01-01", Status.FAILED, ["is of 2026-12-05, 77 days ago"]),
    ],
    ids=["fresh", "after-february", "late", "last-day", "too-old", "january", "february", "first-list", "no-first-list"],
)  # fmt: skip
def test_the_age_of_the_attribution_list(serve, settings_for, today, stopped, status, texts):
    world = LateLists(people=6, seed=3, history_weeks=20)
    world.stopped_at = at(stopped)
    checks = examine(settings_for(serve(world, start=at(today))), clock=lambda: at(today))
    expect(checks, "attribution", status, *texts)
    # Whether BCDA is as strict is asked of the simulated server: what fails here is refused there.
    assert states(checks)["job slots"] == "ok"


def test_a_failed_list_is_refused_and_a_late_one_is_not(serve, settings_for):
    for today, is_refused in (("2026-09-24", False), ("2026-09-26", True), ("2027-01-15", True)):
        world = LateLists(people=6, seed=3, history_weeks=20)
        world.stopped_at = at("2026-12-31" if today > "2027" else "2026-08-31")
        settings = settings_for(serve(world, start=at(today)))
        with pytest.raises(AttributionMissingError) if is_refused else contextlib.nullcontext():
            kick_off(settings, "Patient")


def test_an_organization_without_any_list(serve, settings_for):
    server = serve(World(people=6, seed=3, history_weeks=20, cms_ids=("A1111",)))
    expect(examine(settings_for(server)), "attribution", Status.FAILED, "names no attribution list", "contact at CMS")


def test_a_broken_attribution_status_keeps_nothing_else_from_being_asked(serve, settings_for):
    server = serve(faults=[Fault(FaultKind.ANSWER, "attribution", status=500, text="Database Error")])
    checks = examine(settings_for(server))
    expect(checks, "attribution", Status.FAILED, "500", "Database Error", "Try again in some minutes")
    assert states(checks)["job slots"] == "ok"


def kick_off(settings, types, version=ApiVersion.V2):
    async def ask():
        async with BcdaClient(settings) as client:
            return await client.kick_off(ExportRequest(version, Scope.GROUP_ALL, tuple(types.split(","))))

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("types", "version", "parallel", "status", "texts"),
    [
        ("Patient", ApiVersion.V2, False, Status.WARNING, ["Job 1 of this organization is pending for Patient since 20", "refuses jobs that overlap", "cancel it"]),
        ("Coverage,Patient", ApiVersion.V2, True, Status.WARNING, ["pending for Coverage,Patient", "some of the same resource types"]),
        ("Claim", ApiVersion.V2, False, Status.WARNING, ["one job runs at a time"]),
        ("Claim", ApiVersion.V2, True, Status.OK, ["1 running in nobody's way"]),
        ("Patient", ApiVersion.V3, False, Status.OK, ["1 running in nobody's way"]),
    ],
    ids=["overlapping", "overlapping-by-our-rule", "one-at-a-time", "disjoint", "another-version"],
)  # fmt: skip
def test_a_job_that_somebody_else_started(serve, settings_for, types, version, parallel, status, texts):
    settings = settings_for(serve(settings=SimulatorSettings(pending_seconds=60)))
    settings = replace(settings, tuning=replace(settings.tuning, parallel_jobs=parallel))
    kick_off(settings, types, version)
    expect(examine(settings), "job slots", status, *texts)


def test_a_job_that_is_over_is_in_nobodys_way(serve, settings_for):
    settings = settings_for(serve(settings=SimulatorSettings(pending_seconds=0)))
    kick_off(settings, "Patient")
    time.sleep(0.3)
    expect(examine(settings), "job slots", Status.OK, "No job at BCDA blocks a new export.")


@pytest.mark.parametrize(
    ("days", "status", "text"),
    [(0, Status.OK, "lasts for more than two weeks"), (80, Status.WARNING, "ends on"), (91, Status.FAILED, "ended on")],
)
def test_the_age_of_the_secret(free_port, days, status, text):
    made_on = (datetime.now(UTC) - timedelta(days=days)).date().isoformat()
    settings = settings_to(f"http://127.0.0.1:{free_port}", tuning=Tuning(credentials_made_on=made_on))
    found = examine(settings)["secret"]
    # Said even when nothing answers: an expired secret can show as a connection that times out.
    assert (found.status, text in found.text) == (status, True)


# What our own places can show


def storage(places):
    checks = {check.name: check for check in doctor.check_storage(places)}
    assert list(checks) == ["folders", "disk", "warehouse"]
    return checks


def test_places_that_do_not_exist_yet_are_well_and_are_not_made(places):
    checks = storage(places)
    assert states(checks) == {"folders": "ok", "disk": "ok", "warehouse": "skipped"}
    assert not places.raw.parent.exists()


@pytest.fixture
def somebody_else():
    """Go on as a user without rights of root, in a folder that belongs to root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    was = os.geteuid()
    yield folder
    if was == 0:
        os.seteuid(0)
    folder.chmod(0o700)
    for inner in folder.iterdir():
        inner.chmod(0o700)
    shutil.rmtree(folder)


def become_somebody_else():
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
def test_a_folder_that_may_not_be_written(somebody_else, mode):
    places = Places.below(somebody_else / "home")
    for folder in (places.raw, places.lake, places.warehouse.parent):
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    places.raw.parent.chmod(0o777)
    places.raw.chmod(mode)
    become_somebody_else()
    found = storage(places)["folders"]
    assert found.status is Status.FAILED
    assert f"Raw cannot be written below {places.raw} (Permission denied)" in found.text
    assert "Give the user that runs Airflow's tasks" in found.text
    assert "lake cannot" not in found.text


def test_a_home_that_may_not_be_looked_into(somebody_else):
    places = Places.below(somebody_else / "home")
    with open_warehouse(places.warehouse):
        pass
    places.raw.parent.chmod(0o000)
    become_somebody_else()
    found = storage(places)["folders"]
    assert found.status is Status.FAILED
    for name in ("Raw", "lake", "warehouse", "published"):
        assert f"{name} cannot be written below {places.raw.parent} (Permission denied)" in found.text


def test_a_working_database_that_belongs_to_somebody_else(somebody_else):
    places = Places.below(somebody_else / "home")
    with open_warehouse(places.warehouse):
        pass
    for folder in (places.warehouse.parent, places.published.parent):
        folder.chmod(0o777)
    places.warehouse.chmod(0o444)
    become_somebody_else()
    found = storage(places)["folders"]
    assert found.status is Status.FAILED
    assert f"The file {places.warehouse} may not be written" in found.text


def test_a_file_where_a_folder_should_be(places):
    places.raw.parent.mkdir(parents=True)
    places.raw.write_text("")
    found = storage(places)["folders"]
    assert (found.status, "(Not a directory)" in found.text) == (Status.FAILED, True)


Usage = namedtuple("Usage", "total used free")


def grown(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("free", "status", "text"),
    [
        (9.9e9, Status.FAILED, "Only 9.9 GB free for raw, lake, warehouse, published, 10.0 GB needed."),
        (10.9e9, Status.WARNING, "10.0 GB needed and 1.1 GB to spare"),
        (11.2e9, Status.OK, "11.2 GB free for raw, lake, warehouse, published."),
    ],
)
def test_too_little_space_for_another_run_and_a_snapshot(places, monkeypatch, free, status, text):
    # The largest run took 2 GB, which raw and lake may need again, and the snapshot needs what the warehouse holds.
    grown(places.raw / "r1" / "00001-Patient.ndjson.gz", 1_500_000_000)
    grown(places.raw / "r1" / "00002-Patient.ndjson.gz", 500_000_000)
    grown(places.raw / "r2" / "00001-Patient.ndjson.gz", 1_000_000_000)
    grown(places.warehouse, 6_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, int(free)))
    found = storage(places)["disk"]
    assert found.status is status
    assert text in found.text
    assert ("BCDA_HOME" in found.text) is (status is not Status.OK)


def test_an_empty_home_on_a_full_disk(places, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**8))
    found = storage(places)["disk"]
    assert (found.status, "0.1 GB free" in found.text) == (Status.WARNING, True)


def test_places_on_two_file_systems_are_counted_apart(places, monkeypatch):
    # Every Unix has one of its own there; nothing is written to it.
    devices = Path("/dev")
    assert devices.stat().st_dev != places.raw.parent.parent.stat().st_dev
    grown(places.raw / "r1" / "00001-Patient.ndjson.gz", 2_000_000_000)
    elsewhere = replace(places, published=devices / "bcda-nowhere" / "bcda.duckdb")
    grown(places.warehouse, 6_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, int(7.5e9 if Path(path) == devices else 9e9)))
    found = storage(elsewhere)["disk"]
    assert found.status is Status.FAILED
    assert "Only 9.0 GB free for raw, lake, warehouse, 10.0 GB needed." in found.text


def test_a_warehouse_that_another_process_holds(places):
    with open_warehouse(places.warehouse):
        pass
    assert storage(places)["warehouse"].status is Status.OK
    hold = f"import duckdb; c = duckdb.connect({str(places.warehouse)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        started = time.monotonic()
        found = storage(places)["warehouse"]
        assert time.monotonic() - started < 2
        holder.communicate(b"\n")
    assert found.status is Status.WARNING
    assert f"is held by process {holder.pid}" in found.text
    assert "stop it" in found.text


@pytest.mark.parametrize(("version", "said"), [(0, "bcda remap"), (99, "Use the later release")])
def test_a_warehouse_of_another_release(places, version, said):
    with open_warehouse(places.warehouse) as connection:
        connection.execute("UPDATE ops.schema_info SET schema_version = $version", {"version": version})
    found = storage(places)["warehouse"]
    assert (found.status, said in found.text) == (Status.FAILED, True)


def test_a_warehouse_that_is_none(places):
    grown(places.warehouse, 4096)
    found = storage(places)["warehouse"]
    assert (found.status, "cannot be opened" in found.text) == (Status.FAILED, True)


# How it is shown


def test_the_table_is_aligned_and_fits_one_screen(serve, settings_for, places):
    server = serve(faults=[Fault(FaultKind.ANSWER, "attribution", status=500, text="x" * 300)])
    checks = [
        *doctor.check_connection(settings_for(server), clock=lambda: datetime.now(UTC)),
        *doctor.check_storage(places),
    ]
    lines = doctor.table(checks, width=100).splitlines()
    assert len(lines) <= 30
    assert any(line.startswith("ok       name resolution  127.0.0.1") for line in lines)
    (place,) = [number for number, line in enumerate(lines) if line.startswith("FAILED   attribution      ")]
    assert lines[place + 1].startswith(" " * 26)
    assert lines[-1] == "1 of 15 checks failed: attribution."


def test_the_last_line_names_what_failed_and_what_to_look_at():
    well, warned, failed = (
        doctor.Check(name, status, ".")
        for name, status in (("one", Status.OK), ("two", Status.WARNING), ("three", Status.FAILED))
    )
    last = [
        doctor.table(checks).splitlines()[-1] for checks in ([well], [well, warned], [failed], [well, warned, failed])
    ]
    assert last == [
        "All is well.",
        "Nothing failed. Look at two.",
        "1 of 1 checks failed: three.",
        "1 of 3 checks failed: three. Look at two too.",
    ]
    assert [doctor.has_failed(checks) for checks in ([well, warned], [warned, failed])] == [False, True]


def test_in_short_begins_with_what_failed_and_has_a_line_for_each(serve, settings_for):
    server = serve(start=datetime.now(UTC) - timedelta(hours=1))
    settings = settings_for(server, client_secret="not-the-secret")
    lines = doctor.in_short(doctor.check_connection(settings, clock=lambda: datetime.now(UTC))).splitlines()
    assert lines[0].startswith("The token endpoint answered 401.")
    assert lines[1:7] == [
        "proxy: ok.",
        "certificates: ok.",
        "name resolution: ok.",
        "connection: ok.",
        "TLS: ok.",
        "health: ok.",
    ]
    assert lines[7].startswith("clock: warning: This machine's clock is 1.0 hours ahead")
    assert lines[8:10] == ["token: failed.", "version: skipped."]
    assert len(lines) == 1 + len(STEPS)
