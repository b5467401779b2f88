"""Packet loss between the nodes: nftables drops one packet in some, on loopback, to and from peer ports."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvcluster.supervisor import NotReady
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Struck

_PERCENT: Final = (2, 25)


class Loss(Fault):
    """TCP sends again: what is seen is delay, in bursts, and connections that hang."""

    name = "loss"
    title = "2 to 25 % of the packets between the nodes are lost"
    needs = frozenset({Need.PROCESSES, Need.PACKETS})

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        percent, table = field.rng.randint(*_PERCENT), f"kv_loss_{os.getpid()}"
        ports = ", ".join(str(node.peer_port) for node in field.cluster.topology.nodes)
        drop = f"numgen random mod 100 < {percent} counter drop"
        rules = [
            f"add table inet {table}",
            f"add chain inet {table} out {{ type filter hook output priority 0; }}",
            f'add rule inet {table} out oifname "lo" tcp dport {{ {ports} }} {drop}',
            f'add rule inet {table} out oifname "lo" tcp sport {{ {ports} }} {drop}',
        ]
        struck = Struck(field.names, f"{percent} %")
        try:
            await field.blocking(_nft, "\n".join(rules) + "\n")
            yield struck
        finally:
            dropped = await field.blocking(_dropped, table)
            await field.blocking(_nft, f"delete table inet {table}\n")
        if dropped:
            struck.effects.append(f"{dropped:,} packets dropped")


def _nft(rules: str) -> str:
    ended = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True)
    if ended.returncode != 0:
        raise NotReady(f"nft: {ended.stderr.strip()}")
    return ended.stdout


def _dropped(table: str) -> int:
    """What the counters of the table say."""
    shown = subprocess.run(["nft", "list", "table", "inet", table], capture_output=True, text=True).stdout.split()
    return sum(int(shown[at + 1]) for at, word in enumerate(shown[:-1]) if word == "packets")
