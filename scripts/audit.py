"""`make audit`: known vulnerabilities of the locked dependencies, as the advisory service of the package index has them.

An audit that could not be done is a failure: pip-audit itself calls packages that the service does not answer for
"skipped" and ends with success.
"""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = (
    "requirements.txt",
    "requirements-production.txt",
    "requirements-dev.txt",
    "requirements-audit.txt",
    "requirements-pip.txt",
)


def main() -> int:
    """Ask and tell; 0 when every package was looked up and none is known to be vulnerable, 2 when it could not be asked."""
    found, vulnerable, unasked = 0, [], []
    for lock in LOCKS:
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
        asked = subprocess.run([*command, "-r", lock], cwd=PROJECT, capture_output=True, text=True, check=False)
        try:
            packages = json.loads(asked.stdout)["dependencies"]
        except ValueError:
            return cannot_ask((asked.stderr.strip().splitlines() or ["no answer"])[-1])
        found += len(packages)
        unasked += [package["name"] for package in packages if "skip_reason" in package]
        vulnerable += [
            f"{package['name']} {package['version']} ({lock}): {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no release'}"
            for package in packages
            for flaw in package.get("vulns", ())
        ]
    if unasked:
        return cannot_ask(f"it has no answer for {len(unasked)} of {found} packages, such as {unasked[0]}")
    for line in vulnerable:
        print(line)
    print(f"{found} locked packages, {len(vulnerable)} known vulnerabilities")
    return 1 if vulnerable else 0


def cannot_ask(why: str) -> int:
    """Say that nothing is known."""
    print(
        f"NOT AUDITED: the advisory service (https://pypi.org) cannot be asked from here: {why}. Run `make audit` where it can.",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
