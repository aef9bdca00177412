"""What Airflow loads as a plugin: the BCDA page, its entry in the menu, the notes of runs, and the Test button of connections.

The package registers it by its entry point. A checkout whose package is not installed registers it by plugins/bcda_plugin.py.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import entry_points
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from bcda_provider import notes
from bcda_provider.port_of_test import PortlessTest

PREFIX = "/bcda"


async def page(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve the BCDA page.

    Every process of Airflow loads the plugins, each task too, and only the API server needs the page: so it is imported
    with the first request.
    """
    from bcda_provider.page.app import app

    await app(scope, receive, send)


class BcdaPlugin(AirflowPlugin):
    """The BCDA page, with its entry in Airflow's menu, the notes of runs, and the Test button of connections."""

    # mypy: Airflow declares these as attributes of an instance, and reads those of the class.
    name = "bcda"
    fastapi_apps: ClassVar[list[Any]] = [{"app": page, "url_prefix": PREFIX, "name": "BCDA"}]  # type: ignore[misc]
    fastapi_root_middlewares: ClassVar[list[Any]] = [  # type: ignore[misc]
        {"middleware": PortlessTest, "args": [], "kwargs": {}, "name": "Test of a connection without a port"},
        {"middleware": notes.write_notes_at_once, "args": [], "kwargs": {}, "name": "Notes of runs"},
    ]
    external_views: ClassVar[list[Any]] = [  # type: ignore[misc]
        {
            "name": "BCDA",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "bcda",
            "nav_top_level": True,
            "icon": f"{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg",
        }
    ]
    listeners: ClassVar[list[Any]] = [notes]  # type: ignore[misc]


def is_installed() -> bool:
    """Tell whether the entry point of an installed package registers this plugin."""
    here = f"{BcdaPlugin.__module__}:{BcdaPlugin.__name__}"
    return any(found.value == here for found in entry_points(group="airflow.plugins", name=BcdaPlugin.name))
