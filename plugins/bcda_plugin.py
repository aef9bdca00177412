"""The only file that Airflow loads as a plugin; the package beside it is imported, not executed (.airflowignore)."""

from airflow.plugins_manager import AirflowPlugin


class BcdaPlugin(AirflowPlugin):
    """Names the project in Airflow's list of plugins."""

    name = "bcda"
