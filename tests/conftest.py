"""What all tests share: an empty home, the samples' folder, a running simulator; and what may not be skipped."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from public_samples import SAMPLES
from schema_once import schema_made_once

from bcda.settings import ConnectionSettings, Tuning
from bcda.storage.places import Places
from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

PROJECT = Path(__file__).resolve().parents[1]

# Before any process is forked: what the object store's client finds by itself, and never the credentials of whoever tests.
os.environ.update(
    {
        "AWS_ACCESS_KEY_ID": "CANARY-access-key",
        "AWS_SECRET_ACCESS_KEY": "CANARY-secret-key",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """A suite that claims to cover something may not skip it."""
    parser.addoption("--nothing-skipped", action="store_true", help="fail when a test was skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session when tests were skipped and that is not allowed; with several processes the first one counts."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--nothing-skipped") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a browser or the samples before markers choose the tests of a suite."""
    for item in items:
        if item.path.is_relative_to(PROJECT / "tests" / "browser"):
            item.add_marker(pytest.mark.browser)
        if "samples" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.samples)


FAST = Tuning(
    backoff_initial_seconds=0.05,
    backoff_max_seconds=0.2,
    poll_seconds=0.05,
    poll_max_seconds=0.1,
    max_attempts=4,
    file_attempts=3,
)


@pytest.fixture(scope="session", autouse=True)
def each_schema_is_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the schema of new warehouses once in a process; `schema_once` says why, and what is made as always."""
    with schema_made_once(tmp_path_factory.mktemp("schema")):
        yield


@pytest.fixture
def samples() -> Path:
    """Folder of the public sample resources; they are not part of the project."""
    if not SAMPLES.exists():
        pytest.skip(f"no public samples in {SAMPLES}; set BCDA_SAMPLES to their folder")
    return SAMPLES


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An empty BCDA_HOME."""
    return Places.below(tmp_path / "home")


@pytest.fixture
def serve() -> Iterator[Callable[..., SimulatorServer]]:
    """Start simulators that are stopped at the end of the test; a small world unless a source is given."""
    with ExitStack() as stack:

        def start(source: object = None, **options: object) -> SimulatorServer:
            return stack.enter_context(SimulatorServer(source or World(people=6, seed=3, history_weeks=20), **options))

        yield start


class Gate:
    """What lies between here and BCDA: it leaves the next connections without an answer, then lets all through.

    Attributes:
        refuses: how many connections are not made from now on.
        refused: how many were not made.
    """

    def __init__(self) -> None:
        self.refuses = 0.0
        self.refused = 0

    def check(self, request: httpx.Request) -> None:
        if self.refuses > 0:
            self.refuses -= 1
            self.refused += 1
            raise httpx.ConnectTimeout("", request=request)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Stand in for the network under every client; an address that is not on the allow list meets a shut gate."""
    gate, send = Gate(), httpx.AsyncHTTPTransport.handle_async_request

    async def pass_through(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        gate.check(request)
        return await send(transport, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", pass_through)
    return gate


@pytest.fixture(scope="session")
def settings_for() -> Callable[..., ConnectionSettings]:
    """Settings for a simulator, with short waits."""

    def make(server: SimulatorServer, **changes: object) -> ConnectionSettings:
        values = {
            "base_url": server.base_url,
            "client_id": server.entity.client_id,
            "client_secret": server.entity.client_secret,
            "tuning": FAST,
        }
        return ConnectionSettings(**{**values, **changes})

    return make
