"""Settings: the connection's fields, environment variables, the DAGs and their forms."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bcda.network import VARIABLES
from bcda.settings import Tuning
from bcda_provider.provider_info import ADVANCED, FIELDS, get_provider_info
from reference_pages.markdown import code, plain, table
from reference_pages.templates import PROJECT

NOTES: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("environment.toml").read_text(encoding="utf-8")
)

_INTRO = """# Configuration

Three places hold settings: the connection (how to reach BCDA, and how hard to try), the environment of Airflow's processes (where data
lies, which sources), and the form of a DAG run (what this run asks for). Nothing has to be set but the connection."""

_FORMS = """## Forms

What can be set for one run: in Airflow under *Trigger*, as `--conf` of `airflow dags trigger`, or as `conf` of the REST API."""

_VARIABLES = """Airflow's own settings keep their names (`AIRFLOW__SECTION__KEY`); `scripts/airflow_processes.py` and the containers
show those that this project is run with.

### Airflow Variables

None is needed. The encryption key may be one, under the name that `BCDA_ENCRYPTION_VARIABLE` has. Choose a
[masked name](../security.md#encryption-at-rest). `bcda_notifiers` of earlier releases has no effect; `BCDA_NOTIFIERS` takes its value."""

_USES = {
    "runtime": "For Airflow's processes, and for commands that look at the same data:",
    "hand": "For exports and questions [from a notebook or a shell](../notebook.md); Airflow has its connections instead:",
    "containers": "For the image and `docker-compose.yaml`; the file `.env` beside it may hold them, and those above:",
    "local": "For `make` and the simulator on this machine:",
    "tests": "For the tests:",
}

_STANDARD = {
    "host": "`sandbox`, `production`, or another URL with scheme, host and port. Plain http works to this machine only.",
    "login": "Client id of the credential set.",
    "password": "Client secret. It expires after 90 days.",
}

_READ = re.compile(
    r"""environ(?:ment)?(?:\.get\(|\[)\s*"([A-Z][A-Z0-9_]+)"|getenv\("([A-Z][A-Z0-9_]+)"|envvar="([A-Z_]+)"|"(AIRFLOW_CONN_BCDA_[A-Z_]+)\""""
)
_NAMED = re.compile(r"(?<![A-Z0-9_])BCDA_[A-Z0-9]+(?:_[A-Z0-9]+)*")
_FILLED_IN = re.compile(r"\$[{(]([A-Z][A-Z0-9_]+)[:})]")
_DEPLOYMENT = ("Makefile", "docker-compose*.yaml", "Dockerfile*", "scripts/*.sh", ".ci/*", "deploy/**/*")
_NOT_OURS = {"MAKEFILE_LIST", "BASH_SOURCE", "PATH", "PYTHONPATH", "HOME"}


def names_in_use() -> dict[str, str]:
    """Return every environment variable that the project's files name, with one of the files."""
    found: dict[str, str] = {}
    for path in _files("include/**/*.py", "plugins/**/*.py", "dags/*.py", "scripts/**/*.py", "tests/**/*.py"):
        text = path.read_text(encoding="utf-8")
        matches = [next(filter(None, groups)) for groups in _READ.findall(text)]
        if not path.is_relative_to(PROJECT / "tests"):
            matches += _NAMED.findall(text)
        found |= {name: path.relative_to(PROJECT).as_posix() for name in matches}
    for path in _files(*_DEPLOYMENT):
        text = path.read_text(encoding="utf-8")
        matches = _FILLED_IN.findall(text) + _NAMED.findall(text)
        found |= {name: path.relative_to(PROJECT).as_posix() for name in matches}
    found |= dict.fromkeys(VARIABLES, "include/bcda/network.py")
    return {name: path for name, path in found.items() if name not in _NOT_OURS and not name.startswith("AIRFLOW__")}


def _files(*patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        for path in sorted(PROJECT.glob(pattern)):
            # The notes themselves are no use of a variable.
            if path.is_file() and path.parent != Path(__file__).parent and "__pycache__" not in path.parts:
                yield path


def page() -> str:
    """Return the page of all settings."""
    parts = [
        _INTRO,
        _connection(),
        _environment(),
        _forms(),
    ]
    return "\n\n".join(parts) + "\n"


_CONNECTION = """## The connection

A connection of type `bcda` says how to reach BCDA. A new one needs four things: address, client id, client secret, and API version.
The id of the first connection is `bcda_default`. `BCDA_SOURCES` lists the ids, and so fixes the connection of each DAG."""

_IN_OTHER_FORMS = """### The form, JSON, and a URI

**The form.** Open **Admin**, **Connections**, **Add Connection**, and choose the type **BCDA**. Save, then select the
**Test Connection** icon in the row of the connection. Airflow shows this icon only if
`AIRFLOW__CORE__TEST_CONNECTION=Enabled` is set for the API server.

**JSON**, for a secrets backend or the environment variable `AIRFLOW_CONN_BCDA_DEFAULT`:

```json
{"conn_type": "bcda", "host": "sandbox", "login": "CLIENT_ID", "password": "CLIENT_SECRET",
 "extra": {"api_version": "v2", "credentials_made_on": "2026-11-01", "advanced": {"concurrent_downloads": 8}}}
```

**A URI**, for the same places. Percent-encode the client id, the client secret, and the JSON of `advanced`:

```text
bcda://CLIENT_ID:CLIENT_SECRET@sandbox/?api_version=v2&credentials_made_on=2026-11-01&advanced=%7B%22concurrent_downloads%22%3A8%7D
```

Airflow looks into a secrets backend first, then into the environment, then into its database. If one of the first two hides a saved
connection, the BCDA page and `airflow bcda doctor` say so. They see the environment of their own process. Run the doctor on a worker to
see that of the tasks."""

_ADVANCED = """### Keys of `advanced`

Most connections leave this field empty. It holds a JSON object, or the text of one. Connections of earlier versions have these keys in the
extra itself, and `secret_made_on` instead of `credentials_made_on`. They keep working, and a key in `advanced` takes precedence. An unknown
key is ignored with a warning in the log, in the doctor, and under the **Test Connection** icon."""


def _connection() -> str:
    (kind,) = get_provider_info()["connection-types"]
    labels = kind["ui-field-behaviour"]["relabeling"]
    rows = [[labels[name], code(name), "text", "", about] for name, about in _STANDARD.items()]
    for name, field in FIELDS.items():
        rows.append(
            [
                plain(field["label"]),
                code(f"extra.{name}"),
                _type(field["schema"]),
                code(_default(field["schema"].get("default"))),
                plain(field["description"]),
            ]
        )
    tuning = Tuning()
    advanced = [[code(name), code(_default(getattr(tuning, name, "basic"))), about] for name, about in ADVANCED.items()]
    return "\n\n".join(
        (
            _CONNECTION,
            table(("label", "name", "type", "default", "what it does"), rows),
            _IN_OTHER_FORMS,
            _ADVANCED,
            table(("key", "default", "what it does"), advanced),
        )
    )


def _environment() -> str:
    parts = ["## Environment variables\n\nRead when they are needed; what is empty counts as not set."]
    for use, about in _USES.items():
        rows = [[code(name), note["default"], note["about"]] for name, note in NOTES.items() if note["used"] == use]
        parts.append(f"{about}\n\n{table(('name', 'default', 'what it does'), rows)}")
    parts.append(_VARIABLES)
    return "\n\n".join(parts)


def dags() -> dict[str, Any]:
    """Return the DAGs of the default source by id, as Airflow reads them."""
    from airflow.dag_processing.importers.python_importer import PythonDagImporter  # noqa: PLC0415 - after its home is set

    unset = {name: os.environ.pop(name) for name in ("BCDA_SOURCES", "BCDA_RESOURCE_TYPES") if name in os.environ}
    found = {}
    try:
        for path in sorted((PROJECT / "dags").glob("*.py"), key=lambda path: "weekly" not in path.name):
            read = PythonDagImporter().import_file(path, bundle_path=PROJECT / "dags", bundle_name="dags")
            if read.errors:
                raise RuntimeError(read.errors[0].message)
            found |= {dag.dag_id: dag for dag in sorted(read.dags, key=lambda dag: dag.dag_id)}
    finally:
        os.environ.update(unset)
    return found


def _forms() -> str:
    parts = [_FORMS]
    same: dict[str, list[str]] = {}
    for dag_id, dag in dags().items():
        same.setdefault(_form(dag.params), []).append(dag_id)
    for form, ids in same.items():
        parts.append(f"### {', '.join(ids)}\n\n{form}")
    return "\n\n".join(parts)


def _form(params: Any) -> str:
    rows = []
    for name in params:
        param = params.get_param(name)
        schema = param.schema
        about = plain(f"{param.description or ''}")
        label = plain(str(schema.get("title", name)))
        rows.append([label, code(name), _type(schema), code(_default(param.value)), about])
    return table(("label", "name", "type", "default", "what it does"), rows)


def _type(schema: Mapping[str, Any]) -> str:
    listed = schema.get("enum") or schema.get("items", {}).get("enum")
    if listed:
        shown = ", ".join(code(str(value)) for value in listed if value is not None)
        return f"any of {shown}" if schema.get("type") == "array" else f"one of {shown}"
    kinds = schema.get("type", "string")
    kind = next(name for name in ([kinds] if isinstance(kinds, str) else kinds) if name != "null")
    words = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "JSON object"}.get(
        kind, kind
    )
    words = {"date": "day", "date-time": "timestamp"}.get(str(schema.get("format")), words)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        return f"{words} from {low}" + (f" to {high}" if high is not None else "")
    return words


def _default(value: object) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)  # noqa: PLR2004
