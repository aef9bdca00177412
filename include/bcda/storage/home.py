"""Where data lies when BCDA_HOME is not set: below a checkout, and nowhere else."""

import tomllib
from functools import cache
from pathlib import Path

DISTRIBUTION = "airflow-provider-bcda"

_THIS_FILE = Path(__file__).resolve()


def default_home() -> Path | None:
    """Return `data` below the checkout that this code runs from; None where the code is installed.

    A checkout is a folder with this file at `include/bcda/storage/home.py` and a `pyproject.toml` of this project. An installed
    package has no folder of its own: what is written beside it is lost with the next installation.
    """
    root = checkout(_THIS_FILE)
    return root / "data" if root else None


@cache
def checkout(this_file: Path) -> Path | None:
    """Return the checkout that a file is `include/bcda/storage/home.py` of; None when it is not in one.

    Args:
        this_file: path of this module, without links.
    """
    *_, include, library, package, _ = this_file.parts
    if (include, library, package) != ("include", "bcda", "storage"):
        return None
    root = this_file.parents[3]
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return root if project.get("project", {}).get("name") == DISTRIBUTION else None
