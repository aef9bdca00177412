"""The files that other releases of DuckDB and other tools open."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb_cryptography
import pytest
from plain_export import run_export
from reader_environments import ENVIRONMENTS, JDBC, JDBC_SHA256, made_once

from bcda.settings import ConnectionSettings
from bcda.storage import duckdb_files
from bcda.storage.places import Places
from bcda.storage.publication import Publication
from bcda.warehouse import publish
from bcda_simulator import SimulatorServer
from bcda_simulator.world import World


@pytest.fixture(scope="session")
def jdbc_driver() -> Path:
    """DuckDB's driver for Java, as DBeaver and Metabase use it; skip where Java or Maven is not installed, fail in CI."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        text = f"{' and '.join(missing)} not installed; apt-get install default-jdk-headless maven"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    driver = ENVIRONMENTS / f"duckdb_jdbc-{JDBC}.jar"
    with made_once("jdbc"):
        if not driver.exists():
            get = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact=org.duckdb:duckdb_jdbc:{JDBC}"]
            subprocess.run([*get, f"-DoutputDirectory={ENVIRONMENTS}"], check=True, cwd=ENVIRONMENTS)
    assert hashlib.sha256(driver.read_bytes()).hexdigest() == JDBC_SHA256
    return driver


@pytest.fixture(scope="session")
def homes(tmp_path_factory) -> tuple[Places, Places]:
    """Two sources with different data."""
    made = []
    for people, seed in ((5, 3), (8, 4)):
        places = Places.below(tmp_path_factory.mktemp(f"home{seed}"))
        with SimulatorServer(World(people=people, seed=seed, history_weeks=20)) as server:
            settings = ConnectionSettings(server.base_url, server.entity.client_id, server.entity.client_secret)
            run_export(settings, places)
        made.append(places)
    return made[0], made[1]


@pytest.fixture(scope="session")
def published(homes, tmp_path_factory) -> Callable[[str], tuple[Places, Places]]:
    """Return both sources published with a storage version."""
    made: dict[str, tuple[Places, ...]] = {}

    def with_storage(storage: str) -> tuple[Places, ...]:
        if storage not in made:
            folders = [tmp_path_factory.mktemp(f"published{number}") for number in (1, 2)]
            made[storage] = tuple(
                replace(home, published=folder / "bcda.duckdb", publication=Publication(storage=storage))
                for home, folder in zip(homes, folders, strict=True)
            )
            for places in made[storage]:
                publish(places)
        return made[storage]

    return with_storage


@pytest.fixture(scope="session")
def encrypted(tmp_path_factory) -> Places:
    """An encrypted source."""
    places = replace(Places.below(tmp_path_factory.mktemp("encrypted")), key=duckdb_cryptography.KEY)
    with pytest.MonkeyPatch.context() as patch, SimulatorServer(World(people=4, seed=5, history_weeks=20)) as server:
        patch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
        settings = ConnectionSettings(server.base_url, server.entity.client_id, server.entity.client_secret)
        run_export(settings, places)
    return places
