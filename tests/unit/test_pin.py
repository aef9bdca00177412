"""`make pin` against a registry of our own: all images or none, and never a digest that nobody looked up."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import pin

PROJECT = Path(__file__).resolve().parents[2]
MANIFEST = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """Answers as a registry of the OCI specification does, for people who have fetched a token."""

    def do_GET(self):
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path.startswith("/token"):
            self.server.scopes.append(self.path)
            self.answer(200, b'{"token": "read-only"}')
        elif self.headers.get("Authorization") != "Bearer read-only":
            self.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{here}/token",service="here"'})
        elif any(name in self.path for name in self.server.gone):
            self.answer(404, b"{}")
        else:
            self.answer(200, self.server.body, {"Docker-Content-Digest": self.server.digest})

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    server = HTTPServer(("127.0.0.1", 0), Registry)
    server.body, server.digest, server.gone, server.scopes = MANIFEST, DIGEST, (), []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    for name in pin.PLACES:
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def texts(folder):
    return {name: (folder / name).read_text() for name in pin.PLACES}


def test_every_image_is_pinned_and_can_be_pinned_again(registry, folder):
    server, address = registry
    digests = pin.pin(folder, address)
    assert {image.partition(":")[0] for image in digests} == {"postgres", "redis", "python"}
    assert set(digests.values()) == {DIGEST}
    once = texts(folder)
    assert sum(text.count(f"@{DIGEST}") for text in once.values()) == 3
    assert not [scope for scope in server.scopes if "library%2F" not in scope]
    pin.pin(folder, address)
    assert texts(folder) == once


@pytest.mark.parametrize(
    "trouble",
    [{"gone": ("redis",)}, {"digest": "sha256:" + "0" * 64}, {"body": b"<html>"}, {"body": b"{}"}],
    ids=["one-is-gone", "another-digest", "no-json", "no-manifest"],
)
def test_one_that_cannot_be_resolved_leaves_every_file_as_it_is(registry, folder, trouble):
    server, address = registry
    vars(server).update(trouble)
    if "body" in trouble:
        server.digest = ""
    before = texts(folder)
    with pytest.raises((OSError, ValueError)):
        pin.pin(folder, address)
    assert texts(folder) == before


def test_without_a_registry_nothing_changes_and_the_command_says_so(folder, monkeypatch, capsys):
    monkeypatch.setattr(pin, "PROJECT", folder)
    monkeypatch.setattr("sys.argv", ["pin.py", "--registry", "http://127.0.0.1:9"])
    before = texts(folder)
    assert pin.main() == 1
    assert "No image was pinned, and no file changed" in capsys.readouterr().err
    assert texts(folder) == before
