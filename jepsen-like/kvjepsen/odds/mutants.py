"""Stores that serve a level when they must not, or do not when they must: the odds have to find each of them.

    half-quorum     QUORUM is acknowledged when half of an even cluster is alive, as the documented formula has it
    one-by-leader   ONE is acknowledged only where a leader is known

In a simulation `with MUTANTS[name]()`; on a real cluster `program=PROGRAM` and `env=variables(name)`.
"""

import os
import runpy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest import mock

from kvcluster.supervisor import PROGRAM as KV
from kvstore.errors import KvError
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import APPLIED, OpResult
from kvstore.node.requests import Requests
from kvstore.node.writes import Writes, Written

PROGRAM: Final = "kvjepsen.odds.mutants"

_VARIABLE: Final = "KVJEPSEN_ODDS_MUTANT"
_PATIENCE_S: Final = 1.0


def variables(name: str) -> dict[str, str]:
    """What tells a node which mutant it is."""
    return {_VARIABLE: name}


@contextmanager
def half_quorum() -> Iterator[None]:
    """A write at QUORUM that was refused is acknowledged if half of the voters are there."""
    whole = Writes._until_proposed

    async def until_proposed(self: Writes, op: Op, level: Level, at: float) -> Written:
        try:
            return await whole(self, op, level, at)
        except KvError as error:
            voters = len(self._site.engine.configuration.voters)
            alive = voters - len(self._site.leaders.unreachable())
            if level is Level.QUORUM and error.outcome == "not_applied" and 2 * alive == voters:
                return Written(OpResult(APPLIED, 1, 1), alive, alive)
            raise

    with mock.patch.object(Writes, "_until_proposed", until_proposed):
        yield


@contextmanager
def one_by_leader() -> Iterator[None]:
    """A write at ONE waits for a leader, and is refused if there is none."""
    whole = Requests._write_one

    async def write_one(self: Requests, *arguments: Any) -> Any:
        await self._site.leaders.wait(self._site.in_s(_PATIENCE_S), read=False)
        return await whole(self, *arguments)

    with mock.patch.object(Requests, "_write_one", write_one):
        yield


MUTANTS: Final[dict[str, Callable[[], AbstractContextManager[None]]]] = {
    "half-quorum": half_quorum,
    "one-by-leader": one_by_leader,
}


def main() -> None:
    """`kv`, as the mutant that the environment names."""
    with MUTANTS[os.environ[_VARIABLE]]():
        runpy.run_module(KV, run_name="__main__")


if __name__ == "__main__":
    main()
