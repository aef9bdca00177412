"""First checks of a server, at the endpoints that need no token: whether it is well, and whether it knows the version."""

import logging
from datetime import UTC, datetime
from http import HTTPStatus
from ssl import SSLCertVerificationError

from requests import ConnectionError as RequestsConnectionError
from requests import RequestException, Timeout

from bcda import budgets, network
from bcda.api import protocol
from bcda.errors import BcdaError, ServerError
from bcda.network import Network
from bcda.settings import ConnectionSettings
from bcda.storage.documents import read_json
from bcda_provider.masking import mask_proxy_passwords
from bcda_provider.open_endpoints import OpenAnswer, OpenEndpointsHook

log = logging.getLogger(__name__)

HEALTH_SECONDS = 10.0
"""How long the health check may take; the run goes on without it then."""


def check_open_endpoints(settings: ConnectionSettings) -> str:
    """Ask `/_health` and the version's metadata, which need no token; return the FHIR version.

    What `/_health` answers counts only if BCDA itself says there that it is not well. A server without it, or one that
    redirects it or hangs, can export.

    Args:
        settings: of the connection.

    Raises:
        InvalidRequestError: the environment names a proxy or a trust store that cannot be used.
        ProxyRefusedError: the proxy refuses its credentials, or the way to BCDA.
        UntrustedServerError: the server's certificate is not trusted.
        ServerError: the server cannot be reached, is not healthy, or does not know the version.
    """
    mask_proxy_passwords()
    way = Network.to(settings.base_url)
    open_hook = OpenEndpointsHook(settings.base_url, way, settings.tuning.request_timeout_seconds)
    try:
        _check_health(open_hook)
        metadata = open_hook.ask(f"/api/{settings.api_version}/metadata")
        _check_answer(settings, metadata)
        return str(read_json(metadata.content, most_values=budgets.MOST_JSON_VALUES)["fhirVersion"])
    except (RequestException, ValueError, KeyError, TypeError) as error:
        raise _open_error(settings, way, error) from error


def _open_error(settings: ConnectionSettings, way: Network, error: Exception) -> BcdaError:
    """Return what an error of the HTTP library means."""
    for cause in network.causes_of(error):
        if isinstance(cause, SSLCertVerificationError):
            return network.untrusted(cause, way, base_url=settings.base_url)
        status = network.tunnel_status(cause) if way.proxy and isinstance(cause, OSError) else None
        if way.proxy and status:
            return network.tunnel_error(way.proxy, status, base_url=settings.base_url, what="First check")
    if way.proxy and isinstance(error, RequestsConnectionError | Timeout):
        return ServerError(
            f"{settings.base_url} does not answer{network.through(way.proxy)} ({type(error).__name__}). Check that the proxy answers; "
            "in production, check that BCDA's allow list has the address from which the proxy connects."
        )
    return ServerError(
        f"{settings.base_url} does not answer as BCDA {settings.api_version} does ({type(error).__name__}). "
        "Check the base URL and the network; in production, whether this address is on the allow list."
    )


def _check_health(open_hook: OpenEndpointsHook) -> None:
    """Raise what BCDA says of itself when it is not well (docs/bcda.md#open-endpoints).

    Raises:
        ServerError: with BCDA's own words of which part of it is not well.
    """
    try:
        answer = open_hook.ask("/_health", timeout_seconds=HEALTH_SECONDS)
        parts = protocol.health_of(answer.content)
    except (RequestException, ServerError) as error:
        log.warning("The health check gave no usable answer (%s); the run goes on without it.", type(error).__name__)
        return
    if answer.status_code == HTTPStatus.BAD_GATEWAY and (ill := protocol.unwell(parts)):
        raise ServerError(
            f"BCDA says that {ill}. Nothing was asked for. Wait; if it stays so for an hour, ask BCDA's help desk.",
            retry_after_seconds=protocol.wished_wait_seconds(answer.headers, datetime.now(UTC)),
            status=answer.status_code,
        )


def _check_answer(settings: ConnectionSettings, answer: OpenAnswer) -> None:
    """Raise what the answer of an open endpoint means when it is no success.

    Raises:
        ServerError: it is not one that BCDA gives when it is well.
    """
    if answer.ok:
        return
    raise ServerError(
        f"{settings.base_url} answers with {answer.status_code}, which BCDA {settings.api_version} does not when it is well. If it "
        "stays so, check the base URL and the API version, and whether a proxy or a maintenance page answers.",
        retry_after_seconds=protocol.wished_wait_seconds(answer.headers, datetime.now(UTC)),
        status=answer.status_code,
    )
