"""SQL is a literal with parameters. Whatever else is put into a statement stands here, with why it is ours."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcda import model
from bcda.model import cclf_views, mapping
from bcda.settings import ApiVersion
from bcda.storage.sql_text import identifier, literal

PROJECT = Path(__file__).resolve().parents[2]
RUNS_SQL = {"execute", "executemany", "sql", "query", "from_query", "_run"}

OURS_BY_FORM = re.compile(
    r"model\.(table_)?sql\(.*\)|literal\(.*\)|identifier\(.*\)|(duckdb_files\.)?_?[A-Z][A-Z_]+|select\(.*\)"
)
"""Files of the model, what `sql_text` quotes, constants, and SQLAlchemy's expressions, whose values are parameters."""

A_FILE = "statement of one of the model's files, passed on"
A_MODEL_NAME = "table or column of the model, see below"
A_NAME_OF_OURS = "name of an attached database or view; every caller passes a constant"

SQLALCHEMY = "an expression of SQLAlchemy, whose values are parameters"

REVIEWED = {
    "bcda_provider/notes.py:_note_of table.insert().values(made)": SQLALCHEMY,
    "bcda_provider/notes.py:_note_of table.select().where(of_run)": SQLALCHEMY,
    "bcda_provider/notes.py:_note_of table.update().where(of_run, is_ours).values(content=text, updated_at=now)": SQLALCHEMY,
    "bcda_provider/operators/start_missed.py:work self": "runs Airflow's operator, not a statement",
    "runs/disposed_runs.py:set_disposed database": A_NAME_OF_OURS,
    "storage/duckdb_files.py:attach listed": "READ_ONLY, ENCRYPTION_KEY $key and STORAGE_VERSION $storage",
    "storage/duckdb_files.py:attach name": A_NAME_OF_OURS,
    "landing/drift.py:unknown_names column": A_MODEL_NAME,
    "landing/engine.py:__init__ statement": A_FILE,
    "landing/engine.py:_groups query": "made from a declaration, a file of the model, or a constant",
    "landing/again.py:_portions self._source": "relation() of parquet_files",
    "landing/again.py:_portions model.TRIMMED_TEXT": "an expression of the model",
    "landing/again.py:keep kept": "made of constants, of columns of the model, and relation() of parquet_files",
    "landing/again.py:keep rows": "relation() of parquet_files",
    "landing/again.py:keep trimmed": "relation() of parquet_files, and an expression of the model",
    "landing/again.py:land self._source": "relation() of parquet_files",
    "landing/engine.py:_gather self._columns(resource_type)": "expression of no_id_keys.toml and names of lists in a shape, files of the model",
    "landing/engine.py:_gather shape": "a shape, a file of the model, through literal()",
    "landing/engine.py:_read_types relation": A_MODEL_NAME,
    "landing/engine.py:_run statement": "its callers are looked at themselves",
    "maintenance/cclf_files.py:write_cclf_files cclf_views.month_sql(name)": A_FILE,
    "maintenance/anew.py:_keep ', '.join(both)": "columns of a table of the model",
    "maintenance/anew.py:_keep kept": "made of a constant that stands beside it",
    "maintenance/anew.py:_keep table": A_MODEL_NAME,
    "maintenance/change_key.py:_point_to_lake copy": A_NAME_OF_OURS,
    "maintenance/disposal/databases.py:_count relation": "tables of the database, each through identifier(), and a rule",
    "maintenance/disposal/databases.py:_fill copy": A_NAME_OF_OURS,
    "maintenance/disposal/databases.py:_fill _marked(connection, name, table)": "a constant of rules.py",
    "maintenance/disposal/databases.py:_fill kept": "a rule, which is a constant of rules.py",
    "maintenance/disposal/databases.py:_fill name": A_NAME_OF_OURS,
    "maintenance/disposal/databases.py:_fill source": "a table of the database, through identifier()",
    "maintenance/disposal/databases.py:_fill target": "a table of the database, through identifier()",
    "maintenance/disposal/lake.py:_count relation": "relation() of parquet_files, an API version of letter and digits, and a rule",
    "maintenance/disposal/lake.py:_has_columns source": "relation() of parquet_files, and an API version of letter and digits",
    "maintenance/disposal/lake.py:_source rows": "relation() of parquet_files",
    "maintenance/disposal/selection.py:_run statement": A_FILE,
    "maintenance/disposal/whole.py:_rows_in relation": "tables of the database, each through identifier()",
    "maintenance/rebuild.py:_compare columns": "columns of both stores, each through identifier()",
    "maintenance/rebuild.py:_compare left": A_MODEL_NAME,
    "maintenance/rebuild.py:_compare right": A_MODEL_NAME,
    "maintenance/rebuild.py:keep_person_keys keys": "one of two queries that stand beside it, without values",
    "maintenance/rebuild.py:keep_person_keys of": "a prefix that the callers write out",
    "maintenance/rebuild.py:keep_person_keys to": "a prefix that the callers write out",
    "maintenance/remap.py:_paid query": "a file of the model, with two constants and one of two names of databases",
    "maintenance/remap.py:_rows ', '.join(now)": "columns of a table of the model",
    "maintenance/remap.py:_rows name": A_MODEL_NAME,
    "maintenance/remap.py:_rows old": "columns of a table of the model, or NULL for one",
    "storage/parquet_files.py:_copy options": "constants, and the name of a key through literal()",
    "storage/parquet_files.py:_copy source": "relation() or a constant",
    "storage/parquet_files.py:count_rows relation([str(path)], key_name)": "paths and the name of a key, each through literal()",
    "storage/parquet_files.py:show name": A_NAME_OF_OURS,
    "storage/parquet_files.py:show rows": "relation(): paths and the name of a key, each through literal()",
    "storage/query_files.py:rows_of _text(package, name)": "a file of a package of ours",
    "warehouse/database.py:_add_people_of_gaps statement": A_FILE,
    "warehouse/database.py:_add_tables statement": A_FILE,
    "warehouse/database.py:_make_schema statement": A_FILE,
    "warehouse/mapping_state.py:runs_by_mapping query": "a file of the model, or a query that stands beside it",
    "warehouse/empty_inserts.py:run int(threads)": "a number, through int()",
    "warehouse/empty_inserts.py:run statement": A_FILE,
    "warehouse/merge.py:_deliver columns": "columns of a table that a file of the model makes",
    "warehouse/merge.py:_deliver name": A_NAME_OF_OURS,
    "warehouse/merge.py:_deliver target": A_NAME_OF_OURS,
    "warehouse/merge.py:_delete table.key": A_MODEL_NAME,
    "warehouse/merge.py:_delete table.relation": A_MODEL_NAME,
    "warehouse/merge.py:_insert columns": "columns of a table of the model",
    "warehouse/merge.py:_insert table.relation": A_MODEL_NAME,
    "warehouse/merge.py:_refresh columns": "three names of a constant",
    "warehouse/merge.py:_refresh table.key": A_MODEL_NAME,
    "warehouse/merge.py:_refresh table.relation": A_MODEL_NAME,
    "warehouse/publish.py:_count relation": A_MODEL_NAME,
    "warehouse/publish.py:set_lake_view statement": "a file of the model; the lake's path goes in through literal()",
    "warehouse/quality.py:_list_suspects check.sql": A_FILE,
    "warehouse/quality.py:_run query": "a file of the model, with tables and columns of the model",
    "warehouse/rewrite.py:_counts relation": "tables of the database, each through identifier()",
    "warehouse/rewrite.py:rewritten name": A_NAME_OF_OURS,
    "warehouse/views.py:_comment_columns relation": A_MODEL_NAME,
    "warehouse/views.py:_comment_columns row[0]": "column of a view that was just made from a file of the model",
    "warehouse/views.py:_comment_columns text": "comment of the model, through literal()",
    "warehouse/views.py:renew_views statement": A_FILE,
}


