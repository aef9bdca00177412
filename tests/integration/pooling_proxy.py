"""A reverse proxy that keeps its connections to the server and shares them among all who ask, as most do."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OWN = frozenset({"connection", "keep-alive", "transfer-encoding"})
"""Headers that are of one connection, so that the proxy does not pass them on."""


class Pool:
    """Connections to one server; the one that was used last is used next.

    Attributes:
        reused: how many requests went over a connection that had been used before.
        clients: how many requests came.
        asked_to_close: how many of them asked to close the connection after the answer.
    """

    def __init__(self, base_url: str) -> None:
        self._address = urlsplit(base_url)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self.reused = self.clients = self.asked_to_close = 0

    def ask(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and body of an answer."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                answer = self._ask_on(connection, method, target, headers)
            except (http.client.BadStatusLine, ConnectionError):
                # The server has closed it meanwhile.
                connection.close()
            else:
                self.reused += 1
                return answer
        fresh = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=10)
        return self._ask_on(fresh, method, target, headers)

    def _ask_on(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return answer.status, [pair for pair in answer.getheaders() if pair[0].lower() not in _OWN], body

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.close()


@contextmanager
def pooling_proxy(base_url: str) -> Iterator[tuple[str, Pool]]:
    """Run one in front of a server.

    Yields:
        Its address, and its connections.
    """
    pool = Pool(base_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            pool.clients += 1
            pool.asked_to_close += self.headers.get("Connection") == "close"
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            try:
                status, found, body = pool.ask(self.command, self.path, headers)
            except (http.client.HTTPException, OSError):
                # It broke off there, so it breaks off here.
                self.close_connection = True
                return
            self.send_response_only(status)
            for name, value in found:
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - names of the standard library

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", pool
    finally:
        server.shutdown()
        server.server_close()
        pool.close()
