"""Write the fault matrix into the README, between its two marks; `--check` only tells whether it is current."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "tests" / name) for name in ("faults", "integration", "unit")]
BEGIN, END = "<!-- fault matrix: scripts/fault_table.py -->", "<!-- end of the fault matrix -->"


def with_table(readme: str) -> str:
    """Return the README with the present table."""
    from matrix import table  # noqa: PLC0415 - found through the path that is set above

    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


def main() -> int:
    """Run from the command line."""
    path = PROJECT / "README.md"
    present = path.read_text()
    current = with_table(present)
    if "--check" not in sys.argv:
        path.write_text(current)
    return int("--check" in sys.argv and current != present)


if __name__ == "__main__":
    sys.exit(main())
