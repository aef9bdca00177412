"""`make licenses`: the license of every locked dependency that is installed with the project, as docs/licenses.md.

The packages say it themselves in their metadata, each in one of three fields; what they say is written as SPDX does.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "licenses.md"
LOCKS = ("requirements.txt", "requirements-production.txt")

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD",
    "ISC",
    "MIT",
    "MIT-0",
    "PSF-2.0",
    "Unlicense",
    "MPL-2.0",  # obliges who changes the package's own files; we change none
    "Artistic-1.0",  # text-unidecode, which also offers the GPL
    "LGPL-3.0-only",  # the drivers of PostgreSQL, which are used as they are
    "LGPL",
}
"""What a dependency may be licensed under; another license is a decision for a person."""

ELSEWHERE = {
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "httpx2-jsfetch": "BSD-3-Clause",
    "openlineage-sql": "Apache-2.0",
    "pyyaml-ft": "MIT",
}
"""Locked for Windows or one version of Python only, or silent about it; read on the package index and in the repositories."""

_AS_SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "artistic license": "Artistic-1.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd license": "BSD",
    "gnu general public license (gpl)": "GPL-2.0-or-later",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu library or lesser general public license (lgpl)": "LGPL",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
"""Older ways of saying it."""


def locked() -> dict[str, str]:
    """Return the locked packages, each with the first lock that has it."""
    found: dict[str, str] = {}
    for lock in LOCKS:
        for name in re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (PROJECT / lock).read_text(), re.MULTILINE):
            found.setdefault(name, lock)
    return dict(sorted(found.items()))


def license_of(name: str) -> str | None:
    """Return the license that an installed package states, None for one that is not installed.

    Raises:
        ValueError: it states none.
    """
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    try:
        stated = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if expression := stated.get("License-Expression"):
        return str(expression)
    text = (stated.get("License") or "").strip()
    prefix = "License :: OSI Approved :: "
    names = [line.removeprefix(prefix) for line in stated.get_all("Classifier") or () if line.startswith(prefix)]
    if text in ALLOWED:
        return text
    known = dict.fromkeys(_AS_SPDX[said.lower()] for said in names or [text] if said.lower() in _AS_SPDX)
    if not known:
        raise ValueError(
            f"{name} states no license that is known here; look at the package and complete scripts/licenses.py."
        )
    # Several classifiers are a choice: a package that is under all of them says so with an expression.
    return " OR ".join(known)


def is_allowed(expression: str) -> bool:
    """Tell whether a license expression can be met with allowed licenses: all of AND, one of OR."""
    return all(any(name in ALLOWED for name in part.split(" OR ")) for part in expression.split(" AND "))


def listed() -> dict[str, str]:
    """Return what the page says, by package."""
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE))


def page(found: dict[str, str]) -> str:
    """Return the page."""
    locks = locked()
    rows = "".join(f"| `{name}` | {found[name]} | {locks[name]} |\n" for name in locks)
    return (
        "# Licenses of dependencies\n\n"
        "This table lists the license that each locked package states, as an SPDX expression. `make licenses` writes it from the\n"
        "locks. Tests check that every locked package is listed with an allowed license (see `scripts/licenses.py`). The table does\n"
        "not include development tools, because they are not installed with the project. Encryption at rest needs DuckDB's extension\n"
        "`httpfs`, which has the MIT license and includes OpenSSL (Apache-2.0).\n\n"
        f"| package | license | locked in |\n|---|---|---|\n{rows}"
    )


def main() -> int:
    """Write the page; fail when a license is missing or not allowed."""
    found = {name: license_of(name) for name in locked()}
    missing = [name for name, stated in found.items() if stated is None]
    if missing:
        print(f"Not installed here, so not known: {', '.join(missing)}. Use `make licenses`.", file=sys.stderr)
        return 1
    known = {name: str(stated) for name, stated in found.items()}
    PAGE.write_text(page(known))
    refused = [f"{name} ({stated})" for name, stated in known.items() if not is_allowed(stated)]
    if refused:
        print(f"Not on the list of allowed licenses: {', '.join(refused)}.", file=sys.stderr)
    print(f"{len(known)} packages: {PAGE.relative_to(PROJECT)}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