def pieces(node: ast.expr) -> Iterator[str]:
    """Yield the source of whatever in an expression is not a constant."""
    match node:
        case ast.Constant():
            return
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield from pieces(part)
        case ast.FormattedValue(value=value):
            yield ast.unparse(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from pieces(left)
            yield from pieces(right)
        case ast.IfExp(body=body, orelse=orelse):
            yield from pieces(body)
            yield from pieces(orelse)
        case _:
            yield ast.unparse(node)


def literals_of(function: ast.AST) -> set[str]:
    """Return the names that a function gives to literals, and to nothing else."""
    put: dict[str, list[str]] = {}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                put.setdefault(name, []).extend(pieces(value))
            case ast.arg(arg=name):
                put.setdefault(name, []).append("a parameter")
    simple = [node.targets[0] for node in ast.walk(function) if isinstance(node, ast.Assign) and len(node.targets) == 1]
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in simple:
            put.setdefault(node.id, []).append("a loop or the like")
    return {name for name, found in put.items() if not found}


def put_in(source: str, module: str) -> Iterator[str]:
    """Yield `module:function piece` for every statement that is more than a literal."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        literals = literals_of(function)
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
                continue
            if call.func.attr in RUNS_SQL and ast.unparse(call.func) != "model.sql":
                for piece in pieces(call.args[0]):
                    if not OURS_BY_FORM.fullmatch(piece) and piece not in literals:
                        yield f"{module}:{function.name} {piece}"


def test_whatever_is_put_into_a_statement_was_reviewed():
    found = set()
    for folder in ("include/bcda", "plugins", "dags"):
        for path in (PROJECT / folder).rglob("*.py"):
            found |= set(put_in(path.read_text(), path.relative_to(PROJECT / folder).as_posix()))
    assert found == REVIEWED.keys()


@pytest.mark.parametrize(
    "expression",
    [
        'f"SELECT {x}"',
        '"SELECT %s" % x',
        '"SELECT {}".format(x)',
        '"SELECT " + x',
        "x",
        "y",
        '"SELECT 1" if x else f"{x}"',
        '" ".join(x)',
        'textwrap.dedent(f"{x}")',
    ],
)
@pytest.mark.parametrize("call", ["connection.execute({})", "self._connection.sql({})", "await c.execute({}, [1])"])
def test_a_text_that_is_put_together_is_found(expression, call):
    given = "    y = 'SELECT 1'\n    y += x\n    x = 'SELECT 1'\n"
    source = f"async def f(connection, x):\n{given}    {call.format(expression)}\n"
    assert list(put_in(source, "m.py"))


def test_a_literal_with_a_name_is_a_literal():
    assert list(put_in("def f(c):\n    y = 'SELECT 1'\n    c.execute(y)\n", "m.py")) == []


def test_names_of_the_model_need_no_quotes():
    names = {name for table in model.core_tables() for name in (table.name, table.relation, table.key, *table.row_key)}
    names |= {name for pair in model.lake_tables() for name in pair} | set(model.VIEWS) | set(model.MERGE_COLUMNS)
    names |= {name for table, columns in model.DRIFT_COLUMNS.items() for name in (table, *columns)}
    for version in ApiVersion:
        for kind in ("Patient", "Coverage", "ExplanationOfBenefit", "Claim", "ClaimResponse", "OperationOutcome"):
            for declaration in mapping.declarations(version, kind):
                names |= {declaration.table, *declaration.columns}
    assert len(names) > 200
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?", name)] == []
    columns = {column.name for layout in cclf_views.layout().values() for column in layout}
    assert [name for name in columns if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name)] == []


def test_quoted_text_stays_one_text_and_a_quoted_name_one_name():
    import duckdb

    hostile = "'; DROP TABLE t; -- \" $x %s {x}\n\\"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE {identifier(hostile)} AS SELECT {literal(hostile)} AS {identifier(hostile)}")
        found = connection.execute(f"FROM {identifier(hostile)}")
        assert (found.description[0][0], found.fetchall()) == (hostile, [(hostile,)])
