"""What an analyst meets on opening the database: every column explained, every CCLF file in its layout."""

import duckdb
import pytest
from rawfiles import load
from worlds import at, export

from bcda.errors import InvalidRequestError
from bcda.model import cclf_views, mapping, table_sql
from bcda.model import core_tables as tables
from bcda.settings import ApiVersion
from bcda.warehouse import open_warehouse, publish
from bcda_simulator.world import World


@pytest.fixture
def connection(places):
    with open_warehouse(places.warehouse) as opened:
        yield opened


def test_every_table_view_and_column_says_what_it_means(connection):
    silent = connection.execute(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
    ).fetchall()
    assert silent == []
    kinds = "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE NOT internal"
    named = connection.execute(
        f"{kinds} UNION ALL SELECT schema_name || '.' || table_name, comment FROM duckdb_tables() WHERE NOT internal"
    ).fetchall()
    assert len(named) > 50
    assert [name for name, comment in named if not comment] == []


def test_the_cclf_views_have_the_columns_of_the_layout_in_order_and_typed(connection):
    for view, columns in cclf_views.layout().items():
        described = [row[:2] for row in connection.execute(f"DESCRIBE cclf.{view}").fetchall()]
        expected = [(column.name, column.sql_type) for column in columns]
        assert described[:-2] == expected, view
        assert [name for name, _ in described[-2:]] == ["file_name", "file_date"]
    assert set(cclf_views.layout()) == {*(f"cclf{n}" for n in range(1, 10)), "cclfa", "cclfb"}


def test_what_a_version_does_not_supply_has_the_reason_in_its_comment(connection):
    comments = dict(
        connection.execute(
            "SELECT table_name || '.' || column_name, comment FROM duckdb_columns() WHERE schema_name = 'cclf'"
        ).fetchall()
    )
    for view, columns in cclf_views.layout().items():
        for column in columns:
            missing = [v for v in cclf_views.VERSIONS if not column.is_available(v)]
            empty = "blank" if column.sql_type == "VARCHAR" else "NULL"
            said = (
                f" {empty}, absent: " in (text := comments[f"{view}.{column.name}"]) or f" {empty}, retired: " in text
            )
            assert said == bool(missing), column.name
    assert "IDR" in comments["cclf1.CLM_IDR_LD_DT"]


def test_every_declared_column_is_one_of_the_table_and_every_table_is_declared(connection):
    for table in tables():
        names = {row[0] for row in connection.execute(f"DESCRIBE {table.relation}").fetchall()}
        assert f"CREATE TABLE {table.relation} (" in table_sql(table.name)
        declared = [
            d for v in ApiVersion for d in mapping.declarations(v, table.resource_type) if d.table == table.name
        ]
        assert declared, table.name
        for declaration in declared:
            assert set(declaration.columns) <= names, table.name


def test_nothing_of_money_is_a_float(connection):
    assert (
        connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND schema_name <> 'ops' "
            "AND data_type IN ('DOUBLE', 'FLOAT')"
        ).fetchall()
        == []
    )


@pytest.mark.complete
def test_the_published_database_has_the_text_of_every_resource_and_shows_the_version_that_is_chosen(places):
    world = World(people=4, seed=3)
    for number, version in enumerate((ApiVersion.V2, ApiVersion.V3)):
        files = export(world, ["0", "1", "2", "3"], week=60, version=version)
        load(places, files, version=version, run_id=f"r{number}", transaction_time=at(60))
    publish(places)
    with duckdb.connect(str(places.published), read_only=True) as opened:
        missing = opened.execute(
            "SELECT count(*) FROM resource_version AS v ANTI JOIN resource AS r "
            "USING (api_version, resource_type, resource_id) WHERE v.is_latest"
        ).fetchall()
        names = opened.execute(
            "SELECT count(*) FROM resource AS r JOIN patient AS p ON p.patient_id = r.resource_id "
            "AND p.api_version = r.api_version WHERE r.body ->> '$.birthDate' <> p.birth_date::VARCHAR"
        ).fetchall()
        shown = opened.execute("SELECT DISTINCT api_version FROM claim_current").fetchall()
        described = {row[0] for row in opened.execute("DESCRIBE resource").fetchall()}
    assert (missing, names, shown) == ([(0,)], [(0,)], [("v2",)])
    assert {"body", "raw_file", "raw_line", "resource_id"} <= described
    publish(places, shown_version=ApiVersion.V3)
    with duckdb.connect(str(places.published), read_only=True) as opened:
        assert opened.execute("SELECT DISTINCT api_version FROM claim_current").fetchall() == [("v3",)]
        assert opened.execute("SELECT count(*) > 0 FROM cclf.cclf5").fetchall() == [(True,)]


@pytest.mark.complete
def test_a_version_that_is_not_loaded_cannot_be_shown(places):
    load(places, export(World(people=1, seed=3), ["0"], week=60), transaction_time=at(60))
    publish(places)
    before = places.published.read_bytes()
    with pytest.raises(InvalidRequestError, match=r"no run is loaded.*Loaded: v2"):
        publish(places, shown_version=ApiVersion.V3)
    assert places.published.read_bytes() == before
    publish(places)
    with duckdb.connect(str(places.published), read_only=True) as opened:
        assert opened.execute("SELECT DISTINCT api_version FROM claim_current").fetchall() == [("v2",)]


@pytest.mark.complete
def test_every_table_has_the_key_it_says(places):
    world = World(people=15, seed=6)
    for version in ApiVersion:
        files = export(world, [str(n) for n in range(15)], week=80, version=version)
        load(places, files, version=version, run_id=f"r-{version}", transaction_time=at(80))
    with duckdb.connect(str(places.warehouse), read_only=True) as opened:
        for table in tables():
            key = ", ".join(("api_version", *table.row_key))
            assert f"-- Key: {key}." in table_sql(table.name), table.name
            doubled = f"SELECT {key} FROM {table.relation} GROUP BY ALL HAVING count(*) > 1"
            assert opened.execute(f"SELECT count(*) FROM ({doubled})").fetchall() == [(0,)], table.name
