"""Commands: make targets, `python -m bcda`, `airflow bcda`, the simulator."""

import inspect
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

import typer.core

from reference_pages.markdown import code, plain, table
from reference_pages.templates import PROJECT

_TARGET = re.compile(r"^([a-z][a-z-]*):[^#\n]*## (.+)$", re.MULTILINE)
_GROUP = re.compile(r"^##@ (.+)$", re.MULTILINE)


def make_targets() -> dict[str, dict[str, str]]:
    """Return what `make help` says: descriptions by target, by group."""
    groups: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in (PROJECT / "Makefile").read_text(encoding="utf-8").splitlines():
        if group := _GROUP.match(line):
            current = groups.setdefault(group.group(1), {})
        elif target := _TARGET.match(line):
            current[target.group(1)] = target.group(2)
    return groups


def page() -> str:
    """Return the page of all commands."""
    return "\n\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    from bcda.__main__ import app as library  # noqa: PLC0415 - a program, not a module
    from bcda_simulator.__main__ import app as simulator  # noqa: PLC0415

    yield (
        "# Commands\n\nEverything runs from the project's folder. `make` sets up what it needs by itself; `python` and `airflow` are "
        'those of `.venv/bin`, which `eval "$(make -s env)"` puts first in a shell.'
    )
    yield "## make"
    for group, targets in make_targets().items():
        rows = [[code(f"make {target}"), plain(about)] for target, about in targets.items()]
        yield f"### {group}\n\n{table(('command', 'what it does'), rows)}"
    yield (
        "## python -m bcda\n\nRuns without Airflow. The commands from `status` to `change-key` and `dispose` look at a source's data and "
        "keep it in order; they read `BCDA_HOME`. The commands from `export` to `health` ask BCDA by hand, with the address and "
        "credentials of the environment; see [Export from a notebook or a shell](../notebook.md). All read the other [environment "
        "variables](configuration.md#environment-variables).\n\nIf something is wrong, a command prints a sentence on standard error "
        "and ends with exit code 1. Exit code 2 means a wrong option, and 130 that you interrupted it."
    )
    yield from _typer(library, "python -m bcda")
    yield "## airflow bcda"
    yield from _airflow()
    yield "## python -m bcda_simulator\n\nA BCDA on this machine with synthetic people, or with NDJSON files of yours."
    yield from _typer(simulator, "python -m bcda_simulator")


def _typer(app: typer.Typer, program: str) -> Iterator[str]:
    command: Any = typer.main.get_command(app)
    commands = getattr(command, "commands", None)
    for name, each in commands.items() if commands else [("", command)]:
        full = f"{program} {name}".strip()
        rows = [_parameter(parameter) for parameter in each.params if parameter.name != "help"]
        text = f"### {full}\n\n{plain(each.help or '')}"
        yield f"{text}\n\n{table(('option', 'default', 'what it does'), rows)}" if rows else text


def _parameter(parameter: Any) -> list[str]:
    is_option = isinstance(parameter, typer.core.TyperOption)
    kind = parameter.type_descriptor.annotation
    about = parameter.help or ""
    if inspect.isclass(kind) and issubclass(kind, Enum):
        about = f"{about} One of {_listed(choice.value for choice in kind)}."
    default = "" if parameter.default is None or parameter.default is False else str(parameter.default)
    shown = " / ".join(parameter.opts) if is_option else str(parameter.name).upper()
    return [code(shown), "required" if parameter.required else code(default), plain(about)]


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _airflow() -> Iterator[str]:
    from bcda_provider.cli import get_cli_commands  # noqa: PLC0415 - imports Airflow

    for group in get_cli_commands():
        for command in group.subcommands:  # type: ignore[union-attr]
            rows = []
            for argument in command.args:  # type: ignore[union-attr]
                given = argument.kwargs
                about = str(given.get("help", "")) % {"default": given.get("default")}
                if given.get("choices"):
                    about += f"; one of {_listed(given['choices'])}"
                default = given.get("default")
                rows.append(
                    [code(" / ".join(argument.flags)), code(default if isinstance(default, str) else ""), plain(about)]
                )
            about = plain(f"{command.help}. {command.description or ''}")
            yield f"### airflow {group.name} {command.name}\n\n{about}\n\n{table(('option', 'default', 'what it does'), rows)}"
