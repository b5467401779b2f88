"""docs/python-client.md is true: its code runs on a real cluster, its tests pass, its tree of errors is complete."""

import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvstore import balancing, errors
from kvstore.client import AsyncClient, Client
from kvstore.errors import KvError, LocalError
from tests.support.commands import SOURCES
from tests.support.pages import blocks, read

NAME = "docs/python-client.md"
PAGE = read(NAME)
ADDRESS = '["http://127.0.0.1:8480"]'


def test_the_code_of_the_page_runs_from_top_to_bottom(
    kv_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the page writes a backup
    cluster = kv_cluster(nodes=3)
    found = [block.text for block in blocks(NAME) if block.language == "python" and not block.rest]
    assert len(found) >= 9
    names: dict[str, object] = {}
    for number, block in enumerate(found, 1):
        code = block.replace(ADDRESS, repr(cluster.endpoints))
        exec(compile(code, f"docs/python-client.md, block {number}", "exec"), names)


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    files = [(block.rest, block.text) for block in blocks(NAME) if block.rest.endswith(".py")]
    assert {name for name, _ in files} == {"conftest.py", "test_counter.py"}
    for name, text in files:
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--basetemp", str(tmp_path / "own"), "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def tree() -> dict[str, tuple[str, str]]:
    """Each class of the page's tree, with its parent and the rest of its line."""
    (block,) = (each.text for each in blocks(NAME) if each.text.startswith("KvError\n"))
    found: dict[str, tuple[str, str]] = {}
    above: list[str] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, rest = line.strip().partition(" ")
        above = [*above[:depth], name]
        found[name] = (above[-2] if depth else "", rest.strip())
    return found


def test_the_tree_of_errors_is_complete_and_right() -> None:
    shown = tree()
    classes = {
        name: cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, (KvError, LocalError)) and cls.__module__ == errors.__name__
    }
    assert set(shown) == set(classes)
    for name, cls in classes.items():
        parent, rest = shown[name]
        if cls not in (KvError, LocalError):
            assert parent == cls.__mro__[1].__name__, name
        if cls is KvError or cls is LocalError:
            continue
        if issubclass(cls, LocalError):
            assert rest.startswith(f"exit {cls.exit_code}"), name
        elif parent == "Unavailable":
            assert rest == cls.code
            assert (cls.status, cls.exit_code, cls.default_outcome) == (503, 4, "not_applied")
        else:
            words = rest.replace(",", "").split()
            assert words[0] == str(cls.status), name
            assert words[1] == (cls.code if name != "Unavailable" else "..."), name
            assert words[2] == ("-" if name == "Divergence" else cls.default_outcome), name
            assert words[-1] == str(cls.exit_code), name


def test_the_tree_at_the_head_of_the_module_is_the_same() -> None:
    (block,) = (each.text for each in blocks(NAME) if each.text.startswith("KvError\n"))
    assert textwrap.indent(block, "    ") in (errors.__doc__ or "") + "\n"


def test_the_page_names_every_method_and_algorithm() -> None:
    for name in dir(Client):
        if callable(getattr(Client, name)) and not name.startswith("_"):
            assert re.search(rf"\b{name}\b", PAGE), name
            assert hasattr(AsyncClient, name)
    for name in balancing.ALGORITHMS:
        assert f"| `{name}` |" in PAGE
    for name in inspect.signature(Client.__init__).parameters:
        if name not in ("self", "transport", "endpoints", "stamps"):
            assert name in PAGE, name
