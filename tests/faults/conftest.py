"""What each row of the fault matrix starts from."""

import os
from zlib import crc32

import arrangements
import pytest
from retried_export import Export

from bcda.errors import WarehouseLockedError
from bcda.storage.places import Places
from bcda.warehouse import database
from bcda_simulator import SimulatorServer


def pytest_collection_modifyitems(config, items):
    """Take a share of the rows that `make test` leaves out: FAULT_SHARE, such as `2/3`, is the third of three; all without it."""
    number, _, shares = os.environ.get("FAULT_SHARE", "0/1").partition("/")
    left = [
        item
        for item in items
        if "row" in item.fixturenames
        and item.get_closest_marker("complete")
        and crc32(item.nodeid.encode()) % int(shares) != int(number)
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture(scope="session")
def loaded(tmp_path_factory):
    """API version → a home with the first week's full export."""
    homes = {}

    def home(version):
        if version not in homes:
            homes[version] = tmp_path_factory.mktemp(f"loaded-{version}") / "home"
            with SimulatorServer(arrangements.world(weeks=8), start=arrangements.START) as server:
                one = Export(server, Places.below(homes[version]), {}, {}, version, {})
                one.changes["resource_types"] = arrangements.WITH_COVERAGE
                one.to_the_end()
        return homes[version]

    return home


@pytest.fixture
def short_lock_wait(row, monkeypatch):
    """Let a row about a database that stays locked wait briefly, and another attempt at a merge be waited for."""
    attach, wait_seconds = database.attach_waiting, 0.3 if row.error is WarehouseLockedError else 60.0
    monkeypatch.setattr(
        database,
        "attach_waiting",
        lambda *given, **options: attach(*given, **{**options, "wait_seconds": wait_seconds}),
    )
