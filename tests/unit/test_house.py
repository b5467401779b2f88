"""The house rules that no linter knows: what is shipped, how long a module is, which page is made from which source."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from kvstore.config import render_markdown

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "kvstore": "kvstore",
    "kvcli": "cli/kvcli",
    "kvcluster": "cluster/kvcluster",
    "kvjepsen": "jepsen-like/kvjepsen",
}
MODULE_LINES_MAX = 500


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


def _project_files() -> list[Path]:
    """What is or would be committed; without git (an unpacked archive) everything outside of hidden folders."""
    try:
        names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    except (OSError, subprocess.CalledProcessError):
        return [
            p for p in ROOT.rglob("*") if p.is_file() and not any(x.startswith(".") for x in p.relative_to(ROOT).parts)
        ]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def _sources(package: str) -> list[Path]:
    return sorted((ROOT / PACKAGES[package]).rglob("*.py"))


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _distribution(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def _declared(project: dict) -> list[str]:
    extras = project["project"].get("optional-dependencies", {})
    requirements = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(requirement for extra in extras.values() for requirement in extra),
    ]
    return sorted({_distribution(requirement) for requirement in requirements})


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> list[str]:
    target = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(target)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)


def test_the_wheel_carries_the_type_marker_and_the_licence(wheel_names):
    assert "kvstore/py.typed" in wheel_names
    assert [name for name in wheel_names if name.endswith("dist-info/licenses/LICENSE")]


def test_every_module_is_in_the_wheel(wheel_names):
    here = {
        f"{package}/{path.relative_to(ROOT / PACKAGES[package]).as_posix()}"
        for package in PACKAGES
        for path in _sources(package)
    }
    assert here - set(wheel_names) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_a_sitting(package):
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in _sources(package)}
    assert {path: lines for path, lines in lengths.items() if lines >= MODULE_LINES_MAX} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_for(package):
    sources = _sources(package)
    assert sources
    without = [
        p for p in sources if p.read_text(encoding="utf-8").strip() and not ast.get_docstring(ast.parse(p.read_bytes()))
    ]
    assert without == []


def test_no_file_names_a_place_of_one_machine():
    # Assembled from parts, so that this file does not name one itself.
    places = re.compile(
        "|".join((r"/ho" + r"me/\w", r"/ro" + r"ot/\w", r"/Use" + r"rs/\w", "/wo" + r"rk/\w", "/opt/" + "py"))
    )
    named = []
    for path in _project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        named += [f"{path.relative_to(ROOT)}: {found[0]}" for found in places.finditer(text)]
    assert named == []


def test_the_page_on_configuration_is_made_from_the_table():
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == render_markdown(), (
        "python -m kvstore.config > docs/configuration.md"
    )


def test_every_dependency_has_its_line_and_every_line_its_dependency(project):
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == _declared(project)


def test_a_dependency_is_imported_only_where_its_line_says():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    known = {
        name.replace("-", "_"): tuple(re.findall(r"`([^`]+)`", places))
        for name, places in re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    }
    assert "aiohttp" in known
    strangers = [
        f"{path.relative_to(ROOT)} imports {module}"
        for package in PACKAGES
        for path in _sources(package)
        for module in re.findall(r"(?m)^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"))
        if module in known and not path.relative_to(ROOT).as_posix().startswith(known[module])
    ]
    assert strangers == []


def test_the_files_that_the_page_on_dependencies_names_exist():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:kvstore|cli|cluster|jepsen-like|tests)/[\w./-]+)`", page))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_every_dependency_with_hashes_and_no_address(project, lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    pinned = {_distribution(line) for line in text.splitlines() if re.match(r"[a-z0-9][\w.-]*==", line)}
    wanted = (
        set(_declared(project))
        if lock == "requirements-dev.lock"
        else {
            _distribution(each)
            for each in [*project["build-system"]["requires"], *project["project"]["dependencies"], "editables"]
        }
    )
    assert wanted - pinned == set()
    assert re.findall(r"(?m)^[a-z0-9][\w.-]*==\S+(?! \\\n    --hash=sha256:)$", text) == []
    assert re.findall(r"://|--(?:index|extra-index|find-links|trusted)", text) == []


def test_both_locks_pin_the_same_versions():
    pins = [
        dict(re.findall(r"(?m)^([a-z0-9][\w.-]*)==(\S+)", (ROOT / lock).read_text(encoding="utf-8")))
        for lock in ("requirements.lock", "requirements-dev.lock")
    ]
    assert pins[0].items() <= pins[1].items()


def test_only_the_adapter_knows_the_consensus_library():
    users = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in _sources(package)
        if re.search(r"(?m)^\s*(?:from|import) pysyncobj", path.read_text(encoding="utf-8"))
    ]
    # The other one is the engine as it is published, to be accused by the harness: a process without the adapter.
    assert users == ["kvstore/consensus/raft.py", "jepsen-like/kvjepsen/stock_server.py"]
    stock = (ROOT / users[1]).read_text(encoding="utf-8")
    assert not re.search(r"(?m)^\s*(?:from|import) kvstore\.(?:consensus|node|server)", stock)


def test_every_folder_with_tests_is_run():
    script = (ROOT / "tests/run.sh").read_text(encoding="utf-8")
    run = {folder for tier in re.findall(r'" tier ([a-z0-9 ]+)', script) for folder in tier.split()}
    there = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert there - run == set()


def test_scripts_can_be_executed():
    scripts = [path for path in _project_files() if path.suffix == ".sh" or path.parent.name == ".ci"]
    assert scripts
    assert [str(path.relative_to(ROOT)) for path in scripts if not path.stat().st_mode & 0o100] == []


def test_an_empty_folder_named_like_the_package_does_not_hide_it(tmp_path: Path):
    """The folder of a clone is named kvstore, and scripts are written beside it."""
    (tmp_path / "kvstore").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", "from kvstore.client import Client; print(Client.__name__)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Client\n", "")


def test_a_node_does_not_load_what_it_does_not_need() -> None:
    """Ten mebibytes for each node, for a page that few look at."""
    code = (
        "import sys, kvstore.server; print([name for name in ('numpy', 'matplotlib', 'click') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
