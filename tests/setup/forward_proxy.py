"""Squid as an open forward proxy on loopback: what HTTP_PROXY names in many organizations."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machines import let_others_in

from airflow_processes import free_port


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """A running proxy: its address, and what it was asked for."""

    url: str
    log: Path

    def asked(self) -> list[str]:
        """Return a line for each request: method, target, status."""
        # Whoever waits for it to listen connects and asks nothing.
        return [line for line in self.log.read_text().splitlines() if not line.startswith("- ")]


@contextmanager
def forward_proxy(folder: Path) -> Iterator[ForwardProxy]:
    """Run Squid until the end of the block; its files go to `folder`."""
    folder.mkdir(parents=True)
    # Started by root, Squid gives up its rights, and has to reach this folder and write here anyway.
    let_others_in(folder.parent)
    folder.chmod(0o777)
    port, log = free_port(), folder / "access.log"
    lines = [
        f"http_port 127.0.0.1:{port}",
        "http_access allow localhost",
        "logformat brief %rm %ru %>Hs",
        f"access_log stdio:{log} brief",
        f"cache_log {folder}/cache.log",
        f"pid_filename {folder}/squid.pid",
        f"coredump_dir {folder}",
        "cache deny all",
        "shutdown_lifetime 0 seconds",
        "visible_hostname proxy.test",
    ]
    (folder / "squid.conf").write_text("\n".join(lines) + "\n")
    program = shutil.which("squid", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "install Squid: sudo apt-get install squid-openssl"
    with subprocess.Popen(
        [program, "-N", "-n", f"setup{port}", "-f", folder / "squid.conf"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            _wait_until_it_listens(port, process)
            yield ForwardProxy(f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("Squid does not listen")
