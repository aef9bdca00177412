"""docker-compose.yaml as a compose tool reads it: merged, with its variables filled in."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE = PROJECT / "docker-compose.yaml"


def composed(folder, *arguments, **variables):
    """Return the document; `folder` gets what the tool needs to believe that there is an engine, whose version it asks first."""
    engine = folder / "podman"
    engine.write_text("#!/bin/sh\necho podman version 5.0.0\n")
    engine.chmod(0o700)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), **variables}
    command = [Path(sys.executable).with_name("podman-compose"), "--file", COMPOSE, *arguments, "config"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return yaml.safe_load(done.stdout)
