"""`kv` as the tests of real clusters use it."""

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from kvcli.main import run
from tests.support.commands import environment

Captured = pytest.CaptureFixture[bytes]


class Kv:
    """The command, at one cluster: in this process, or started for what does not end by itself."""

    def __init__(self, endpoints: list[str], monkeypatch: pytest.MonkeyPatch, captured: Captured) -> None:
        self._env = {**environment(), "KV_ENDPOINTS": ",".join(endpoints), "KV_TIMEOUT": "20"}
        for name in ("KV_ENDPOINTS", "KV_TIMEOUT"):
            monkeypatch.setenv(name, self._env[name])
        self.said: list[bytes] = []
        """Everything that the command has printed, messages included."""
        self._monkeypatch = monkeypatch
        self._captured = captured

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        returned = run(arguments)
        shown = self._captured.readouterr()
        self.said += [shown.out, shown.err]
        assert returned == code, (arguments, shown)
        return shown.out.decode()

    def code(self, *arguments: str) -> int:
        """The exit code, whatever it is."""
        returned = run(arguments)
        self._captured.readouterr()
        return returned

    def json(self, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        return json.loads(self(*arguments, "-o", "json", stdin=stdin, code=code))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "kvcli.main", *arguments],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
