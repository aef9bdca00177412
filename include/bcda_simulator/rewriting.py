"""Files in forms that BCDA does not send and a proxy between could."""

import gzip
from collections.abc import Callable

from starlette.responses import Response

_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "compressed twice": gzip.compress,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "a JSON array": lambda content: b"[" + content.rstrip(b"\n").replace(b"\n", b",\n") + b"]",
    "record separators": lambda content: b"".join(b"\x1e" + line for line in content.splitlines(keepends=True)),
    "lone carriage returns": lambda content: content.replace(b"\n", b"\r"),
    "a page": lambda content: b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n" + content,
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
}

_BROTLI = "Brotli"
_PLAIN_PAGE = "a page that is not compressed"


def rewritten(stored: bytes, form: str) -> Response:
    """Return the answer with a stored file in another form.

    Args:
        stored: the file, gzip.
        form: a name of `_FORMS`, or `Brotli`, whose body is not even that: nobody should unpack it, or a page under the headers of
            a compressed file.
    """
    headers = {"Content-Type": "application/fhir+ndjson"}
    if form == _BROTLI:
        return Response(stored, headers=headers | {"Content-Encoding": "br"})
    if form == _PLAIN_PAGE:
        return Response(_FORMS["a page"](b""), headers=headers | {"Content-Encoding": "gzip"})
    content = _FORMS[form](gzip.decompress(stored))
    return Response(gzip.compress(content), headers=headers | {"Content-Encoding": "gzip"})
