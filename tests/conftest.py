"""Fixtures for every tier."""

import signal

pytest_plugins = ["kvcluster.pytest_plugin"]


def pytest_configure() -> None:
    """The workers of pytest-xdist ignore SIGINT, and so would what is started by them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
