"""The http provider's hook, by the rules of the client: its proxy, its trust store, a connection of its own for each request."""

import ssl
from typing import Any

from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import Connection
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from bcda import protocol, single_use
from bcda.network import Network


class OpenEndpointsHook(HttpHook):
    """Asks a server's open endpoints, without credentials: BCDA checks them there all the same.

    Args:
        base_url: of the server.
        way: how requests leave this machine.
        timeout_seconds: bound on one silence of the network.
    """

    def __init__(self, base_url: str, way: Network, timeout_seconds: float) -> None:
        super().__init__(method="GET", http_conn_id="bcda_open_endpoints", adapter=ContextAdapter(way.trust.context()))
        self._open_base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._options = {
            # The hook's own check raises an error of Airflow's and logs the body.
            "check_response": False,
            "trust_env": False,
            # BCDA never redirects, and nothing else has to learn that somebody asks.
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

    def ask(self, path: str, *, timeout_seconds: float | None = None) -> Response:
        """Return the answer of an open endpoint; one of another handler only when it came twice (wire contract §26, row 1).

        Args:
            path: of the endpoint.
            timeout_seconds: bound on one silence, if it is shorter than that of the hook; None for that of the hook.

        Raises:
            RequestException: no answer came.
        """
        if timeout_seconds is not None:
            timeout_seconds = min(timeout_seconds, self._timeout_seconds)
        answer = self._ask_once(path, timeout_seconds)
        if protocol.is_misrouted(path, answer.status_code, answer.headers, answer.content):
            answer = self._ask_once(path, timeout_seconds)
        return answer

    def _ask_once(self, path: str, timeout_seconds: float | None = None) -> Response:
        options = {**self._options, "timeout": timeout_seconds or self._timeout_seconds}
        # The hook makes a session for each request, and leaves it open.
        answer: Response = self.run(path, headers=dict(single_use.CLOSING), extra_options=options)
        return answer


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
