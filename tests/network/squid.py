"""Squid, the proxy that many organizations run, as a process of the test's own on a free port.

It knows the name `bcda.test`, which nobody else does, so that only what goes through it can reach a server there.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

NAME = "bcda.test"
USER, PASSWORD = "jane.doe", "CANARY#100%/pass@word"
_HELPERS = Path("/usr/lib/squid")


def is_installed() -> bool:
    """Tell whether Squid with TLS (Debian's package squid-openssl) and what makes its passwords are here."""
    return shutil.which("squid", path=_PATH) is not None and (_HELPERS / "security_file_certgen").exists()


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True, slots=True)
class Squid:
    """A running proxy.

    Attributes:
        port: on 127.0.0.1.
        folder: its files.
    """

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Return its address with the right credentials, percent-encoded."""
        return self.url_with(quote(PASSWORD, safe=""))

    def url_with(self, password: str) -> str:
        """Return its address with another password, written as it is."""
        return f"http://{quote(USER, safe='')}:{password}@127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Return what it was asked, a line each: method, target, and its answer's status."""
        path = self.folder / "access.log"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # Whoever waits for it to listen connects and asks nothing.
        return "".join(line for line in lines if not line.startswith("- "))


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def squid(*, denies: bool = False, opens_tls_with: Path | None = None, trusts: Path | None = None) -> Iterator[Squid]:
    """Run a proxy that wants a user name and password.

    Args:
        denies: refuses `bcda.test` with 403.
        opens_tls_with: PEM file with certificate and key of its own authority; without it, TLS passes through.
        trusts: PEM file that it checks servers against when it opens TLS.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bcda-squid-", ignore_cleanup_errors=True) as folder,
        _running(Path(folder), denies=denies, opens_tls_with=opens_tls_with, trusts=trusts) as made,
    ):
        yield made


@contextmanager
def reverse_squid(base_url: str) -> Iterator[Squid]:
    """Run a proxy in front of a server, which keeps its connections to it and shares them among all who ask.

    Args:
        base_url: of the server, plain http on this machine.
    """
    _, _, port = base_url.rpartition(":")
    with tempfile.TemporaryDirectory(prefix="bcda-squid-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o777)
        made = Squid(free_port(), folder)
        lines = [
            f"http_port 127.0.0.1:{made.port} accel vhost",
            f"cache_peer 127.0.0.1 parent {port} 0 no-query originserver login=PASSTHRU",
            "never_direct allow all",
            "http_access allow all",
            # By default it shares connections among requests that it may repeat, and asks for tokens on new ones.
            "server_pconn_for_nonretriable allow all",
            "logformat brief %rm %ru %>Hs",
            *_common(folder),
        ]
        with _started(made, lines):
            yield made


def _common(folder: Path) -> list[str]:
    """Return what every configuration says: nothing is kept, and every file lies in the folder."""
    return [
        f"access_log stdio:{folder}/access.log brief",
        f"cache_log {folder}/cache.log",
        f"pid_filename {folder}/squid.pid",
        f"coredump_dir {folder}",
        "cache deny all",
        "shutdown_lifetime 0 seconds",
        "connect_timeout 3 seconds",
        "visible_hostname proxy.test",
    ]


@contextmanager
def _running(folder: Path, *, denies: bool, opens_tls_with: Path | None, trusts: Path | None) -> Iterator[Squid]:
    # Squid started by root gives its rights up, and has to read and write there anyway. Folders below pytest's own do not
    # do: each pytest that starts closes them for others again.
    folder.chmod(0o777)
    made = Squid(free_port(), folder)
    (folder / "hosts").write_text(f"127.0.0.1 {NAME}\n")
    # What `htpasswd -d` makes is of eight characters; SHA-1 keeps all of them.
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", "-salt", "squidsal", "-stdin"],
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (folder / "passwords").write_text(f"{USER}:{hashed}\n")
    bump = ""
    if opens_tls_with:
        subprocess.run(
            [_HELPERS / "security_file_certgen", "-c", "-s", folder / "made", "-M", "4MB"],
            check=True,
            capture_output=True,
        )
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "proxy", folder / "made"], check=True)
        bump = f" ssl-bump tls-cert={opens_tls_with} generate-host-certificates=on"
    lines = [
        f"http_port 127.0.0.1:{made.port}{bump}",
        f"auth_param basic program {_HELPERS}/basic_ncsa_auth {folder}/passwords",
        "acl known proxy_auth REQUIRED",
        f"acl bcda dstdomain {NAME}",
        *(["http_access deny known bcda"] if denies else []),
        "http_access allow known",
        "http_access deny all",
        f"hosts_file {folder}/hosts",
        "logformat brief %rm %ru %>Hs",
        *_common(folder),
        f"sslcrtd_program {_HELPERS}/security_file_certgen -s {folder}/made -M 4MB" if bump else "",
        "ssl_bump bump all" if bump else "",
        f"tls_outgoing_options cafile={trusts}" if trusts else "",
    ]
    with _started(made, lines):
        yield made


@contextmanager
def _started(made: Squid, lines: list[str]) -> Iterator[None]:
    """Run Squid with a configuration until the end of the block."""
    folder = made.folder
    (folder / "squid.conf").write_text("\n".join(lines) + "\n")
    program = shutil.which("squid", path=_PATH)
    assert program
    # Each has shared memory under its service name.
    command = [program, "-N", "-n", f"test{made.port}", "-f", folder / "squid.conf"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            _until_it_listens(made.port, process)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _until_it_listens(port: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"Squid ended: {process.stdout.read() if process.stdout else ''}")
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("Squid does not listen.")
