"""The tree keeps its promises: locks with hashes, reasons for dependencies, a compose file that holds together."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE = PROJECT / "docker-compose.yaml"


def tracked(pattern="*"):
    done = subprocess.run(["git", "ls-files", pattern], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [PROJECT / line for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "requirements-production", "requirements-audit"])
def test_every_direct_dependency_has_its_reason_and_every_locked_one_a_hash(name):
    wanted = [line for line in (PROJECT / f"{name}.in").read_text().splitlines() if re.match(r"[a-z]", line)]
    assert wanted
    for line in wanted:
        assert re.search(r"#\s*\w{3,}.*\s\w+", line), line
    lock = (PROJECT / f"{name}.txt").read_text()
    for line in wanted:
        package = re.match(r"[A-Za-z0-9-]+", line).group()
        assert re.search(rf"^{package}==\S+", lock, re.MULTILINE), package
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        assert not re.match(r"[a-z0-9-]+==", block) or "--hash=sha256:" in block, block[:60]


def test_the_compose_file_holds_together():
    document = yaml.safe_load(COMPOSE.read_text())
    services = document["services"]
    assert set(services) == {"postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer", "simulator"}
    known = {
        "image",
        "build",
        "restart",
        "environment",
        "volumes",
        "depends_on",
        "command",
        "ports",
        "healthcheck",
        "profiles",
        "network_mode",
    }
    for name, service in services.items():
        assert set(service) <= known, name
        assert "image" in service, name
        for other in service.get("depends_on", {}):
            assert other in services, (name, other)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in document["volumes"], (name, volume)
    for variable in re.findall(r"\$\{(\w+)", COMPOSE.read_text()):
        assert variable in {
            "FERNET_KEY",
            "BCDA_SHOWN_VERSION",
            "BCDA_SOURCES",
            "BCDA_RESOURCE_TYPES",
            "BCDA_ENCRYPTION_VARIABLE",
            "JWT_SECRET",
            "API_SECRET_KEY",
            "POSTGRES_PASSWORD",
            "AIRFLOW_CONN_BCDA_DEFAULT",
            "AIRFLOW_PORT",
        }
    for path in re.findall(r"COPY --chown=airflow (\S+) (\S+) \./", COMPOSE.read_text()):
        assert all((PROJECT / name).exists() for name in path)


def test_no_path_of_one_machine_and_no_large_file():
    words = ["/wo" + "rk/", "/ro" + "ot/", "site-pack" + "ages"]
    for path in tracked():
        assert path.stat().st_size < 1 << 20, path
        text = path.read_text(errors="ignore")
        for word in words:
            assert word not in text, (path, word)


def test_every_module_of_the_library_is_typed_and_documented():
    for path in [*tracked("include/*.py"), *tracked("plugins/*.py"), *tracked("dags/*.py")]:
        assert path.read_text().startswith('"""'), path
