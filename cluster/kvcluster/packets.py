"""Packets that are lost: nftables drops some on the loopback interface, to and from given ports. Needs root."""

import os
import subprocess
from collections.abc import Sequence

from kvstore.errors import LocalError


class PacketsFailed(LocalError):
    """nftables does not do what it is asked."""

    exit_code = 4


class Loss:
    """Drops `percent` of the packets between `begin` and `end`, in a table of this process's own."""

    def __init__(self, ports: Sequence[int], percent: int) -> None:
        self._table = f"kv_loss_{os.getpid()}"
        self._ports = ", ".join(map(str, ports))
        chance = f"numgen random mod 100 < {percent} " if percent < 100 else ""
        self._drop = f"{chance}counter drop"

    def begin(self) -> None:
        """Raises PacketsFailed."""
        table = self._table
        rules = [f"add table inet {table}", f"add chain inet {table} out {{ type filter hook output priority 0; }}"]
        rules += [
            f'add rule inet {table} out oifname "lo" tcp {side} {{ {self._ports} }} {self._drop}'
            for side in ("dport", "sport")
        ]
        _nft("-f", "-", rules="\n".join(rules) + "\n")

    def end(self) -> int:
        """How many were dropped, as the counters of the rules say. Raises PacketsFailed."""
        shown = _nft("list", "table", "inet", self._table).split()
        _nft("delete", "table", "inet", self._table)
        return sum(int(shown[at + 1]) for at, word in enumerate(shown[:-1]) if word == "packets")


def _nft(*words: str, rules: str = "") -> str:
    ended = subprocess.run(["nft", *words], input=rules, capture_output=True, text=True)
    if ended.returncode != 0:
        raise PacketsFailed(f"nft says: {ended.stderr.strip()}")
    return ended.stdout
