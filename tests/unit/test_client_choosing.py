"""Which endpoint a request of the client goes to first, by algorithm, and what a failed endpoint is spared."""

import asyncio
from collections import Counter

import pytest

from kvstore import limits
from kvstore.client import AsyncClient
from kvstore.client.choosing import Choice
from kvstore.client.retry import Pacing
from kvstore.client.wire import NotSent, Reply, Request, TimedOut
from kvstore.errors import NoLeader, NotFound, PreconditionFailed
from tests.support.scripted_net import RECORD, A, B, C, Script, ScriptedNet, problem


def client(net: ScriptedNet, balance: str | None, **options: object) -> AsyncClient:
    pacing = Pacing(now=lambda: net.clock_s, sleep=net.sleep, uniform=lambda low, high: high)
    return AsyncClient((A, B, C), balance=balance, transport=net, pacing=pacing, **options)  # type: ignore[arg-type]


async def visits(balance: str | None, count: int, script: Script, **options: object) -> list[str]:
    net = ScriptedNet(script)
    asked = client(net, balance, **options)
    for _ in range(count):
        await asked.get(b"k")
    return net.visited


def well(endpoint: str, number: int) -> Reply:
    return RECORD


async def test_without_an_algorithm_a_client_stays_where_it_is() -> None:
    assert await visits(None, 5, well) == [A] * 5


async def test_round_robin() -> None:
    assert await visits("round_robin", 5, well) == [A, B, C, A, B]


async def test_weights() -> None:
    seen = Counter(await visits("weighted", 60, well, weights={A: 3, B: 2, C: 1}))
    assert seen == {A: 30, B: 20, C: 10}


async def test_a_drained_endpoint_is_asked_only_when_no_other_answers() -> None:
    def script(endpoint: str, number: int) -> Reply | NotSent:
        return RECORD if endpoint == C else NotSent("connection refused")

    assert C not in await visits("weighted", 20, well, weights={C: 0})
    assert C in await visits("weighted", 1, script, weights={C: 0})


async def test_the_hash_keeps_an_address_at_its_endpoint_and_spreads_addresses() -> None:
    homes = Counter[str]()
    for number in range(60):
        seen = set(await visits("hash", 3, well, address=f"192.0.2.{number}"))
        assert len(seen) == 1
        homes.update(seen)
    assert set(homes) == {A, B, C}


async def test_least_connections_goes_where_fewest_requests_are_under_way() -> None:
    class Slow(ScriptedNet):
        """What is sent to A stays there until `go_on`."""

        go_on = asyncio.Event()

        async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
            reply = await super().send(endpoint, request, total_s=total_s, idle_s=idle_s)
            if endpoint == A:
                await self.go_on.wait()
            return reply

    net = Slow(well)
    asked = client(net, "least_connections")
    held = asyncio.create_task(asked.get(b"k"))
    while not net.attempts:
        await asyncio.sleep(0)
    for _ in range(6):
        await asked.get(b"k")
    assert Counter(net.visited) == {A: 1, B: 3, C: 3}
    net.go_on.set()
    await held
    net.attempts.clear()
    for _ in range(6):
        await asked.get(b"k")
    assert Counter(net.visited) == {A: 2, B: 2, C: 2}


@pytest.mark.parametrize("failure", [NotSent("connection refused"), TimedOut("silence"), problem(NoLeader("electing"))])
async def test_an_endpoint_that_failed_is_set_aside_and_tried_by_one_request_later(failure: Reply | NotSent) -> None:
    broken = True

    def script(endpoint: str, number: int) -> Reply | NotSent | TimedOut:
        return failure if broken and endpoint == A else RECORD  # type: ignore[return-value]

    net = ScriptedNet(script)
    asked = client(net, "round_robin")
    for _ in range(9):
        await asked.get(b"k")
    assert net.visited.count(A) == 1
    net.clock_s += limits.ENDPOINT_ASIDE_S_MIN
    net.attempts.clear()
    for _ in range(9):
        await asked.get(b"k")
    assert net.visited.count(A) == 1
    broken = False
    net.clock_s += 2 * limits.ENDPOINT_ASIDE_S_MIN
    net.attempts.clear()
    for _ in range(9):
        await asked.get(b"k")
    assert net.visited.count(A) == 3


@pytest.mark.parametrize("balance", [None, "round_robin"])
async def test_an_answer_about_the_request_is_no_failure_of_its_endpoint(balance: str | None) -> None:
    expected = [A] * 6 if balance is None else [A, B, C, A, B, C]
    assert await visits(balance, 6, lambda endpoint, number: problem(NotFound("absent", read=True))) == expected
    net = ScriptedNet(lambda endpoint, number: problem(PreconditionFailed("no")))
    asked = client(net, balance, sessions=False)
    for _ in range(6):
        with pytest.raises(PreconditionFailed):
            await asked.put(b"k", b"v", if_revision=1)
    assert net.visited == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": "random"}, "round_robin"),
        ({"weights": {A: 1}}, "balance="),
        ({"balance": "weighted", "weights": {"http://d:1": 1}}, "no endpoint"),
        ({"balance": "weighted", "weights": {A: -1}}, "0 or more"),
        ({"balance": "weighted", "weights": {A: 0.5}}, "whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Choice([A, B], **options)  # type: ignore[arg-type]
