"""Whether a container's process is well, for the health checks of docker-compose.yaml: exit 0, or 1 with the reason.

Airflow's own command for this takes seconds of processor time for each look; this takes a fraction of one.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request

from celery import Celery

API = os.environ.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://localhost:8080/execution/").split("/execution")[
    0
]
# What is asked here is inside of the containers' own network, which no proxy of the environment reaches; nor is a certificate
# of interest: whether the process answers is all that is asked.
_OPEN = urllib.request.build_opener(
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323, SLF001
).open
SCHEDULER_PORT = os.environ.get("AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT", "8974")


def trouble(component: str, node: str) -> str:
    """Return what is wrong with a component, empty when it is well.

    Args:
        component: `api-server`, `scheduler`, `dag-processor`, `triggerer`, `worker` or `simulator`.
        node: of a worker, its name in Celery.

    Raises:
        OSError, ValueError: it does not answer, or with nonsense.
        KeyError: there is no such component.
    """
    if component == "worker":
        return _worker(node)
    if component == "simulator":
        _OPEN("https://simulator:8888/_health", timeout=10).close()
        return ""
    if component == "scheduler":
        # Answers 503 when this scheduler's heartbeat is old.
        _OPEN(f"http://localhost:{SCHEDULER_PORT}/health", timeout=10).close()
        return ""
    with _OPEN(f"{API}/api/v2/monitor/health", timeout=10) as answer:
        parts = json.load(answer)
    if component == "api-server":
        return "" if parts["metadatabase"]["status"] == "healthy" else "the API server does not reach its database"
    state = parts[component.replace("-", "_")]["status"]
    return "" if state == "healthy" else f"{component} is {state}"


def _worker(node: str) -> str:
    command = os.environ["AIRFLOW__CELERY__BROKER_URL_CMD"].split()
    broker = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with Celery(broker=broker) as queue:
        answers = queue.control.ping(destination=[node], timeout=5)
    return "" if answers else f"the worker {node} does not answer"


def main() -> int:
    """Look at the component that the command line names."""
    component, *named = sys.argv[1:]
    node = named[0] if named else f"celery@{socket.gethostname()}"
    try:
        reason = trouble(component, node)
    except (OSError, ValueError) as error:
        reason = f"{component}: {error}"
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
