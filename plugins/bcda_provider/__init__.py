"""Airflow's view of the BCDA library: connection type, hook, operators, sensor, trigger, task group."""
