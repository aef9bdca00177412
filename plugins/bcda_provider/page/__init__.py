"""The BCDA page: a FastAPI app that Airflow's API server mounts at /bcda, behind Airflow's own login and permissions."""
