"""The adapter stands on names that the engine does not promise to keep: each must exist and be called as before."""

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pysyncobj import SyncObj, SyncObjConf, syncobj
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from kvstore.consensus import raft

ROOT = Path(__file__).resolve().parents[2]
MANGLED = "_SyncObj"
# Not private by their spelling, but not promised either.
OTHER_NAMES = ("_onTick", "_checkCommandsToApply", "_poller", "conf")
GLOBALS = ("monotonicTime", "PIPE_NOTIFIER_ENABLED")
METHODS = [f"{MANGLED}{name}" for name in raft.PRIVATE_METHODS] + ["_checkCommandsToApply"]
REPLACED = [name for name in METHODS if name in vars(raft.Core)]

ADVICE = """
PySyncObj is not the version that kvstore/consensus/raft.py was written for. Do not adapt the name and go on.
1. Keep `pysyncobj==` in pyproject.toml where it was, unless there is a reason to change it.
2. Read what changed in syncobj.py between the two versions: every handler that raft.py replaces or calls, every
   attribute that it reads or sets, and whether a quorum, an index or a deadline is computed in another way.
3. Go through the facts of jepsen-like/README.md one by one: `pytest jepsen-like/regressions`. A fact that no longer
   shows on the published engine may have moved, not gone.
4. Run the simulator with all mutants, then `./tests/run.sh --long`. Only then change raft.py, this test and the pin.
"""


@pytest.fixture(scope="module")
def engine() -> SyncObj:
    """An engine as it is published, but for the globals that the adapter sets."""
    return SyncObj(Node("a"), [], SyncObjConf(autoTick=False), transport=Transport(None, None, []))


def used() -> set[str]:
    """What the adapter's source names."""
    source = Path(raft.__file__).read_text(encoding="utf-8")
    return {f"__{name}" for name in re.findall(rf"{MANGLED}__(\w+)", source)}


def test_the_lists_say_all_that_the_adapter_uses() -> None:
    assert used() == {*raft.PRIVATE_NAMES, *raft.PRIVATE_METHODS}, "bring PRIVATE_NAMES and PRIVATE_METHODS up to date"


def test_nothing_but_the_adapter_uses_any() -> None:
    packages = [ROOT / "kvstore", ROOT / "cli/kvcli", ROOT / "cluster/kvcluster", ROOT / "jepsen-like/kvjepsen"]
    users = [
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in package.rglob("*.py")
        if f"{MANGLED}__" in path.read_text(encoding="utf-8")
    ]
    assert users == ["kvstore/consensus/raft.py"]


@pytest.mark.parametrize("name", raft.PRIVATE_NAMES)
def test_the_attribute_exists(engine: SyncObj, name: str) -> None:
    assert hasattr(engine, MANGLED + name), f"SyncObj has no attribute {name} any more.\n{ADVICE}"


@pytest.mark.parametrize("name", raft.PRIVATE_METHODS)
def test_the_method_exists_and_the_engine_calls_it(name: str) -> None:
    method = getattr(SyncObj, MANGLED + name, None)
    assert callable(method), f"SyncObj has no method {name} any more.\n{ADVICE}"
    calls = re.findall(rf"self\.{name}\b", inspect.getsource(SyncObj))
    assert calls, f"SyncObj does not use its {name} any more: what the adapter put in its place is dead.\n{ADVICE}"


def parameters(method: Any) -> list[tuple[str, Any]]:
    return [(each.name, each.default) for each in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize("name", REPLACED)
def test_what_is_replaced_is_called_as_before(name: str) -> None:
    ours, theirs = parameters(getattr(raft.Core, name)), parameters(getattr(SyncObj, name))
    assert ours == theirs, f"{name} takes other parameters.\n{ADVICE}"


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_the_unpromised_name_exists(engine: SyncObj, name: str) -> None:
    assert hasattr(engine, name), f"SyncObj has no {name} any more.\n{ADVICE}"


@pytest.mark.parametrize("name", GLOBALS)
def test_the_global_exists(name: str) -> None:
    assert re.search(rf"\b{name}\b", inspect.getsource(SyncObj)), f"SyncObj does not read {name} any more.\n{ADVICE}"
    assert hasattr(syncobj, name), f"pysyncobj.syncobj has no global {name} any more.\n{ADVICE}"


def test_the_version_is_pinned_and_is_the_one_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pin,) = [each for each in project["project"]["dependencies"] if each.startswith("pysyncobj")]
    assert pin == f"pysyncobj=={syncobj.VERSION}", ADVICE  # type: ignore[attr-defined]
