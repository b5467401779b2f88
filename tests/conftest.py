"""Fixtures for every tier."""

pytest_plugins = ["kvcluster.pytest_plugin"]
