"""`make reference`: write docs/reference from the code.

`--check` writes nothing and names the pages that are out of date.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = "docs/reference"


def pages() -> dict[str, Callable[[], str]]:
    """Return what makes each page, by its path below the project."""
    from reference_pages import commands, database, faults, messages, observability, quality, settings  # noqa: PLC0415 - Airflow's home first

    made = {
        "tables.md": database.tables,
        "cclf.md": database.cclf,
        "checks.md": quality.page,
        "configuration.md": settings.page,
        "commands.md": commands.page,
        "messages.md": messages.page,
        "faults.md": faults.page,
        "metrics.md": observability.page,
    }
    return {f"{FOLDER}/{name}": make for name, make in made.items()}


def main() -> int:
    """Run from the command line."""
    check = "--check" in sys.argv
    stale = []
    with tempfile.TemporaryDirectory() as home:
        # Airflow makes its folder on import, and nothing here needs a real one.
        os.environ["AIRFLOW_HOME"] = home
        for name, make in pages().items():
            path, text = PROJECT / name, make()
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
                if not check:
                    path.write_text(text, encoding="utf-8")
    print(f"{'out of date' if check else 'written'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
