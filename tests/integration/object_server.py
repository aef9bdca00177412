"""A local S3 server (moto) with a log of its requests, and with faults."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import WSGIRequestHandler, make_server

from bcda.storage.store_address import StoreAddress

BUCKET = "claims"
CUT = "cut"


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Keep the tests' output readable."""


class S3Server:
    """Serves one bucket on a free loopback port; several threads. Use as a context manager.

    Attributes:
        log: method, path and status of every request, in order of their answers.
        fault: called with method and path; a status to answer instead, `CUT` to break off in the middle, None for neither.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent)
        self._server.daemon_threads = True
        self.log: list[tuple[str, str, str]] = []
        self.fault: Callable[[str, str], int | str | None] = lambda method, path: None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.files(allow_bucket_creation=True).create_dir(BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def address(self, prefix: str, *, bucket: str = BUCKET) -> StoreAddress:
        """Return the address of a folder, as BCDA_OBJECT_STORE would have it."""
        return StoreAddress.from_text(
            f"s3://{bucket}/{prefix}?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{self._server.port}"
            "&connect_timeout=2&request_timeout=5"
        )

    def files(self, **options: Any) -> fs.S3FileSystem:
        """Return pyarrow's file system for the server, for looking at it without our code."""
        endpoint = f"127.0.0.1:{self._server.port}"
        return fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1", **options)

    def infos(self, prefix: str) -> list[fs.FileInfo]:
        """Return all objects below a folder."""
        found = self.files().get_file_info(fs.FileSelector(f"{BUCKET}/{prefix}", recursive=True, allow_not_found=True))
        return [info for info in found if info.type == fs.FileType.File]

    def names(self, prefix: str) -> set[str]:
        """Return their names, relative to the folder."""
        return {info.path.removeprefix(f"{BUCKET}/{prefix}/") for info in self.infos(prefix)}

    def copy(self, prefix: str, other: str) -> None:
        """Copy a folder, so that a test may harm the copy."""
        files = self.files()
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda name: files.copy_file(f"{BUCKET}/{prefix}/{name}", f"{BUCKET}/{other}/{name}"),
                    self.names(prefix),
                )
            )

    def _answer(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = request["REQUEST_METHOD"], request["PATH_INFO"]
        fault = self.fault(method, path)
        if isinstance(fault, int):
            # Whatever a server says must not reach our messages.
            code = {503: "SlowDown", 500: "InternalError", 403: "AccessDenied"}.get(fault, "Odd")
            body = f"<Error><Code>{code}</Code><Message>CANARY of the server</Message></Error>".encode()
            request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
            self.log.append((method, path, str(fault)))
            start(f"{fault} Fault", [("Content-Length", str(len(body))), ("Content-Type", "application/xml")])
            return [b"" if method == "HEAD" else body]

        def noted(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            self.log.append((method, path, status[:3]))
            return start(status, headers, *more)

        answer = self._moto(request, noted)
        return _half(answer) if fault == CUT else answer


def _half(answer: Iterable[bytes]) -> Iterator[bytes]:
    whole = b"".join(answer)
    yield whole[: len(whole) // 2]
    raise ConnectionAbortedError("the server stops in the middle")
