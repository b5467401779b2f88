"""Nodes that fail and come back by themselves: schedules, outages, and what the writes say about them."""

import asyncio
from collections.abc import Sequence

import pytest

from kvjepsen.odds.health import Health
from kvjepsen.odds.lifetimes import Change, Down, Lives, draw, outages
from kvjepsen.odds.overtime import LOSS_S_MAX, SIMULATED, Lived, Mortal, Probe, Probing, judged, live_through
from kvjepsen.odds.plan import LEVELS, Fault, predicted
from kvjepsen.odds.report import OVER_TIME_COLUMNS, over_time_rows
from kvjepsen.odds.verdict import judge
from kvjepsen.odds.writing import NOBODY_LISTENS, Attempt, Written
from kvstore import availability
from kvstore.errors import LocalError
from kvstore.testing.sim_loop import SimLoop, VirtualTime

LIVES = Lives(3, 20.0, 10.0, 100.0, 1)
# n1 is down from 10 to 30, n2 from 20 to 25: two of three for five seconds.
CHANGES = [Change(10, "n1", False), Change(20, "n2", False), Change(25, "n2", True), Change(30, "n1", True)]


class TestSchedule:
    def test_a_level_is_out_while_too_few_are_alive(self) -> None:
        assert outages(CHANGES, "one", 3, 100.0) == []
        assert outages(CHANGES, "quorum", 3, 100.0) == [Down(20, 25)]
        assert outages(CHANGES, "all", 3, 100.0) == [Down(10, 30)]
        assert outages(CHANGES[:2], "quorum", 3, 100.0) == [Down(20, 100)]
        together = [Change(0.0, "n1", False), Change(0.0, "n2", False), Change(0.0, "n2", True)]
        assert outages(together, "quorum", 3, 100.0) == []

    def test_it_depends_on_seed_and_node_alone(self) -> None:
        assert draw(LIVES) == draw(LIVES) != draw(LIVES._replace(seed=2))
        longer = draw(LIVES._replace(seconds=200.0))
        assert [change for change in longer if change.at_s < 100.0] == draw(LIVES)

    def test_each_node_fails_and_comes_back_in_turn(self) -> None:
        for name in ("n1", "n2", "n3"):
            ups = [change.up for change in draw(LIVES._replace(seconds=1000.0)) if change.node == name]
            assert ups == [place % 2 == 1 for place in range(len(ups))]

    @pytest.mark.parametrize("n", [3, 4])
    @pytest.mark.parametrize("level", LEVELS)
    def test_in_the_long_run_it_is_what_the_formulas_say(self, level: str, n: int) -> None:
        """From its first moment on: many short schedules show it as one long one does."""
        expected = availability.outages(level, n, 20.0, 10.0)
        downs = [outages(draw(Lives(n, 20.0, 10.0, 30.0, seed)), level, n, 30.0) for seed in range(4_000)]
        down_s = sum(each.until_s - each.since_s for one in downs for each in one)
        began = sum(each.since_s > 0 for one in downs for each in one)
        assert down_s / 120_000 == pytest.approx(expected.unavailability, rel=0.1)
        assert began / 120_000 == pytest.approx(expected.per_second, rel=0.1)
        assert down_s / began == pytest.approx(expected.mean_s, rel=0.1)


def probe(since_s: float, served: bool) -> Probe:
    return Probe(since_s, since_s + 0.5, Written("k", b"v", "acknowledged" if served else "refused", None))


def lived(quorum: Sequence[Probe]) -> Lived:
    others = [probe(50.0, served=True)]
    return Lived(LIVES, SIMULATED, CHANGES, {"one": others, "quorum": list(quorum), "all": others}, [])


