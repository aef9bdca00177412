"""What a command prints: a table for people, or JSON."""

import json
import sys
from collections.abc import Iterable, Sequence

import typer
from rich import box
from rich.console import Console
from rich.table import Table

_WIDTH_OF_A_PIPE = 240


def print_json(value: object) -> None:
    """Print a JSON value."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as wide as the terminal. In a pipe, nothing is cut off.

    Args:
        columns: headings; all empty for none.
        rows: values, one for each column; None shows as a hyphen.
    """
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row))
    # Texts of the server are shown as they are: brackets in them are no markup.
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)
