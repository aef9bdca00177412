def get_provider_info():
    return {"package-name": "airflow-provider-bcda", "name": "BCDA", "description": "BCDA"}