class TestWhatItSays:
    def test_each_write_is_counted_where_it_belongs(self) -> None:
        probes = [(10, True), (19.8, False), (21, False), (24.8, True), (26, False), (27, False), (28, True)]
        found = judged(lived([probe(*each) for each in probes]))
        quorum = found["levels"]["quorum"]
        assert (quorum["up"], quorum["down"], quorum["between"]) == (4, 1, 2)
        assert (quorum["failover_loss"], quorum["longest_loss_s"]) == (2 / 7, 2.0)
        assert quorum["structural"] == {"unavailability": 0.05, "outages": 1, "mean_s": 5.0}
        assert (found["verdict"], found["failures"]) == ("confirmed", 2)
        assert all(len(row) == len(OVER_TIME_COLUMNS) for row in over_time_rows([found]))
        assert judge([], [], [], [], [found]).verdict == "confirmed"

    def test_a_write_served_by_too_few_nodes_refutes(self) -> None:
        found = judged(lived([probe(10, served=True), probe(21, served=True)]))
        assert found["wrong"] == ["quorum: 1 writes were acknowledged while too few nodes were alive"]
        assert judge([], [], [], [], [found]).verdict == "refuted"

    def test_so_does_a_level_that_does_not_come_back(self) -> None:
        count = int(LOSS_S_MAX) + 1
        assert judged(lived([probe(40 + each, served=False) for each in range(count - 1)]))["wrong"] == []
        assert "not served for 11.0 s on end" in judged(lived([probe(40 + x, False) for x in range(count)]))["wrong"][0]

    def test_a_level_for_which_there_were_never_enough_nodes_is_not_confirmed(self) -> None:
        found = judged(lived([probe(21, served=False)]))
        assert (found["wrong"], found["untried"], found["verdict"]) == ([], ["quorum"], "incomplete")
        told = judge([], [], [], [], [found])
        assert (told.verdict, told.notes) == (
            "incomplete",
            ["over time, n=3: never enough nodes for quorum"],
        )


class Immediate:
    """A store that serves a level from the moment on at which enough nodes are alive; `too_many` of them more count."""

    names = ("n1", "n2", "n3")

    def __init__(self, too_many: int = 0) -> None:
        self.down: set[str] = set()
        self.values: dict[str, bytes] = {}
        self._too_many = too_many

    async def health(self) -> Health:
        return Health(None, "some are down") if self.down else Health("n1")

    async def fail(self, failed: Sequence[str], fault: Fault) -> None:
        assert not self.down & set(failed)
        self.down |= set(failed)

    async def revive(self, name: str) -> None:
        self.down.remove(name)

    async def attempt(self, name: str, key: str, value: bytes, level: str, left_s: float) -> Attempt:
        if name in self.down:
            return Attempt("refused", NOBODY_LISTENS)
        if not predicted(level, 3, max(len(self.down) - self._too_many, 0)):
            return Attempt("refused", "no_quorum")
        self.values[key] = value
        return Attempt("acknowledged")

    async def read(self, name: str, key: str) -> bytes | None:
        return self.values.get(key)

    async def transfer(self, leader: str, to: str) -> None:
        raise NotImplementedError

    async def restore(self, failed: Sequence[str], fault: Fault) -> None:
        raise NotImplementedError

    async def receipt(self, name: str, receipt: str) -> str:
        raise NotImplementedError


def through(ground: Mortal, lives: Lives) -> Lived:
    loop = SimLoop(VirtualTime())  # type: ignore[abstract]
    return loop.run_until_complete(live_through(ground, lives, Probing(0.5, 0.5, 0.1)))


class TestLivingThrough:
    def test_a_store_that_needs_no_time_has_no_failover_loss(self) -> None:
        lives = LIVES._replace(seconds=1000.0)
        found = judged(through(Immediate(), lives))
        assert found["wrong"] == []
        assert found["failures"] == sum(not change.up for change in draw(lives))
        for level in LEVELS:
            told = found["levels"][level]
            assert (told["probes"], told["failover_loss"]) == (2000, 0)
            assert told["not_served"] == pytest.approx(told["structural"]["unavailability"], abs=0.02)

    def test_one_that_counts_a_dead_node_is_found(self) -> None:
        found = judged(through(Immediate(too_many=1), LIVES._replace(seconds=1000.0)))
        assert [line.split(":")[0] for line in found["wrong"]] == ["quorum", "all"]

    def test_one_that_forgets_is_found(self) -> None:
        class Forgetful(Immediate):
            async def read(self, name: str, key: str) -> bytes | None:
                await asyncio.sleep(0)
                return None

        assert "was acknowledged and is gone" in judged(through(Forgetful(), LIVES))["wrong"][0]

    def test_what_breaks_under_way_is_told_and_ends_it(self) -> None:
        class Stuck(Immediate):
            async def revive(self, name: str) -> None:
                raise LocalError(f"{name} does not start")

        with pytest.raises(LocalError, match="does not start"):
            through(Stuck(), LIVES)
