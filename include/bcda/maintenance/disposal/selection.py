"""Finding what a disposal is about: the resources, identifiers and lists that go, as temporary tables of a connection."""

from dataclasses import dataclass

import duckdb

from bcda import model
from bcda.errors import InvalidRequestError
from bcda.maintenance.disposal.scope import Period, Person


@dataclass(frozen=True, slots=True)
class Selected:
    """What was found.

    Attributes:
        resources: how many, by their type.
        lists: runs whose list of people goes.
        without_date: claims that have no day of service, which no period has; 0 for a person.
        shared_mbis: MBIs of a person that someone else had as well; 0 for a period.
    """

    resources: dict[str, int]
    lists: tuple[str, ...]
    without_date: int
    shared_mbis: int


def select(connection: duckdb.DuckDBPyConnection, scope: Person | Period) -> Selected:
    """Make the temporary tables that the rules name, from the working database.

    Args:
        connection: of `warehouse.open_warehouse`.
        scope: what goes.

    Raises:
        InvalidRequestError: the identifier is one of several people.
    """
    _run(connection, "tables")
    if isinstance(scope, Person):
        _want_person(connection, scope)
    else:
        values = {"first": scope.first, "last": scope.last}
        connection.execute("INSERT INTO gone_months VALUES (coalesce($first::DATE, DATE '0001-01-01'), $last)", values)
        _run(connection, "period")
    _run(connection, "people")
    found = connection.execute("SELECT resource_type, count(*) FROM gone GROUP BY ALL ORDER BY ALL").fetchall()
    lists = connection.execute("FROM gone_list ORDER BY ALL").fetchall()
    without_date, shared = connection.execute(model.sql("disposal/counts")).fetchall()[0]
    is_person = isinstance(scope, Person)
    return Selected(
        {str(name): int(number) for name, number in found},
        tuple(str(row[0]) for row in lists),
        0 if is_person else int(without_date),
        int(shared) if is_person else 0,
    )


def _want_person(connection: duckdb.DuckDBPyConnection, person: Person) -> None:
    named = {"identifier": person.identifier, "mbi": person.mbi}
    found = [row[0] for row in connection.execute(model.sql("disposal/person"), named).fetchall()]
    if len(found) > 1:
        raise InvalidRequestError(
            f"The identifier is or was that of {len(found)} people. Name the one that you mean by person_key (table `patient`). No "
            "changes were made."
        )
    values = {"identifier": person.identifier, "person": found[0] if found else None}
    connection.execute(model.sql("disposal/wanted"), values)
    if person.mbi is not None:
        connection.execute("INSERT INTO asked_mbi VALUES ($mbi)", {"mbi": person.mbi})


def _run(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    for statement in model.statements(f"disposal/{name}"):
        connection.execute(statement).fetchall()
