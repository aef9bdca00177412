"""`python -m bcda_simulator`: the simulator as a process."""

import json
import os
import signal
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bcda_simulator.certificate import make_certificate
from bcda_simulator.folder import FolderSource
from bcda_simulator.server import SimulatorServer
from bcda_simulator.settings import Entity, SimulatorSettings
from bcda_simulator.source import Source
from bcda_simulator.world import World

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    *,
    port: Annotated[int, typer.Option(envvar="BCDA_SIM_PORT", help="Port; 0 for a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "127.0.0.1",
    tls_folder: Annotated[
        Path | None, typer.Option(help="Speak TLS, with a certificate for the host that is made in this folder.")
    ] = None,
    folder: Annotated[list[str] | None, typer.Option(help="Serve NDJSON files: VERSION=FOLDER, repeatable.")] = None,
    people: Annotated[int, typer.Option(help="People of the synthetic world.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic world.")] = 1,
    clock: Annotated[str | None, typer.Option(help="Instant to start at, such as 2026-11-10T12:00:00Z.")] = None,
    cms_id: Annotated[str, typer.Option(help="The organization.")] = "A9999",
    pending_seconds: Annotated[float, typer.Option(help="How long a job stays Pending.")] = 0.2,
    parts_per_second: Annotated[float, typer.Option(help="Speed of a job.")] = 200.0,
    ready_file: Annotated[Path | None, typer.Option(help="Written as JSON once the server listens.")] = None,
) -> None:
    """Serve a simulated BCDA until interrupted."""
    source: Source
    if folder:
        source = FolderSource({version: Path(path) for version, _, path in (entry.partition("=") for entry in folder)})
    else:
        source = World(people=people, seed=seed, cms_ids=(cms_id,))
    entity = Entity(cms_id=cms_id)
    settings = SimulatorSettings(pending_seconds=pending_seconds, parts_per_second=parts_per_second, seed=seed)
    start = datetime.fromisoformat(clock) if clock else None
    certificate = make_certificate(tls_folder, host) if tls_folder else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SimulatorServer(
        source,
        settings=settings,
        entities=(entity,),
        start=start,
        port=port,
        host=host,
        certificate=certificate,
    ) as server:
        facts = {
            "base_url": server.base_url,
            "client_id": entity.client_id,
            "client_secret": entity.client_secret,
            "pid": os.getpid(),
        }
        if ready_file:
            temporary = ready_file.with_suffix(".tmp")
            temporary.write_text(json.dumps(facts))
            temporary.replace(ready_file)
        typer.echo(f"Simulated BCDA at {server.base_url}, client {entity.client_id}, secret {entity.client_secret}")
        stop.wait()


if __name__ == "__main__":
    app()
