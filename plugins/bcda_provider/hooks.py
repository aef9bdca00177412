"""From the Airflow connection to the library's settings and client, and the Test button."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseHook, Connection, Variable
from airflow.sdk.log import mask_secret
from requests import RequestException, Response

from bcda import protocol
from bcda.client import BcdaClient
from bcda.encryption import EncryptionKey
from bcda.errors import InvalidRequestError, ServerError, TransientError
from bcda.export_request import Scope
from bcda.places import DEFAULT_SOURCE, Places
from bcda.planning import ListDates
from bcda.settings import ApiVersion, AuthMode, ConnectionSettings, Tuning
from bcda_provider import metrics

# One line per request is noise in a task log that counts files.
logging.getLogger("httpx").setLevel(logging.WARNING)

_PROJECT = Path(__file__).resolve().parents[2]


class BcdaHook(BaseHook):
    """One BCDA connection.

    Args:
        bcda_conn_id: connection of type `bcda`.
        api_version: overrides the connection's version.
    """

    conn_name_attr = "bcda_conn_id"
    default_conn_name = DEFAULT_SOURCE
    conn_type = "bcda"
    hook_name = "BCDA"

    def __init__(self, bcda_conn_id: str = default_conn_name, *, api_version: str | None = None) -> None:
        super().__init__()
        self.bcda_conn_id = bcda_conn_id
        self._api_version = api_version

    def settings(self) -> ConnectionSettings:
        """Return the connection as the library's settings.

        Raises:
            InvalidRequestError: a field is missing, unknown or malformed.
        """
        return settings_of(self.get_connection(self.bcda_conn_id), self._api_version)

    async def asettings(self) -> ConnectionSettings:
        """Return the same from inside an event loop."""
        return settings_of(await self.aget_connection(self.bcda_conn_id), self._api_version)

    def check_open_endpoints(self, settings: ConnectionSettings) -> str:
        """Ask `/_health` and the version's metadata, which need no token; return the FHIR version.

        Raises:
            ServerError: the server cannot be reached, is not healthy, or does not know the version.
        """
        open_hook = _OpenEndpoints(settings.base_url)
        # The hook's own check raises an error of Airflow's and logs the body.
        options = {"timeout": settings.tuning.request_timeout_seconds, "check_response": False}
        try:
            _check_answer(settings, open_hook.run("/_health", extra_options=options))
            metadata = open_hook.run(f"/api/{settings.api_version}/metadata", extra_options=options)
            _check_answer(settings, metadata)
            return str(metadata.json()["fhirVersion"])
        except (RequestException, ValueError, KeyError) as error:
            raise ServerError(
                f"{settings.base_url} does not answer as BCDA {settings.api_version} does ({type(error).__name__}). "
                "Check the base URL and the network; in production, whether this address is on the allow list."
            ) from error

    def test_connection(self) -> tuple[bool, str]:
        """Look at everything between this process and an export, as `airflow bcda doctor` does.

        Returns:
            Whether no check failed, and the text that the Test button shows: what failed first, then a line for each check.
        """
        from bcda import doctor

        try:
            settings = self.settings()
        except InvalidRequestError as error:
            return False, str(error)
        checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC), on_token=mask_secret)
        return not doctor.has_failed(checks), doctor.in_short(checks)


class _OpenEndpoints(HttpHook):
    """The http provider's hook on the same server, without credentials: open endpoints check them all the same."""

    def __init__(self, base_url: str) -> None:
        super().__init__(method="GET", http_conn_id="bcda_open_endpoints")
        self._open_base_url = base_url

    def get_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        return Connection(conn_id=conn_id, conn_type="http", host=self._open_base_url)


def _check_answer(settings: ConnectionSettings, answer: Response) -> None:
    """Raise what an open endpoint's answer means when it is no success.

    Raises:
        ServerError: with BCDA's own words of which part of it is not well, when it says so (wire contract §18).
    """
    if answer.ok:
        return
    status, after = answer.status_code, protocol.wished_wait_seconds(answer.headers, datetime.now(UTC))
    parts = protocol.health_of(answer.content) if status == HTTPStatus.BAD_GATEWAY else {}
    if ill := ", ".join(f"{part}: {state}" for part, state in parts.items() if state != "ok"):
        raise ServerError(
            f"BCDA says that something of its own is not well ({ill}). Nothing was asked for. Wait; if it stays so for an hour, "
            "ask BCDA's help desk.",
            retry_after_seconds=after,
            status=status,
        )
    raise ServerError(
        f"{settings.base_url} answers with {status}, which BCDA {settings.api_version} does not when it is well. If it stays so, "
        "check the base URL and the API version, and whether a proxy or a maintenance page answers.",
        retry_after_seconds=after,
        status=status,
    )


