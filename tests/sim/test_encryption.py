"""Whole clusters on virtual time whose nodes encrypt what they keep, by keys of their own that change meanwhile."""

import random

import pytest

from kvjepsen.runners.sim import Run
from kvjepsen.schedule import make_schedule
from kvstore.testing.process import silence_logs
from kvstore.vault.envelope import Vault
from tests.support.vaults import ring

SEEDS = 6
MANY_SEEDS = 150
ROTATE_S = 0.7


def run(seed: int) -> tuple[str | None, set[int], dict[str, int]]:
    """What went wrong, the keys of the files that there were, and what was done."""
    silence_logs()
    running = Run(make_schedule(seed, members=True))
    cluster, chance = running.cluster, random.Random(f"keys {seed}")
    # One node keeps everything in clear.
    for place, name in enumerate(cluster.names[1:], 1):
        entropy = random.Random(f"data keys {seed} {name}").randbytes
        cluster.vaults[name] = Vault(ring(10 * place, 10 * place + 1), entropy)
    seen: set[int] = set()

    def rotate() -> None:
        name = chance.choice(list(cluster.vaults))
        keys = cluster.vaults[name]
        keys.replace(ring(*keys.numbers, active=chance.choice([0, *keys.numbers])))
        process = cluster.processes.get(name)
        if process is not None and process.node is not None:
            process.node.renewal.rotated()
            seen.update(process.node.renewal.in_use())
        cluster.loop.call_later(ROTATE_S, rotate)

    cluster.loop.call_later(ROTATE_S, rotate)
    result = running.execute()
    return result.problem, seen, result.counts


@pytest.mark.parametrize("seeds", [range(SEEDS), pytest.param(range(SEEDS, MANY_SEEDS), marks=pytest.mark.long)])
def test_encrypted_clusters_keep_every_promise_while_their_keys_change(seeds: range) -> None:
    keys: set[int] = set()
    done = 0
    for seed in seeds:
        problem, seen, counts = run(seed)
        assert problem is None, (seed, problem)
        keys |= seen
        done += counts["entries"]
    assert len(keys) > 4
    assert done > len(seeds) * 10
