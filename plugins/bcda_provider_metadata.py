"""What Airflow asks of an installed package first, in a module that every Airflow can import.

An error here would stop every `airflow` command. An Airflow that is too old gets the name alone, and whoever imports
`bcda_provider` gets the reason.
"""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata; on an Airflow that is too old only what it is called."""
    try:
        from bcda_provider import provider_info
    except ImportError as error:
        return {"package-name": "airflow-provider-bcda", "name": "BCDA", "description": str(error)}
    return provider_info.get_provider_info()
