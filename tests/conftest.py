"""Fixtures for every tier."""

import signal
from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["kvcluster.pytest_plugin"]


def pytest_configure() -> None:
    """The workers of pytest-xdist ignore SIGINT, and so would what is started by them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What one test has silenced (kvstore.testing.silence_logs) the next may look at."""
    yield
    structlog.reset_defaults()
