"""The containers of docker-compose.yml, under a project name of their own so that nobody's network is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from typing import Any

from tests.support.repository import ROOT

PROJECT = "dure-test"
PORTS = range(27410, 27415)
"""Where the five nodes' JSON-RPC is published."""

PATIENCE = 300.0
"""Seconds for any one command; the longest, the first build, takes well under a minute on a quick line."""


def missing() -> str | None:
    """Return what these tests lack here; None if it is all there."""
    if shutil.which("docker") is None:
        return "there is no docker command here"
    for what, command in (("engine", ("version",)), ("compose", ("compose", "version"))):
        asked = ["docker", *command]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return f"docker's {what} does not answer"
        if done.returncode:
            return f"docker's {what} does not answer: {done.stderr.strip()[-200:]}"
    return None


def taken() -> list[int]:
    """Return those of the published ports on which something listens already, such as a network of the user's own."""
    found = []
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found


class Containers:
    """Runs commands as a reader of docs/docker.md does, one after the other in one shell's surroundings."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURE", "COMPOSE"))}
        self.environment = {**kept, "COMPOSE_PROJECT_NAME": PROJECT, "PYTHONPATH": str(ROOT)}

    def run(self, line: str) -> str:
        """Run one line of a shell, which must succeed; return what it printed. An `export` holds from then on."""
        if exported := re.match(r"export (\w+)=", line):
            name = exported[1]
            self.environment[name] = self._shell(f'{line}\nprintf %s "${name}"')
            return ""
        line = re.sub(r"\bdure([-_])(?=(nodes|seed|miner1|miner2|alice|bob)\b)", rf"{PROJECT}\1", line)
        return self._shell(line.replace("scripts/dure", f"{sys.executable} -P -m cli.main"))

    def _shell(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{text}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def dure(self, arguments: str) -> Any:
        """Run a command of dure that prints JSON; return that."""
        return json.loads(self.run(f"scripts/dure {arguments} --json"))

    def inside(self, service: str, arguments: str) -> Any:
        """Run it inside a container."""
        return json.loads(self.run(f"docker compose exec -T {service} dure {arguments} --json"))

    def inspect(self, service: str) -> Any:
        """Return all that the engine says of a container."""
        [found] = json.loads(self.run(f"docker inspect dure-{service}-1"))
        return found

    def down(self) -> None:
        """End the containers, and delete them with their volumes."""
        self.run("docker compose down --volumes --timeout 1")
