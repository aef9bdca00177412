"""The commands that ask BCDA, as a shell runs them: tables, JSON, exit codes, one sentence for an error, and no secret anywhere."""

import gzip
import json
import os
import signal
import subprocess
import sys

import httpx
import pytest

from bcda.__main__ import main
from bcda_simulator import Entity, Fault, FaultKind, SimulatorSettings

SECRET = "hush-hush-4711"
FAST = json.dumps({"poll_seconds": 0.05, "poll_max_seconds": 0.1, "backoff_initial_seconds": 0.05, "max_attempts": 2})
NEED_CREDENTIALS = ("export", "download", "jobs", "job", "cancel", "attribution")


class Shell:
    """Runs commands in this process, with the environment of a shell."""

    def __init__(self, monkeypatch, capsys, caplog, secret_file):
        self._patch, self._capsys, self._caplog = monkeypatch, capsys, caplog
        self.secret_file = secret_file
        for name in [name for name in os.environ if name.startswith("BCDA_")]:
            monkeypatch.delenv(name)

    def __call__(self, *arguments):
        """Return exit code, standard output and standard error."""
        arguments = [str(argument) for argument in arguments]
        assert SECRET not in " ".join(arguments)
        self._patch.setattr(sys, "argv", ["bcda", *arguments])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        said = self._capsys.readouterr()
        assert SECRET not in said.out + said.err + self._caplog.text
        return code, said.out, said.err

    def json(self, *arguments):
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def refused(self, *arguments):
        """Return the sentence of a command that fails as it should."""
        code, out, err = self(*arguments)
        assert (code, out) == (1, "")
        assert "Traceback" not in err
        return err


@pytest.fixture
def server(serve):
    return serve(entities=(Entity(client_secret=SECRET),))


@pytest.fixture
def shell(server, monkeypatch, capsys, caplog, tmp_path):
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{SECRET}\n")
    made = Shell(monkeypatch, capsys, caplog, secret_file)
    for name, value in {
        "BCDA_ADDRESS": server.base_url,
        "BCDA_CLIENT_ID": server.entity.client_id,
        "BCDA_CLIENT_SECRET_FILE": str(secret_file),
        "BCDA_ADVANCED": FAST,
    }.items():
        monkeypatch.setenv(name, value)
    return made


def test_an_export_and_its_job_by_each_command(shell, server, tmp_path):
    code, out, err = shell("export", tmp_path / "claims", "--type", "Patient", "--type", "Coverage")
    assert code == 0, err
    assert "BCDA accepted the export as job 1." in err
    assert out.startswith(f"Job 1 is complete in {tmp_path / 'claims'}")
    again = shell.json("export", tmp_path / "claims", "--type", "Patient", "--type", "Coverage")
    assert again["lines"].keys() == {"Patient", "Coverage"}
    for file in again["files"]:
        with gzip.open(file["path"]) as lines:
            assert sum(1 for _ in lines) == file["lines"]

    listed = shell.json("jobs")
    assert [(job["job_id"], job["state"], job["types"]) for job in listed] == [
        ("1", "completed", ["Patient", "Coverage"])
    ]
    assert shell.json("jobs", "--status", "failed", "--status", "In Progress") == []
    code, out, _ = shell("jobs", "--status", "Completed")
    assert (code, out.split()[:6]) == (0, ["job", "state", "version", "types", "created", "request"])
    assert "/api/v2/Patient/$export?_type=Patient,Coverage" in out

    one = shell.json("job", "1")
    assert (one["state"], len(one["manifest"]["files"])) == ("completed", 2)
    code, out, _ = shell("job", "1")
    assert code == 0
    assert one["manifest"]["files"][0]["url"] in out

    code, out, _ = shell("download", "1", tmp_path / "again", "--no-land")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "again").iterdir() if path.name[0] != ".") == ["export.json", "raw"]
    assert shell.json("download", "1", tmp_path / "again", "--no-land")["lines"] == again["lines"]

    code, out, _ = shell("cancel", "1", "--yes")
    assert (code, out) == (0, "Job 1 was over already: completed. Nothing changed.\n")
    assert shell.json("attribution")["attribution"].endswith("-05T15:31:27Z")
    assert "runout" in shell("attribution")[1]


@pytest.mark.parametrize("scope", ["group-all", "Group/all", "group-runout"])
def test_an_export_of_a_group(serve, shell, monkeypatch, tmp_path, scope):
    from bcda.api.export_request import parse_instant

    server = serve(start=parse_instant("2026-03-10T12:00:00Z"), entities=(Entity(client_secret=SECRET),))
    monkeypatch.setenv("BCDA_ADDRESS", server.base_url)
    done = shell.json("export", tmp_path / "claims", "--scope", scope, "--no-land", "--type", "Patient")
    assert f"/Group/{scope[6:]}/$export" in done["request_url"]


