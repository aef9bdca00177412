"""The middleware for Airflow's Test button: what it changes, and that it changes nothing else."""

import asyncio
import json

import pytest

ASKED = {"connection_id": "x", "conn_type": "bcda", "host": "sandbox", "password": "***", "port": 0}


def sent_on(body, *, path="/api/v2/connections/test", method="POST", parts=1):
    """Return the body that Airflow gets, and the length that it is told."""
    from bcda_provider.port_of_test import PortlessTest

    got = []

    async def app(scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        got.append((body, dict(scope["headers"])[b"content-length"]))

    size = max(1, len(body) // parts)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    messages = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]

    async def receive():
        return messages.pop(0)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"content-length", str(len(body)).encode())]}
    asyncio.run(PortlessTest(app)(scope, receive, None))
    return got[0]


@pytest.mark.parametrize("prefix", ["", "/airflow"])
def test_port_0_of_a_bcda_connection_is_no_port(prefix):
    body, length = sent_on(json.dumps(ASKED).encode(), path=f"{prefix}/api/v2/connections/test")
    assert json.loads(body) == {**ASKED, "port": None}
    assert int(length) == len(body)


@pytest.mark.parametrize(
    ("body", "kwargs"),
    [
        (json.dumps({**ASKED, "conn_type": "http"}), {}),
        (json.dumps({**ASKED, "port": 8443}), {}),
        (json.dumps({**ASKED, "port": None}), {}),
        (json.dumps([ASKED]), {}),
        ("no JSON", {}),
        (json.dumps(ASKED), {"path": "/api/v2/connections"}),
        (json.dumps(ASKED), {"method": "PATCH"}),
        (json.dumps(ASKED), {"parts": 3}),
    ],
)
def test_everything_else_passes_as_it_is(body, kwargs):
    assert sent_on(body.encode(), **kwargs) == (body.encode(), str(len(body)).encode())
