"""Who inflicts faults: each gets the time in which its effect can be seen. Without a cluster."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from kvjepsen.nemesis import driver
from kvjepsen.nemesis.driver import Nemesis
from kvjepsen.nemesis.fault import Sign, Struck


class _Delayed:
    """A fault that holds bytes up for as long as it is there."""

    name, title, sign, held_s = "delay", "it takes longer", Sign.LINKS, (0.2, 0.2)

    def __init__(self) -> None:
        self.lasted_s = 0.0

    @asynccontextmanager
    async def strike(self, field: Any) -> AsyncIterator[Struck]:
        began = time.monotonic()
        yield Struck(["n1"])
        self.lasted_s = time.monotonic() - began


async def test_a_fault_that_begins_when_all_is_over_lasts_until_it_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = _Delayed()
    monkeypatch.setattr(driver, "FAULTS", {"delay": fault})

    async def signs(self: Nemesis) -> driver._Signs:
        return driver._Signs(1, "n1", {"n1": 1}, 0, int(fault.lasted_s * 1_000), 0)

    monkeypatch.setattr(Nemesis, "_signs", signs)

    async def blocking(call: Callable[..., Any], *arguments: Any) -> Any:
        return call(*arguments)

    cluster = SimpleNamespace(topology=SimpleNamespace(names=["n1"]), wait_ready=lambda names, seconds: None)
    field: Any = SimpleNamespace(
        rng=random.Random(1), hit=set(), cluster=cluster, blocking=blocking, progress=lambda line: None
    )
    over = asyncio.Event()
    over.set()
    (injury,) = await Nemesis(field).inflict("delay", over)
    assert fault.lasted_s >= 0.2
    assert injury.effects
