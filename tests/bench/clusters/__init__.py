"""The clusters that are compared: each three nodes on loopback with what it has by default, and fsync on."""

import os
from pathlib import Path
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """A node: its number, and the address for clients, without a scheme."""

    number: int
    address: str


class Running(Protocol):
    """A cluster that runs."""

    version: str
    notes: str

    @property
    def pids(self) -> list[int]:
        """The processes of its nodes, in the order of their numbers."""
        ...

    @property
    def addresses(self) -> list[str]:
        """Those of all nodes for clients, without a scheme."""
        ...

    def leader(self) -> Place:
        """Who leads now. Raises NotAvailable when nobody does for long."""
        ...

    def kill(self, number: int) -> None:
        """SIGKILL for one node."""
        ...

    def restart(self, number: int) -> None:
        """Start it again, and wait until the cluster is whole."""
        ...

    def stop(self) -> None:
        """End all its processes."""
        ...


def tool(name: str) -> str | None:
    """The path of a program, also of one that Debian keeps for administrators; None if it is not there."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]
    found = [Path(folder) / name for folder in folders if folder and os.access(Path(folder) / name, os.X_OK)]
    return str(found[0]) if found else None
