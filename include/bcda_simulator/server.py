"""Running the simulator: in a thread for tests, in the foreground for people."""

import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from bcda_simulator.app import LoggedRequest, Simulator
from bcda_simulator.certificate import Certificate
from bcda_simulator.clock import Clock
from bcda_simulator.faults import Fault, Faults
from bcda_simulator.jobs import Job
from bcda_simulator.settings import Entity, SimulatorSettings
from bcda_simulator.source import Source


class SimulatorServer:
    """A simulator, on a loopback port unless told otherwise. Use as a context manager.

    Args:
        source: what it serves.
        settings: deployment settings and quirks.
        entities: organizations with their credentials; one by default.
        start: instant of the simulated clock; None for the present.
        faults: in force from the beginning.
        port: 0 for a free one.
        host: name or address to listen on.
        certificate: speak TLS with it; None for plain http.
    """

    def __init__(
        self,
        source: Source,
        *,
        settings: SimulatorSettings | None = None,
        entities: Sequence[Entity] = (Entity(),),
        start: datetime | None = None,
        faults: Sequence[Fault] = (),
        port: int = 0,
        host: str = "127.0.0.1",
        certificate: Certificate | None = None,
    ) -> None:
        self.clock = Clock(start)
        self.entity = entities[0]
        self._folder = tempfile.TemporaryDirectory(prefix="bcda-simulator-", ignore_cleanup_errors=True)
        self._simulator = Simulator(
            source,
            settings=settings or SimulatorSettings(),
            entities=entities,
            clock=self.clock,
            folder=Path(self._folder.name),
        )
        for fault in faults:
            self.faults.add(fault)
        self._port = port
        self._host = host
        self._certificate = certificate
        self._server = self._new_server()
        self._thread: threading.Thread | None = None

    def _new_server(self) -> uvicorn.Server:
        config = uvicorn.Config(
            self._simulator,
            host=self._host,
            port=self._port,
            ssl_certfile=self._certificate.certificate if self._certificate else None,
            ssl_keyfile=self._certificate.key if self._certificate else None,
            log_level="critical",
            access_log=False,
            date_header=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        return uvicorn.Server(config)

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the simulator did not start; is its port taken?")
            time.sleep(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving and remove the job files."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=10)
        self._folder.cleanup()

    def restart(self, down_seconds: float) -> None:
        """Stop the API's process and start it again on the same port; jobs, files and tokens survive, as in a database."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=10)
        time.sleep(down_seconds)
        self._server = self._new_server()
        self.__enter__()

    @property
    def base_url(self) -> str:
        """Address without a path."""
        return f"{'https' if self._certificate else 'http'}://{self._host}:{self._port}"

    @property
    def folder(self) -> Path:
        """Where the files of the jobs lie, one folder a job."""
        return self._simulator.store.folder

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._simulator.faults

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request so far, in the order they were finished."""
        return self._simulator.requests

    def jobs(self) -> dict[int, str]:
        """Return number → internal state of every job."""
        return {number: self._simulator.store.state(job) for number, job in self._simulator.store.jobs.items()}

    def serve(self, source: Source) -> None:
        """Serve another source from the next job on."""
        self._simulator.store.source = source

    def job(self, number: int) -> Job:
        """Return a job by its number."""
        return self._simulator.store.jobs[number]
