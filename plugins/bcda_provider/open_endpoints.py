"""The http provider's hook, by the rules of the client: its proxy, its trust store, a connection of its own for each request."""

import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import Connection
from requests import ConnectionError as RequestsConnectionError
from requests import PreparedRequest, RequestException, Timeout
from requests.adapters import HTTPAdapter

from bcda import budgets
from bcda.api import protocol, single_use
from bcda.api.bounded_body import GZIP_ONLY, BoundedBody
from bcda.errors import ServerError
from bcda.network import Network


class OpenEndpointsHook(HttpHook):
    """Asks a server's open endpoints, without credentials: BCDA checks them there anyway.

    Args:
        base_url: of the server.
        way: how requests leave this machine.
        timeout_seconds: bound on one answer.
    """

    def __init__(self, base_url: str, way: Network, timeout_seconds: float) -> None:
        super().__init__(method="GET", http_conn_id="bcda_open_endpoints", adapter=ContextAdapter(way.trust.context()))
        self._open_base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._options = {
            # The hook's own check raises an error of Airflow's and logs the body.
            "check_response": False,
            "trust_env": False,
            # BCDA never redirects, and nothing else has to learn that someone asks.
            "allow_redirects": False,
            "verify": way.trust.path,
            "proxies": {"https": way.proxy.url_with_credentials} if way.proxy else {},
        }

    def get_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        """Return a connection that Airflow does not have to know.

        Args:
            conn_id: its name.
        """
        return Connection(conn_id=conn_id, conn_type="http", host=self._open_base_url)

    def get_conn(self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None) -> Any:
        """Return a session that leaves bodies to be read.

        Args:
            headers: of the request.
            extra_options: as the http provider says.
        """
        session = super().get_conn(headers, extra_options)
        session.stream = True
        return session

    def ask(self, path: str, *, timeout_seconds: float | None = None) -> "OpenAnswer":
        """Return the answer of an open endpoint; one of another handler only when it came twice (docs/bcda.md#connections).

        Args:
            path: of the endpoint.
            timeout_seconds: time of each answer, if it is shorter than that of the hook; None for that of the hook.

        Raises:
            RequestException: no answer came in time.
            ServerError: it is larger than its budget, or cannot be read.
        """
        if timeout_seconds is not None:
            timeout_seconds = min(timeout_seconds, self._timeout_seconds)
        answer = self._ask_once(path, timeout_seconds)
        if protocol.is_misrouted(path, answer.status_code, answer.headers, answer.content):
            answer = self._ask_once(path, timeout_seconds)
        return answer

    def _ask_once(self, path: str, timeout_seconds: float | None = None) -> "OpenAnswer":
        """Ask in a thread that is left behind when the time is up: this library bounds each silence, and no answer as a whole."""
        seconds = timeout_seconds or self._timeout_seconds
        ends_at = time.monotonic() + seconds
        came: list[OpenAnswer | Exception] = []

        def ask() -> None:
            try:
                came.append(self._answer(path, seconds, ends_at))
            except Exception as error:  # noqa: BLE001 - raised below, by who waits for it
                came.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(seconds)
        if not came:
            raise _too_late(path, seconds)
        if isinstance(came[0], Exception):
            raise came[0]
        return came[0]

    def _answer(self, path: str, seconds: float, ends_at: float) -> "OpenAnswer":
        # The hook makes a session for each request, and leaves it open.
        options = {**self._options, "timeout": seconds}
        with closing(self.run(path, headers={**single_use.CLOSING, **GZIP_ONLY}, extra_options=options)) as answer:
            body = BoundedBody(budgets.ANSWER_BYTES, answer.headers.get("Content-Encoding", ""), f"GET {path}")
            try:
                # The library above it reads lines between chunks without a bound, and waits for a piece to be full.
                while (piece := answer.raw._fp.read1(budgets.PIECE_BYTES)) and body.add(piece):  # noqa: SLF001
                    if time.monotonic() >= ends_at:
                        raise _too_late(path, seconds)
            except (HTTPException, OSError) as error:
                if isinstance(error, RequestException):
                    raise
                raise RequestsConnectionError(f"{path}: the connection broke") from error
            if body.is_over and answer.ok:
                raise ServerError(
                    f"GET {path}: the answer is larger than {budgets.ANSWER_BYTES:,} bytes, so it was not read to its end. BCDA does not "
                    "send such answers. Look for something between this machine and BCDA that answers in its place."
                )
            return OpenAnswer(answer.status_code, answer.headers, body.content())


def _too_late(path: str, seconds: float) -> Timeout:
    return Timeout(f"{path}: no complete answer within {seconds:g} s")


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """Answer of an open endpoint.

    Attributes:
        status_code: HTTP status.
        headers: names in any case.
        content: body, unpacked; of an error, no more of it than its budget.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is no error."""
        return self.status_code < HTTPStatus.BAD_REQUEST


class ContextAdapter(HTTPAdapter):
    """Checks certificates with the client's TLS context, so that both trust the same servers.

    The library's own context differs: it refuses a certificate that names its host as the subject alone, which the client and
    the doctor take, and which authorities it is given depends on the release of the http provider.

    Args:
        context: of the client.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pool of direct connections.

        Args:
            args: as the library says.
            options: as the library says.
        """
        super().init_poolmanager(*args, **{**options, "ssl_context": self._context})

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pool of connections through a proxy, which is checked alike when it speaks TLS.

        Args:
            proxy: its URL.
            options: as the library says.
        """
        contexts = {"ssl_context": self._context, "proxy_ssl_context": self._context}
        return super().proxy_manager_for(proxy, **{**options, **contexts})

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what tells connections apart.

        Args:
            request: to be sent.
            verify: ignored; the context decides.
            cert: of the client; never given.
        """
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Load nothing into the context, which is complete.

        Args:
            conn: pool of connections.
            url: ignored.
            verify: ignored.
            cert: ignored.
        """
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"
