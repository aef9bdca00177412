"""`make env`: exports with which a shell can use the project's `airflow` directly."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from airflow_processes import PROJECT, airflow_environment, loopback_without_proxy


def main() -> int:
    """Migrate the database of this Airflow, then print the exports."""
    port = int(os.environ.get("AIRFLOW_PORT", "8080"))
    home = Path(os.environ.get("AIRFLOW_HOME") or PROJECT / "var" / "airflow")
    exports = {**airflow_environment(home, port=port), **loopback_without_proxy()}
    exports["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    exports["BCDA_HOME"] = os.environ.get("BCDA_HOME") or str(PROJECT / "data")
    migrated = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={**os.environ, **exports},
        capture_output=True,
        text=True,
        check=False,
    )
    if migrated.returncode:
        print(migrated.stdout[-2000:], migrated.stderr[-2000:], file=sys.stderr)
        return migrated.returncode
    print("unset PYTHONDONTWRITEBYTECODE")
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
