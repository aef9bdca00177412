"""Airflow's view of the BCDA library: connection type, hook, operators, sensor, trigger, task group, DAGs."""

from importlib import metadata

NEEDED = (3, 3)
"""Oldest Airflow that this release runs on."""


def _check_airflow() -> None:
    """Refuse an Airflow that is too old, before a name that it lacks is imported.

    Raises:
        ImportError: it is; says so in one sentence.
    """
    for name in ("apache-airflow-core", "apache-airflow"):  # Airflow 2 has no core of its own
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if tuple(int(part) for part in version.split(".")[:2]) < NEEDED:
            needed = ".".join(map(str, NEEDED))
            raise ImportError(f"airflow-provider-bcda needs Airflow {needed}; this is {version}.")
        return


_check_airflow()
