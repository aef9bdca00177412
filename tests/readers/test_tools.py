"""The tools of docs/analyst-tools.md that can be installed here, on a published file."""

import json
import subprocess
from pathlib import Path

import duckdb
import pytest
from reader_environments import environment

pytestmark = pytest.mark.readers

JAVA = """
import java.sql.*;
import java.util.Properties;

class Read {
  public static void main(String[] arguments) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("duckdb.read_only", "true");
    try (Connection connection = DriverManager.getConnection("jdbc:duckdb:" + arguments[0], properties);
        Statement statement = connection.createStatement()) {
      try (ResultSet rows = statement.executeQuery("SELECT count(*), sum(paid_amount) FROM claim_current")) {
        rows.next();
        System.out.println(rows.getLong(1) + " " + rows.getBigDecimal(2));
      }
      try (ResultSet views = connection.getMetaData().getTables(null, "cclf", "%", null)) {
        int count = 0;
        while (views.next()) count++;
        System.out.println(count);
      }
      try {
        statement.execute("DELETE FROM claim");
        System.out.println("written");
      } catch (SQLException error) {
        System.out.println("refused");
      }
    }
  }
}
"""

SQLALCHEMY = """
import sys
from sqlalchemy import create_engine, inspect, text
engine = create_engine(f"duckdb:///{sys.argv[1]}?access_mode=READ_ONLY")
with engine.connect() as connection:
    print(*connection.execute(text("SELECT count(*), sum(paid_amount) FROM claim_current")).one())
    print(len(inspect(engine).get_view_names(schema="cclf")))
    try:
        connection.execute(text("DELETE FROM claim"))
        print("written")
    except Exception:
        print("refused")
"""


@pytest.fixture
def published_file(published) -> Path:
    return published("v1.4.0")[0].published


@pytest.fixture
def expected(published_file) -> str:
    with duckdb.connect(str(published_file), read_only=True) as connection:
        count, paid = connection.execute("SELECT count(*), sum(paid_amount) FROM claim_current").fetchall()[0]
    assert count
    return f"{count} {paid}\n11\nrefused\n"


def test_dbeaver_and_metabase_read_it_through_jdbc(published_file, expected, jdbc_driver, tmp_path):
    source = tmp_path / "Read.java"
    source.write_text(JAVA)
    run = ["java", "-cp", jdbc_driver, source, published_file]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == expected


def test_superset_reads_it_through_sqlalchemy(published_file, expected):
    run = [environment("tools"), "-c", SQLALCHEMY, published_file]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == expected


def test_dbt_attaches_it_read_only_and_writes_its_own_database(published_file, tmp_path):
    before = published_file.read_bytes()
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text(
        json.dumps({"name": "aco", "version": "1.0", "profile": "aco", "model-paths": ["models"]})
    )
    output = {
        "type": "duckdb",
        "path": str(tmp_path / "aco.duckdb"),
        "attach": [{"path": str(published_file), "alias": "bcda", "read_only": True}],
    }
    (tmp_path / "profiles.yml").write_text(json.dumps({"aco": {"target": "dev", "outputs": {"dev": output}}}))
    (tmp_path / "models" / "paid.sql").write_text(
        "{{ config(materialized='table') }}\n"
        "SELECT claim_type, sum(paid_amount) AS paid FROM bcda.main.claim_current GROUP BY ALL\n"
    )
    (tmp_path / "models" / "cclf.sql").write_text("SELECT count(*) AS lines FROM bcda.cclf.cclf5\n")
    dbt = environment("tools").with_name("dbt")
    variables = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [dbt, "run", "--project-dir", tmp_path, "--profiles-dir", tmp_path],
        env=variables, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    with duckdb.connect(str(published_file), read_only=True) as connection:
        asked = "SELECT claim_type, sum(paid_amount) FROM claim_current GROUP BY ALL ORDER BY ALL"
        expected = connection.execute(asked).fetchall()
    with duckdb.connect(str(tmp_path / "aco.duckdb"), read_only=True) as connection:
        assert connection.execute("FROM paid ORDER BY ALL").fetchall() == expected
    assert published_file.read_bytes() == before
