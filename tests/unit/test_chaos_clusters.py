"""Whose cluster `kv chaos` breaks: that of others only where the line itself names it."""

from pathlib import Path
from typing import Any

import pytest

from kvcli import main, profile
from kvcli.kept import keep_open
from kvjepsen.odds import clusters
from kvjepsen.plan import BadPlan
from kvjepsen.runners import live

THERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ENDPOINTS", "CONFIG"):
        monkeypatch.delenv(f"KV_{name}", raising=False)
    profile._read.cache_clear()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The endpoints that each run was given; none is made."""
    seen: list[tuple[str, ...]] = []

    def instead(*arguments: Any, endpoints: tuple[str, ...] = (), **more: Any) -> None:
        seen.append(endpoints)
        raise BadPlan("not in this test")

    monkeypatch.setattr(live, "run", instead)
    monkeypatch.setattr("kvjepsen.suite.run", instead)
    monkeypatch.setattr(clusters, "live_benches", instead)
    return seen


def run(*words: str) -> int:
    return main.run(["chaos", *words])


@pytest.mark.parametrize(
    "words",
    [
        ("chaos", "run", "--endpoints", THERE),
        ("chaos", "--endpoints", THERE, "run"),
        ("--endpoints", THERE, "chaos", "run"),
    ],
)
def test_a_run_attaches_where_the_line_says_so(
    words: tuple[str, ...], asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(words) == 2
    assert asked == [(THERE,)]
    assert "of its own" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "suite", "odds"])
@pytest.mark.parametrize("source", ["KV_ENDPOINTS", "kv.toml: client.endpoints"])
def test_what_the_environment_names_is_left_alone_and_that_is_said(
    command: str,
    source: str,
    asked: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if source == "KV_ENDPOINTS":
        monkeypatch.setenv(source, THERE)
    else:
        (tmp_path / "kv.toml").write_text(f'[client]\nendpoints = ["{THERE}"]\n')
        monkeypatch.setenv("KV_CONFIG", "kv.toml")
    assert run(command) == 2
    assert asked == [()]
    first = capsys.readouterr().err.splitlines()[0]
    assert f"of its own; {source} is left alone. " in first
    assert "--endpoints URL,..." in first


@pytest.mark.parametrize("command", ["run", "suite", "odds"])
def test_where_nothing_names_a_cluster_nothing_is_said_of_it(
    command: str, asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 2
    assert asked == [()]
    assert "left alone" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["suite", "odds"])
def test_what_only_starts_clusters_of_its_own_takes_no_endpoints(
    command: str, asked: list[tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "--endpoints", THERE) == 2
    assert f"kv chaos {command} starts clusters of its own, and takes no --endpoints" in capsys.readouterr().err
    assert asked == []
    assert not list(tmp_path.iterdir())


def test_the_endpoints_of_a_shell_are_not_those_of_the_line(
    asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    with keep_open():
        assert main.run(["--endpoints", THERE, "chaos", "run"]) == 2
        assert "the cluster of this shell is left alone" in capsys.readouterr().err
        assert main.run(["--endpoints", "http://127.0.0.1:8", "chaos", "run", "--endpoints", THERE]) == 2
    assert asked == [(), (THERE,)]
