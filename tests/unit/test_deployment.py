"""docker-compose.yaml and Dockerfile: of the specification, read by a compose tool, and closed where they have to be.

No container engine runs in the tests. What the services do when they run is shown in tests/deployment with the same settings.
"""

import copy
import fnmatch
import importlib.resources
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from compose_tool import COMPOSE, PROJECT, composed
from cryptography.fernet import Fernet

import make_secrets

DOCKERFILE = PROJECT / "Dockerfile"
AIRFLOW = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
SERVICES = AIRFLOW | {"postgres", "redis", "simulator"}


@pytest.fixture(scope="module")
def document():
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(document):
    return document["services"]


@pytest.fixture(scope="module")
def specification():
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def test_it_is_of_the_compose_specification(document, specification):
    assert [error.message for error in specification.iter_errors(document)] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["services"]["worker"].update(comand="airflow"),
        lambda document: document["services"]["redis"].update(tmpfs={"/tmp": {}}),
        lambda document: document["services"]["init"]["depends_on"]["redis"].update(condition="service_is_well"),
        lambda document: document["secrets"]["broker_url"].update(file=7),
    ],
    ids=["unknown key", "wrong kind", "unknown condition", "not a path"],
)
def test_the_specification_refuses_what_is_wrong(document, specification, change):
    wrong = copy.deepcopy(document)
    change(wrong)
    assert list(specification.iter_errors(wrong))


def test_a_compose_tool_reads_it(tmp_path, services):
    read = composed(tmp_path, "--profile", "sandbox")
    assert set(read["services"]) == SERVICES
    for name in AIRFLOW:
        service = read["services"][name]
        assert service["image"] == f"bcda-airflow:{version()}"
        assert service["environment"]["AIRFLOW__CELERY__WORKER_CONCURRENCY"] == "4"
        assert service["command"] == services[name]["command"]
    assert read["services"]["api-server"]["ports"] == ["127.0.0.1:8080:8080"]


def test_without_the_profile_there_is_no_simulator(tmp_path):
    assert set(composed(tmp_path)["services"]) == SERVICES - {"simulator"}


def test_its_variables_change_what_they_say(tmp_path):
    given = {
        "AIRFLOW_PORT": "9000",
        "AIRFLOW_BASE_URL": "https://airflow.example.org",
        "AIRFLOW_USERS": "ann:admin,vic:viewer",
        "BCDA_VERSION": "0.0.9",
        "BCDA_WORKER_CONCURRENCY": "7",
        "BCDA_LATE_HOURS": "8",
        "BCDA_RETRY_SCALE": "2",
    }
    assert {*given, "PYTHON_IMAGE", "DUCKDB_EXTENSIONS"} >= set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    read = composed(tmp_path, **given)["services"]["api-server"]
    assert read["ports"] == ["127.0.0.1:9000:8080"]
    assert read["image"] == "bcda-airflow:0.0.9"
    assert read["environment"]["AIRFLOW__API__BASE_URL"] == "https://airflow.example.org"
    assert read["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == "ann:admin,vic:viewer"
    assert read["environment"]["AIRFLOW__CELERY__WORKER_CONCURRENCY"] == "7"
    assert read["environment"]["BCDA_LATE_HOURS"] == "8"
    assert read["environment"]["BCDA_RETRY_SCALE"] == "2"


@pytest.mark.complete
def test_the_port_alone_moves_the_links_too(tmp_path):
    read = composed(tmp_path, AIRFLOW_PORT="9000")["services"]
    for name in AIRFLOW:
        assert read[name]["environment"]["AIRFLOW__API__BASE_URL"] == "http://localhost:9000", name
    assert composed(tmp_path)["services"]["worker"]["environment"]["AIRFLOW__API__BASE_URL"] == "http://localhost:8080"


def version():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def test_whatever_is_named_is_there(document, services):
    assert set(services) == SERVICES
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= SERVICES, name
        assert set(service["networks"]) <= set(document["networks"]), name
        assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= set(document["volumes"]), name
        assert secrets_of(service) <= set(document["secrets"]), name
    used = {secret for service in services.values() for secret in secrets_of(service)}
    assert used == set(document["secrets"])


def secrets_of(service):
    return {entry if isinstance(entry, str) else entry["source"] for entry in service.get("secrets", ())}


def test_every_service_is_closed(services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        # The image of the others runs as airflow.
        assert service.get("user") == {"postgres": "postgres", "redis": "redis"}.get(name), name
    assert re.search(r"^USER [1-9]\d+$", DOCKERFILE.read_text(), re.MULTILINE)


def test_the_user_of_the_image_can_enter_airflows_home(services):
    """Docker mounts a tmpfs with the mode of the image's folder and root as owner."""
    user = re.search(r"^USER (\d+)$", DOCKERFILE.read_text(), re.MULTILINE).group(1)
    assert f"useradd --uid {user} " in DOCKERFILE.read_text()
    home = re.search(r"AIRFLOW_HOME=(\S+)", DOCKERFILE.read_text()).group(1)
    for name in AIRFLOW:
        mounts = dict(mount.partition(":")[::2] for mount in services[name]["tmpfs"])
        assert set(mounts[home].split(",")) == {"mode=0700", f"uid={user}", f"gid={user}"}, name


def test_the_databases_can_be_reached_from_inside_only(document, services):
    assert document["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis", "simulator"):
        assert services[name]["networks"] == ["inside"]
        assert "ports" not in services[name]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api-server"}
    assert all(port.startswith("127.0.0.1:") for port in published["api-server"])


def test_every_service_that_stays_says_whether_it_is_well(services):
    for name in SERVICES - {"init"}:
        check = services[name]["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}, name
        if name in AIRFLOW | {"simulator"}:
            assert check["test"] == ["CMD", "python", "scripts/healthy.py", name]


def test_nothing_starts_before_the_database_is_migrated(services):
    assert {name: entry["condition"] for name, entry in services["init"]["depends_on"].items()} == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
    }
    for name in AIRFLOW - {"init"}:
        assert services[name]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}, name


def test_images_are_pinned_to_a_patch_release(services):
    images = {service["image"] for service in services.values()} - {f"bcda-airflow:${{BCDA_VERSION:-{version()}}}"}
    assert len(images) == 2
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE).group(1)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    for image in {*images, base}:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]*bookworm(@sha256:[0-9a-f]{64})?", image), image


