"""Names and paths with everything in them that could end a literal, a name, a comment line or a pattern."""

from dataclasses import replace

import duckdb
import pytest
from plain_export import planned, run_export

from bcda import maintenance, warehouse
from bcda.errors import InvalidRequestError
from bcda.export import publish
from bcda.model import core_tables
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import open_warehouse

HOSTILE = 'it\'s; DROP TABLE claim; -- [a]* "$run_id" {lake} %s\nDROP TABLE claim; --'


@pytest.fixture
def hostile(tmp_path) -> Places:
    home = tmp_path / HOSTILE
    return replace(
        Places.below(home), warehouse=home / "warehouse" / 'work"; [ing.duckdb', published=home / "b'cda.duckdb"
    )


@pytest.mark.complete
def test_a_home_with_a_hostile_name_is_a_folder_like_any_other(serve, settings_for, hostile, tmp_path):
    server = serve()
    settings = settings_for(server)
    run_export(settings, hostile)
    # A sibling that the name would match as a pattern; its resources must not show.
    run_export(settings, Places.below(tmp_path / HOSTILE.replace("[a]*", "a-b")))
    server.clock.advance(7 * 86_400)
    run_export(settings, hostile)
    maintenance.compact_lake(hostile, warehouse.merged_runs(hostile))
    warehouse.vacuum(hostile, worth_it=0.0)
    publish(hostile)
    with duckdb.connect() as connection:
        connection.execute("ATTACH $path AS bcda (READ_ONLY)", {"path": str(hostile.published)})
        connection.execute("USE bcda")
        counts = [
            connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for name in ("claim", "roster", "resource")
        ]
        latest = connection.execute("SELECT count(*) FROM resource_version WHERE is_latest").fetchall()[0][0]
        (about,) = connection.execute(
            "SELECT comment FROM duckdb_views() WHERE view_name = 'resource' AND NOT internal"
        ).fetchall()[0]
    assert all(counts)
    assert counts[2] == latest
    assert str(hostile.lake) in about
    assert maintenance.rebuild_lake(hostile, hostile.raw.parent / "la'ke [b]").differing == ()
    assert maintenance.rebuild_warehouse(hostile, hostile.raw.parent / "an'ew.duckdb").differing == ()


def test_a_question_mark_is_refused_because_duckdb_would_write_elsewhere(tmp_path):
    with pytest.raises(InvalidRequestError, match="question mark"):
        Places.below(tmp_path / "what?")


@pytest.mark.parametrize("name", [HOSTILE, "a'b", "a/b", "..", "../x", "", "a b", "x" * 200, "a\n"])
def test_ids_that_are_no_names_are_refused(places, name):
    with pytest.raises(InvalidRequestError):
        places.run_folder(name)
    with pytest.raises(InvalidRequestError):
        places.of_source(name)


@pytest.mark.complete
def test_texts_of_a_run_are_values_wherever_they_end_up(serve, settings_for, places):
    settings = settings_for(serve())
    run_export(settings, places)
    run = planned(settings, places)
    assert warehouse.read_ledger(places, ApiVersion.V2, run.request.scope, [HOSTILE]).types[HOSTILE].covered == ()
    with pytest.raises(InvalidRequestError, match="never mixed"):
        warehouse.read_ledger(replace(places, source_id=HOSTILE), ApiVersion.V2, run.request.scope, ["Patient"])
    with open_warehouse(places.warehouse) as connection:
        assert warehouse.run_summary(connection, HOSTILE) is None


@pytest.mark.complete
def test_a_table_that_somebody_made_beside_ours_does_no_harm(serve, settings_for, places):
    run_export(settings_for(serve()), places)
    with open_warehouse(places.warehouse) as connection:
        connection.execute('CREATE TABLE "x""; DROP TABLE claim; --" AS SELECT 1 AS "a""b"')
    warehouse.vacuum(places, worth_it=0.0)
    with open_warehouse(places.warehouse) as connection:
        assert connection.execute('FROM "x""; DROP TABLE claim; --"').fetchall() == [(1,)]
        assert all(connection.execute(f"SELECT count(*) FROM {table.relation}").fetchall() for table in core_tables())