def list_dates(settings: ConnectionSettings, scope: Scope, source_id: str) -> ListDates:
    """Ask BCDA for the date of the newest attribution list of a scope.

    Args:
        settings: of the connection.
        scope: of the export.
        source_id: connection id, for the metrics.
    """

    async def ask() -> ListDates:
        async with client_of(settings, source_id) as client:
            dates = await client.attribution_status()
            return ListDates(dates.of(scope), client.server_time)

    return asyncio.run(ask())


def client_of(settings: ConnectionSettings, source_id: str) -> BcdaClient:
    """Return a client whose tokens Airflow masks in every log, and whose answers and retries are in its metrics.

    Args:
        settings: of the connection.
        source_id: connection id, for the metrics.
    """
    return BcdaClient(
        settings,
        on_token=mask_secret,
        on_answer=partial(metrics.answered, source_id),
        on_retry=partial(metrics.retried, source_id),
    )


def settings_of(connection: Any, api_version: str | None = None) -> ConnectionSettings:
    """Return a connection as the library's settings.

    Args:
        connection: an Airflow connection of type `bcda`.
        api_version: overrides the connection's version; empty or None for none.

    Raises:
        InvalidRequestError: a field is missing, unknown or malformed.
    """
    extra: Mapping[str, Any] = {key: value for key, value in connection.extra_dejson.items() if value not in (None, "")}
    known = {field.name for field in fields(Tuning)}
    unknown = sorted(extra.keys() - known - {"api_version", "auth"})
    if unknown:
        raise InvalidRequestError(f"The connection's extra has unknown fields: {', '.join(unknown)}.")
    tuning: dict[str, Any] = {key: _tuned(key, value) for key, value in extra.items() if key in known}
    try:
        return ConnectionSettings(
            base_url=_base_url(connection),
            client_id=connection.login or "",
            client_secret=connection.password or "",
            api_version=ApiVersion(api_version or extra.get("api_version", "v2")),
            auth=AuthMode(extra.get("auth", "basic")),
            tuning=Tuning(**tuning),
        )
    except InvalidRequestError:
        raise
    except ValueError as error:
        raise InvalidRequestError(f"The connection's extra is malformed: {error}.") from error


def _variable(name: str) -> str | None:
    """Return an Airflow Variable as tasks see it: from any secrets backend, the last one being Airflow's database."""
    value: str | None = Variable.get(name, default=None)
    return value


def places(source_id: str = DEFAULT_SOURCE, *, variable: Callable[[str], str | None] = _variable) -> Places:
    """Return where a source's data lies, from BCDA_HOME and its overrides, `data/` in the project by default; with its key.

    The key is that of the environment variable BCDA_ENCRYPTION_KEY, or of the Airflow Variable that
    BCDA_ENCRYPTION_VARIABLE names, which Airflow looks up in its secrets backends. Without either nothing is encrypted.

    Args:
        source_id: connection id; each has places of its own.
        variable: looks an Airflow Variable up; Airflow has another way outside of tasks.

    Raises:
        InvalidRequestError: the key is malformed.
        TransientError: the Variable is named, and no secrets backend gives it.
    """
    found = raw_places(source_id)
    name = os.environ.get("BCDA_ENCRYPTION_VARIABLE")
    if found.key is None and name:
        text = variable(name)
        if not text:
            # Never without a key then: a backend that is away for a minute looks like this too.
            raise TransientError(
                f"BCDA_ENCRYPTION_VARIABLE names the Airflow Variable {name}, and no secrets backend has it now. Nothing was "
                "written. If this persists, create the Variable with the key, or unset BCDA_ENCRYPTION_VARIABLE."
            )
        mask_secret(text)
        found = replace(found, key=EncryptionKey.from_text(text))
    if found.key is not None:
        mask_secret(found.key.text)
    return found


def raw_places(source_id: str = DEFAULT_SOURCE) -> Places:
    """Return where a source's data lies, for those who need the raw folder only: the key is not looked up.

    Args:
        source_id: connection id; each has places of its own.
    """
    return Places.from_environment(os.environ, default_home=_PROJECT / "data").of_source(source_id)


def _base_url(connection: Any) -> str:
    """Return the base URL; a connection URI keeps scheme, host and port apart."""
    host = connection.host or ""
    if "://" in host:
        return f"{host}:{connection.port}" if connection.port else host
    scheme = connection.schema or "https"
    return f"{scheme}://{host}:{connection.port}" if connection.port else f"{scheme}://{host}"


def _tuned(name: str, value: Any) -> int | float | bool | str:
    """Return a field in the type of its default; forms and URIs send text."""
    default = getattr(Tuning(), name)
    if isinstance(default, str):
        return str(value)
    if isinstance(default, bool):
        if str(value).lower() not in {"true", "false", "1", "0"}:
            raise InvalidRequestError(f"The connection's extra field {name} must be true or false.")
        return str(value).lower() in {"true", "1"}
    try:
        number = float(value)
        return int(number) if isinstance(default, int) else number
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequestError(f"The connection's extra field {name} must be a number.") from None