def test_no_secret_is_in_the_environment(services):
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            # What ends so is a file or a command that reads one.
            if re.search(r"PASSWORD|SECRET_KEY|FERNET|JWT|CONN(_|$)|BROKER_URL|RESULT_BACKEND", name):
                assert "/run/secrets/" in value or "PASSWORDS_FILE" in name, name


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Every option that this Airflow and its providers know, and those that it reads from a command."""
    script = (
        # A worker could not start otherwise.
        # A worker could not start without the executor's module.
        "import json, airflow.providers.celery.executors.celery_executor;"
        "from airflow.configuration import conf; from airflow.providers_manager import ProvidersManager;"
        "ProvidersManager().initialize_providers_configuration(); described = conf.configuration_description;"
        "print(json.dumps({'known': [[s, o] for s, d in described.items() for o in d['options']],"
        "'commands': list(conf.sensitive_config_values)}))"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {kind: {tuple(option) for option in pairs} for kind, pairs in found.items()}


@pytest.mark.complete
def test_every_setting_is_one_that_airflow_reads(services, options):
    for name in {name for service in AIRFLOW for name in services[service]["environment"]}:
        if name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__")
            kind = "commands" if option.endswith("_cmd") else "known"
            assert (section, option.removesuffix("_cmd")) in options[kind], name


NEEDS = {
    "init": {"sql_alchemy_conn", "fernet_key"},
    "api-server": {"sql_alchemy_conn", "fernet_key", "jwt_secret", "api_secret_key", "connections"},
    "scheduler": {"sql_alchemy_conn", "fernet_key", "jwt_secret", "broker_url", "result_backend"},
    "dag-processor": {"sql_alchemy_conn", "fernet_key", "connections"},
    "triggerer": {"sql_alchemy_conn", "fernet_key", "api_secret_key", "connections"},
    "worker": {"broker_url", "result_backend", "api_secret_key", "connections"},
    "postgres": {"postgres_password"},
    "redis": {"redis_password"},
    "simulator": set(),
}
"""Secrets of each service, and why: tests/deployment runs the services with these and no others."""

DATA = {"api-server": "ro", "triggerer": "rw", "worker": "rw"}
"""Services that see claims, and how."""

OUTSIDE = {"api-server", "dag-processor", "triggerer", "worker"}
"""Services that speak to BCDA, or to whoever is told of failures."""


def test_each_service_has_the_secrets_that_it_needs_and_no_others(tmp_path):
    read = composed(tmp_path, "--profile", "sandbox")["services"]
    assert {name: secrets_of(service) for name, service in read.items()} == NEEDS
    for name, service in read.items():
        text = json.dumps(service.get("environment", {}))
        unread = set(re.findall(r"/run/secrets/([a-z_]+)", text)) - NEEDS[name]
        assert not unread, f"{name} would read {unread}, which it does not have"


def test_claims_are_where_somebody_works_with_them_and_the_page_only_reads(tmp_path):
    mounted = {}
    for name, service in composed(tmp_path, "--profile", "sandbox")["services"].items():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            if (source, target) == ("data", "/data"):
                mounted[name] = mode[0] if mode else "rw"
            assert target != "/data" or source in {"data", "queue"}, name
    assert mounted == DATA


def test_only_who_speaks_to_somebody_has_a_way_out(tmp_path):
    read = composed(tmp_path, "--profile", "sandbox")["services"]
    assert {name for name, service in read.items() if "outside" in service["networks"]} == OUTSIDE
    assert all("inside" in service["networks"] for service in read.values())


def test_every_command_reads_a_secret_of_the_service(tmp_path):
    services = composed(tmp_path)["services"]
    for name in AIRFLOW:
        read = re.findall(r"/run/secrets/([a-z_.]+)", json.dumps(services[name]["environment"]))
        targets = {entry if isinstance(entry, str) else entry["target"] for entry in services[name]["secrets"]}
        assert set(read) == targets, name
    for name in ("postgres", "redis"):
        text = json.dumps({key: services[name].get(key) for key in ("environment", "command", "healthcheck")})
        assert set(re.findall(r"/run/secrets/([a-z_]+)", text)) == set(services[name]["secrets"])


def test_make_secrets_writes_what_is_read_once_and_for_its_owner(tmp_path, document):
    folder = tmp_path / "secrets"
    files = make_secrets.contents(connection=make_secrets.SANDBOX)
    make_secrets.write(folder, files)
    assert {path.name for path in folder.iterdir()} == {
        Path(entry["file"]).name for entry in document["secrets"].values()
    }
    assert {str(Path(entry["file"]).parent) for entry in document["secrets"].values()} == {make_secrets.FOLDER.name}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    Fernet((folder / "fernet_key").read_text())
    assert files["postgres_password"] in files["sql_alchemy_conn"]
    assert files["postgres_password"] in files["result_backend"]
    assert files["redis_password"] in files["broker_url"]
    again = make_secrets.contents(connection=make_secrets.SANDBOX)
    assert not {*files.values()} & {*again.values()} - {files["connections.json"]}
    with pytest.raises(FileExistsError):
        make_secrets.write(folder, again)
    assert (folder / "fernet_key").read_text() == files["fernet_key"]


def test_the_commands_that_the_guide_begins_with(tmp_path):
    """In a copy of the tree, since they write beside themselves."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "Makefile", tmp_path)
    shutil.copy(PROJECT / "scripts" / "make_secrets.py", tmp_path / "scripts")

    def make(*arguments):
        return subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    first = make("secrets")
    assert first.returncode == 0, first.stderr
    assert "put client id and secret into connections.json" in first.stdout
    assert not (tmp_path / ".env").exists()
    again = make("secrets", "SANDBOX=1")
    assert again.returncode != 0
    assert "stays as it is" in again.stderr
    shutil.rmtree(tmp_path / "secrets")
    assert make("secrets", "SANDBOX=1").returncode == 0
    assert (tmp_path / ".env").read_text().splitlines() == [
        "SSL_CERT_FILE=/sandbox/simulator.pem",
        "REQUESTS_CA_BUNDLE=/sandbox/simulator.pem",
    ]
    assert json.loads((tmp_path / "secrets/connections.json").read_text())["bcda_default"]["host"].startswith(
        "https://simulator"
    )


