"""The web page in a real browser: one Chromium and one cluster for all tests, a fresh page for each.

Every page is watched: a message on its console, an error of its scripts, a refusal by its policy or a request to any
other place than its node fails the test.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvjepsen import report
from kvstore.client import Client
from tests.support.chaos_runs import write_run
from tests.support.chromium import CHROMIUM, SANDBOX
from tests.support.web_page import Watched

PLAYWRIGHT = importlib.util.find_spec("playwright") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = None
    if CHROMIUM is None:
        missing = "chromium is not installed; cluster/install-extras.sh installs it"
    elif not PLAYWRIGHT:
        missing = "playwright is not installed; cluster/setup.sh dev installs it"
    for item in items:
        if missing and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*SANDBOX, "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that show the report of one run."""
    directory = tmp_path_factory.mktemp("page")
    run = directory / "reports" / "kill-7"
    run.mkdir(parents=True)
    report.write(write_run(run, "stale"))
    started = bring_up(directory / "cluster", 3, env={"KV_UI_REPORTS_DIR": str(directory / "reports")})
    yield started
    for name in started.topology.processes:
        started.kill(name)


@pytest.fixture
def kv(cluster: Cluster) -> Iterator[Client]:
    with Client(cluster.endpoints, timeout_s=30.0) as client:
        yield client


@pytest.fixture
def page(browser: Any, cluster: Cluster) -> Iterator[Watched]:
    """The page of the first node, at the size of a desk."""
    watched = Watched(browser, cluster.endpoints[0])
    yield watched
    watched.close()


@pytest.fixture
def phone(browser: Any, cluster: Cluster) -> Iterator[Watched]:
    """The same on a phone, in the dark."""
    watched = Watched(browser, cluster.endpoints[0], width=390, height=844, scheme="dark")
    yield watched
    watched.close()
