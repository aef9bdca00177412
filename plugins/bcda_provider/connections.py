"""From an Airflow connection to the library's settings: the form's, a URI's, a JSON text's, and those of version 1.0."""

import ipaddress
import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from airflow.sdk.configuration import conf

from bcda.errors import InvalidRequestError, UnknownConnectionError
from bcda.settings import ADDRESSES, ApiVersion, AuthMode, ConnectionSettings, Tuning
from bcda_provider.sources import sources

log = logging.getLogger(__name__)

CONN_TYPE = "bcda"

_MASK = "***"
"""What Airflow shows instead of a value it masks, and what its form then stores."""

_MADE_ON, _MADE_ON_OF_1_0 = "credentials_made_on", "secret_made_on"
_TUNING = frozenset(field.name for field in fields(Tuning))
_KNOWN = _TUNING | {"api_version", "auth"}


def unknown(conn_id: str) -> UnknownConnectionError:
    """Return the error that says that Airflow has no such connection.

    Args:
        conn_id: id that was looked for.
    """
    return UnknownConnectionError(
        f"Airflow has no connection {conn_id}. Create one of type BCDA under Admin, Connections, or correct BCDA_SOURCES, "
        f"which lists {', '.join(sources())}."
    )


def has_secrets_backend() -> bool:
    """Tell whether Airflow is set to look connections up in a secrets backend."""
    return any(
        conf.get(section, option, fallback="")
        for section, option in (("secrets", "backend"), ("workers", "secrets_backend"))
    )


def settings_of(connection: Any, api_version: str | None = None) -> ConnectionSettings:
    """Return a connection as the library's settings.

    Args:
        connection: an Airflow connection of type `bcda`.
        api_version: overrides the connection's version; empty or None for none.

    Raises:
        InvalidRequestError: the connection has another type, or a field is missing or malformed.
    """
    if connection.conn_type != CONN_TYPE:
        raise InvalidRequestError(
            f"The connection {connection.conn_id} is of type {connection.conn_type}. Nothing was sent. Set its type to BCDA, "
            "or name a connection of that type."
        )
    extra = _extra(connection)
    if remark := remark_on(connection):
        log.warning("%s", remark)
    tuning: dict[str, Any] = {key: _tuned(key, value) for key, value in extra.items() if key in _TUNING}
    try:
        return ConnectionSettings(
            base_url=_base_url(connection),
            client_id=_given(connection.login) or "",
            client_secret=_given(connection.password) or "",
            api_version=ApiVersion(api_version or extra.get("api_version", "v2")),
            auth=AuthMode(extra.get("auth", "basic")),
            tuning=Tuning(**tuning),
        )
    except InvalidRequestError:
        raise
    except ValueError as error:
        raise InvalidRequestError(f"The connection's extra is malformed: {error}.") from error


def remark_on(connection: Any) -> str:
    """Return a sentence about keys of the extra that mean nothing here, empty when there are none.

    Args:
        connection: an Airflow connection of type `bcda`.

    Raises:
        InvalidRequestError: the field `advanced` is not a JSON object.
    """
    unknown = sorted(str(key)[:40] for key in _extra(connection).keys() - _KNOWN)
    if not unknown:
        return ""
    return f"The connection's extra has unknown keys, which are ignored: {', '.join(unknown)}. Correct or remove them."


def _extra(connection: Any) -> dict[str, Any]:
    """Return what the extra holds, `advanced` unfolded over the flat keys of version 1.0; without what is empty."""
    _check_extra(connection.extra)
    flat: Mapping[str, Any] = connection.extra_dejson
    held = _filled(flat)
    held |= _filled(_advanced(held.pop("advanced", None)))
    made_on = held.pop(_MADE_ON_OF_1_0, None)
    return {**({_MADE_ON: made_on} if made_on else {}), **held}


def _check_extra(text: str | None) -> None:
    """Refuse an extra that is no JSON object; Airflow reads it as an empty one in a task, and refuses it elsewhere.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        is_object = isinstance(json.loads(text), dict) if text else True
    except ValueError:
        is_object = False
    if not is_object:
        raise InvalidRequestError(
            'The connection\'s extra must be a JSON object, such as {"api_version": "v2"}. Correct it, or leave it empty.'
        )


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if _given(value) is not None}


def _advanced(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise InvalidRequestError(
            'The connection\'s field `advanced` must be a JSON object, such as {"concurrent_downloads": 8}, or empty.'
        )
    return value


def _given(value: Any) -> Any:
    """Return a value, or None when the form left it empty or stored Airflow's mask."""
    return None if value in (None, "", _MASK) else value


def _base_url(connection: Any) -> str:
    """Return the base URL; a connection URI keeps scheme, host and port apart."""
    host = (connection.host or "").strip().rstrip("/")
    address = ADDRESSES.get(host.lower(), host)
    if _is_ipv6(address):
        # Airflow takes the brackets of an address off when it reads a URI.
        address = f"[{address}]"
    if "://" not in address:
        address = f"{connection.schema or 'https'}://{address}"
    # Airflow's form stores no port, and edits of it in some versions 0.
    return f"{address}:{connection.port}" if connection.port else address


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6  # noqa: PLR2004
    except ValueError:
        return False


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
