"""The only file that Airflow loads as a plugin; the package beside it is imported, not executed (.airflowignore)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from bcda_provider import notes

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
    """The BCDA page, with its entry in Airflow's menu, and the notes of runs."""

    name = "bcda"
    fastapi_apps: ClassVar[list[Any]] = [{"app": page, "url_prefix": PREFIX, "name": "BCDA"}]
    external_views: ClassVar[list[Any]] = [
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
    listeners: ClassVar[list[Any]] = [notes]