def test_the_guide_names_every_service_variable_and_volume(document, services):
    guide = (PROJECT / "docs" / "deployment.md").read_text()
    named = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text())) | set(services) | set(document["volumes"]) - {"sandbox"}
    assert {name for name in named if f"`{name}`" not in guide} == set()


def test_the_simulator_of_the_sandbox_is_the_one_of_its_connection(services):
    from bcda_simulator.settings import Entity

    command = services["simulator"]["command"]
    host, port = (command[command.index(option) + 1] for option in ("--host", "--port"))
    assert {
        "host": f"https://{host}:{port}",
        "login": Entity().client_id,
        "password": Entity().client_secret,
    } == make_secrets.SANDBOX


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="hadolint comes for Linux on x86-64 only"
)
def test_the_dockerfile_has_no_findings():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "--format", "tty", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def let_into_the_image():
    patterns = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    return {line[1:] for line in patterns if line[0] == "!"}


def test_the_project_installs_from_what_the_image_gets(tmp_path):
    for name in let_into_the_image():
        for path in [PROJECT / name, *(PROJECT / name).rglob("*")]:
            if path.is_file() and "__pycache__" not in path.parts:
                (tmp_path / path.relative_to(PROJECT)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / path.relative_to(PROJECT))
    assert "pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e ." in (
        DOCKERFILE.read_text()
    )
    # What pip asks of the build backend for an installation in place.
    build = [sys.executable, "-c", "import hatchling.build as backend; print(backend.build_editable('.'))"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.split()[-1]).exists()


def test_the_image_gets_the_project_and_no_data():
    let_in = let_into_the_image()
    assert let_in >= {"dags", "include", "plugins", "pyproject.toml", "requirements.txt", "scripts/healthy.py"}
    assert not let_in & {"data", "var", "secrets", ".env", ".git", ".venv", "tests"}
    for name in let_in - {"requirements-site.txt"}:
        assert (PROJECT / name).exists(), name
    copied = re.search(r"^COPY (requirements\S* .*) \./$", DOCKERFILE.read_text(), re.MULTILINE).group(1).split()
    assert all(any(fnmatch.fnmatch(name, pattern) for name in let_in) for pattern in copied)
    assert "--require-hashes" in DOCKERFILE.read_text()
