"""What lies on the disk while a source lives: modes whatever the umask is, and bytes with and without a key.

Source: docs/guarantees.md#privacy-and-security.
"""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb_cryptography
import pytest

from bcda_simulator import SimulatorServer
from bcda_simulator.world import World
from bcda_simulator.world.people import _LAST, person

pytestmark = pytest.mark.complete

PEOPLE, SEED = 8, 4
LIFE = Path(__file__).parent / "watched_disk.py"

RAW = {"download": r"\.?\d{5}-.*\.ndjson\.gz(\.[0-9a-f]{16}\.part)?"}
OURS = {
    "lake file": r".*-\d{3}\.parquet",
    "lake file on its way": r"[a-z_]+(\.encrypted)?\.parquet",
    "compacted file": r".*-all\.parquet",
    "compacted file on its way": r"\..*\.parquet\.compact|all\.parquet",
    "spilled data": r"duckdb_temp_.*\.tmp",
    "warehouse": r"working\.duckdb",
    "its log": r"working\.duckdb\.wal",
    "its new copy": r"copy\.duckdb",
    "snapshot": r"bcda\.duckdb",
    "snapshot on its way": r"new\.duckdb",
    "rebuilt warehouse": r"anew\.duckdb",
    "log of the rebuilt warehouse": r"anew\.duckdb\.wal",
}
WITHOUT_RECORDS = {
    "small file on its way": r"\..*\.json\.[0-9a-f]{16}\.tmp",
    "spill folder": r".*spill.*",
    "lock of the publication": r"\.bcda\.duckdb\.lock",
}


def canaries(world: World) -> list[str]:
    """Return what must not be readable: names, MBIs and ids of the people."""
    now, numbers = datetime.now(UTC), range(PEOPLE)
    ids = (person(SEED, number).patient_id for number in numbers)
    return [*_LAST, *(world.mbi(str(number), now) for number in numbers), *ids]


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """What was seen in a life without a key and in one with a key; the canaries are every name and MBI of the people."""
    world = World(people=PEOPLE, seed=SEED, history_weeks=60)
    seen = {}
    with SimulatorServer(world) as server:
        settings = {
            "base_url": server.base_url,
            "client_id": server.entity.client_id,
            "client_secret": server.entity.client_secret,
        }
        for key in (None, duckdb_cryptography.KEY.text):
            given = {
                "home": str(tmp_path_factory.mktemp("life")),
                "settings": settings,
                "key": key,
                "cryptography": duckdb_cryptography.statement(),
                "canaries": canaries(world),
            }
            done = subprocess.run(
                [sys.executable, str(LIFE), json.dumps(given)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
            seen[key is not None] = json.loads(done.stdout.splitlines()[-1])
    return seen


def of_kind(seen: dict[str, list[str]], pattern: str) -> list[str]:
    return [text for name, texts in seen.items() if re.fullmatch(pattern, name) for text in texts]


@pytest.mark.parametrize("has_key", [False, True], ids=["plain", "encrypted"])
def test_no_file_is_open_to_anybody_else(lives, has_key):
    modes = lives[has_key]["modes"]
    for kind, pattern in {**RAW, **OURS, **WITHOUT_RECORDS}.items():
        assert of_kind(modes, pattern), f"no {kind} was looked at"
    assert {name: found for name, found in modes.items() if not set(found) <= {"100000 600", "40000 700"}} == {}


@pytest.mark.parametrize("kind", OURS)
def test_without_a_key_people_can_be_read_in_every_kind_of_file(lives, kind):
    assert of_kind(lives[False]["found"], OURS[kind])


def test_with_a_key_nobody_can_be_read_in_any_file(lives):
    assert {name: texts for name, texts in lives[True]["found"].items() if texts} == {}
