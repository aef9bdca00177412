"""A StatsD server of our own: a UDP socket that keeps what it was sent."""

import re
import socket
import threading
from typing import NamedTuple, Self

_LINE = re.compile(r"airflow\.(?P<name>[^,:]+)(?P<tags>,[^:]*)?:(?P<value>[^|]+)\|(?P<kind>c|g|ms)")


class Sent(NamedTuple):
    """One value that arrived."""

    name: str
    kind: str
    value: float
    tags: dict[str, str]


class MetricSink:
    """Receives what Airflow sends with `environment` set."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._packets: list[bytes] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while packet := self._socket.recv(65535):
            self._packets.append(packet)

    def sent(self, prefix: str = "bcda.") -> list[Sent]:
        """Return what arrived under a prefix."""
        found = (_LINE.fullmatch(packet.decode()) for packet in list(self._packets))
        return [
            Sent(
                hit["name"],
                hit["kind"],
                float(hit["value"]),
                dict(pair.split("=") for pair in (hit["tags"] or "").split(",") if pair),
            )
            for hit in found
            if hit and hit["name"].startswith(prefix)
        ]