def test_open_endpoints_need_no_credentials_and_say_what_the_server_says(shell, server, monkeypatch):
    for name in ("BCDA_CLIENT_ID", "BCDA_CLIENT_SECRET_FILE"):
        monkeypatch.delenv(name)
    with httpx.Client(base_url=server.base_url, trust_env=False) as http:
        assert shell.json("version") == http.get("/_version").json()
        assert shell.json("health") == http.get("/_health").json()
        for version in ("v1", "v2", "v3"):
            theirs = http.get(f"/api/{version}/metadata").json()
            assert {**shell.json("metadata", "--api-version", version), "date": ""} == {**theirs, "date": ""}
    assert shell("version")[:2] == (0, "r297\n")
    assert "export" in shell("metadata")[1]
    assert not any(entry.has_authorization for entry in server.requests)
    server.faults.add(Fault(FaultKind.ANSWER, "open", status=502, text='{"database":"error","ssas":"ok"}', body="text"))
    code, out, _ = shell("health", "--json")
    assert (code, json.loads(out)) == (1, {"database": "error", "ssas": "ok"})


def test_a_running_job_is_canceled_when_somebody_says_yes(shell, serve, monkeypatch, tmp_path):
    server = serve(settings=SimulatorSettings(pending_seconds=600), entities=(Entity(client_secret=SECRET),))
    monkeypatch.setenv("BCDA_ADDRESS", server.base_url)
    monkeypatch.setenv("BCDA_ADVANCED", json.dumps({**json.loads(FAST), "job_deadline_seconds": 0.2}))
    environment = {**os.environ, "BCDA_ADVANCED": FAST}
    # A shell starts what runs in its background with interrupts ignored, and processes pass that on.
    heeding = ["env", "--default-signal=INT"]
    command = [*heeding, sys.executable, "-m", "bcda", "export", str(tmp_path / "claims")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any("pending" in line.lower() for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Job 1 stays at BCDA" in err
    assert "Traceback" not in err
    assert "Pass --yes to cancel job 1." in shell.refused("cancel", "1")
    assert shell.json("job", "1")["state"] == "pending"
    assert shell("cancel", "1", "--yes")[:2] == (0, "Job 1 is canceled.\n")
    assert shell.json("job", "1")["state"] == "cancelled"
    assert shell.json("cancel", "1", "--yes") == {"job_id": "1", "is_canceled": False}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("job", "999"), "BCDA has no job 999 with files for this organization"),
        (("job", "abc"), "'abc' is not a job number"),
        (("cancel", "999", "--yes"), "BCDA has no job 999"),
        (("download", "999", "{folder}"), "BCDA does not have job 999"),
        (("jobs", "--status", "Done"), "'Done' is not a job status. Choose from Pending"),
        (("export", "{folder}", "--scope", "Group/new"), "BCDA has no Group/new"),
        (("export", "{folder}", "--scope", "ExplanationOfBenefit", "--api-version", "v1"), "BCDA removed /api/v1/Expl"),
        (("export", "{folder}", "--scope", "Coverage", "--api-version", "v1"), "BCDA removed /api/v1/Coverage"),
        (("export", "{folder}", "--type", "Claims"), "does not export 'Claims'"),
        (("export", "{folder}", "--since", "yesterday"), "is not a valid timestamp"),
        (("export", "{folder}", "--secret-file", "/nowhere"), "The client secret cannot be read from /nowhere"),
    ],
    ids=lambda value: "-".join(value[:3]).replace("{folder}", "folder") if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_a_sentence_and_exit_code_1(shell, server, tmp_path, arguments, said):
    assert said in shell.refused(*(argument.format(folder=tmp_path / "claims") for argument in arguments))
    assert not [entry for entry in server.requests if entry.endpoint == "kick-off"]


@pytest.mark.parametrize("command", NEED_CREDENTIALS)
def test_wrong_credentials_are_a_sentence_and_the_secret_is_nowhere(shell, server, monkeypatch, tmp_path, command):
    more = {
        "export": [tmp_path / "claims"],
        "download": ["1", tmp_path / "claims"],
        "job": ["1"],
        "cancel": ["1", "--yes"],
    }
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{SECRET}-not")
    arguments = [command, *more.get(command, [])]
    assert "Check client id" in shell.refused(*arguments, "--secret-file", wrong)
    monkeypatch.delenv("BCDA_CLIENT_SECRET_FILE")
    assert "BCDA_CLIENT_SECRET is not set" in shell.refused(*arguments)
    monkeypatch.setenv("BCDA_CLIENT_SECRET", SECRET)
    monkeypatch.delenv("BCDA_CLIENT_ID")
    assert "BCDA_CLIENT_ID is not set" in shell.refused(*arguments)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path not in {wrong, shell.secret_file}]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_no_command_takes_a_secret_as_an_argument(shell):
    import typer

    from bcda.__main__ import app

    for name, command in typer.main.get_command(app).commands.items():
        options = [option for parameter in command.params for option in parameter.opts]
        assert [option for option in options if "secret" in option] in ([], ["--secret-file"]), name
        assert ("--secret-file" in options) is (name in NEED_CREDENTIALS)
