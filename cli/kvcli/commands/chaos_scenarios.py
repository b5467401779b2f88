"""Scenarios by their names, as somebody writes them."""

import click

from kvcli.suggest import did_you_mean


def check_scenario(name: str) -> None:
    """Raises click.UsageError for a name that no scenario has; a file of one's own may have any."""
    from kvjepsen.plan import is_file, scenario_names

    known = scenario_names()
    if not is_file(name) and name not in known:
        meant = did_you_mean(name, known)
        raise click.UsageError(
            f"There is no scenario {name!r}.{meant} 'kv chaos run --scenario help' lists them; a file ends in .toml."
        )
