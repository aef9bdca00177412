"""Which connections the tasks of a DAG may use: those that the DAG's author wrote, whatever a run is told.

A template, a mapped argument or an XCom brings a connection id to a task from a run's configuration, or from what a person
edited. Who may do that in one DAG must not work on the data of another organization through it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bcda.errors import InvalidRequestError

ARGUMENTS = ("bcda_conn_id", "source")
"""Arguments of our operators that name a connection."""

_SHOWN = 64


def declared_in(params: Any) -> tuple[str, ...]:
    """Return the texts that the author gave to params: their defaults, and the values of their `enum`.

    To be called while the DAG is read: the configuration of a run replaces the defaults.

    Args:
        params: of a DAG or a task, with Airflow's `Param` as values; None for none.
    """
    found: list[Any] = []
    for param in (params or {}).values():
        found += [getattr(param, "value", param), *(getattr(param, "schema", {}).get("enum") or ())]
    return tuple(_plain(found))


def connections_of(tasks: Iterable[Any]) -> frozenset[str]:
    """Return the connections that the author of some tasks wrote.

    Args:
        tasks: all tasks of a DAG, as the worker has read it.
    """
    found: set[str] = set()
    for task in tasks:
        for arguments in _written(task):
            found |= {name for argument in ARGUMENTS for name in _names(arguments.get(argument), argument)}
            found |= set(_plain(arguments.get("allowed_connections") or ()))
    return frozenset(found)


def check_connections(task: Any, dag: Any) -> None:
    """Check that a task uses connections of its DAG only.

    Args:
        task: operator, rendered.
        dag: its DAG, as the worker has read it; None for a task outside of any.

    Raises:
        InvalidRequestError: it uses another one.
    """
    # Not the task itself: a mapped one was made with what a run brought.
    allowed = connections_of([task] if dag is None else dag.task_dict.values())
    for argument in ARGUMENTS:
        named = getattr(task, argument, None)
        if named is not None and named not in allowed:
            raise InvalidRequestError(
                f"`{argument}` is {str(named)[:_SHOWN]!r}, and this DAG names {', '.join(sorted(allowed)) or 'no connection'}. The task "
                "did not start: what a run is told cannot choose a connection that the DAG's author did not write. If it should be "
                "possible, add the connection to `allowed_connections` of the task, or to the `enum` of the param that brings it."
            )


def _written(task: Any) -> Iterator[Mapping[str, Any]]:
    """Return the arguments of a task as its author wrote them; those of the task at work itself are rendered by now."""
    if hasattr(task, "partial_kwargs"):
        yield task.partial_kwargs
        # Airflow adds the defaults of DAG and group only when it makes the task of one map index.
        yield from (getattr(whole, "default_args", None) or {} for whole in (task.dag, task.task_group))
        yield from _rows(getattr(task, "expand_input", None))
    elif hasattr(task, "allowed_connections"):
        yield {**task.written(), "allowed_connections": task.allowed_connections}


def _rows(mapped: Any) -> Iterator[Mapping[str, Any]]:
    """Return what a task or a group is mapped over: one mapping with lists, or a list of mappings; other forms come with a run."""
    value = getattr(mapped, "value", None)
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, Sequence):
        yield from (row for row in value if isinstance(row, Mapping))


def _names(value: Any, argument: str) -> Iterator[str]:
    """Return the ids that an argument names, where it names them while the DAG is read."""
    if isinstance(value, str):
        yield from _plain([value])
    elif isinstance(value, list | tuple | set):
        yield from _plain(value)
    else:
        # In a mapped task group an argument stands for a column of what the group is mapped over.
        for row in _rows(getattr(value, "_input", None)):
            yield from _names(row.get(argument), argument)


def _plain(values: Iterable[Any]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str) and "{{" not in value and "{%" not in value)
