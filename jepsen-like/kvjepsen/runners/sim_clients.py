"""The clients of a simulated run: they send what the plan says, and put what they are answered into the history.

Some have a session: they number their writes, and send one again, elsewhere, as long as they do not know its outcome.
Any write may be sent twice under one idempotency key. However often it is sent, it is one operation of the history.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kvjepsen.history import Answered, Broken, History
from kvjepsen.schedule import DELETE, GET, KEYS, PUT, Operation, Schedule
from kvstore.errors import CannotConnect, ConnectionLost, KvError
from kvstore.model.commands import MUST_BE_ABSENT, MUST_EXIST, Once
from kvstore.model.levels import Level
from kvstore.node.service import Node
from kvstore.testing import InvariantBroken, SimCluster

CALL_GRACE_S: Final = 0.5
ATTEMPTS_MAX: Final = 4


class _Session:
    """One client's numbering: its writes go one after the other, so the floor is the sequence."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._sequence = 0

    def next(self) -> tuple[int, int, int]:
        self._sequence += 1
        return self._number, self._sequence, self._sequence


class Clients:
    """`voters` are who votes as far as anybody knows; `saw` is told of every operation that has ended."""

    def __init__(
        self,
        cluster: SimCluster,
        history: History,
        schedule: Schedule,
        voters: Callable[[], tuple[str, ...]],
        saw: Callable[[Answered], None],
    ) -> None:
        self._cluster = cluster
        self._history = history
        self._schedule = schedule
        self._voters = voters
        self._saw = saw
        self._known: dict[bytes, int] = {}

    async def run(self) -> None:
        """Carry out the whole plan."""
        await asyncio.gather(*(self._client(number, plan) for number, plan in enumerate(self._schedule.clients)))

    async def _client(self, number: int, plan: tuple[Operation, ...]) -> None:
        session: _Session | None = None
        for place, operation in enumerate(plan):
            await asyncio.sleep(operation.pause_s)
            if session is None and number < self._schedule.sessions:
                session = await self._open_session(operation.node)
            value = f"{number}.{place}.".encode().ljust(operation.size, b"x")
            await self.operate(operation, value, session)

    async def _open_session(self, name: str) -> _Session | None:
        try:
            call = self._cluster.call(name, lambda node: node.open_session(timeout_s=1.0))
            return _Session(await asyncio.wait_for(call, 1.0 + CALL_GRACE_S))
        except (KvError, CannotConnect, ConnectionLost, TimeoutError):
            return None

    async def operate(self, operation: Operation, value: bytes, session: _Session | None = None) -> None:
        """Carry out one operation and note how it ended."""
        cluster, key = self._cluster, operation.key.encode()
        answered = self._history.begin(operation.kind, key, value, operation.node, operation.level, cluster.time.now)
        if operation.node not in self._voters():
            answered.floor_all, answered.all_began_s = 0, float("-inf")  # level ALL is a promise of the voters
        once: Once | None = None
        if operation.kind in (PUT, DELETE):
            if operation.again is not None:
                once = value[:16].rstrip(b"x")
            elif session is not None and operation.level != "one":
                once = session.next()
        await self._attempts(operation, answered, self._condition(operation, key), once)
        self._saw(answered)

    async def _attempts(
        self, operation: Operation, answered: Answered, condition: int | None, once: Once | None
    ) -> None:
        """Send it; with a session, again while its outcome is unknown; with a key, once more in any case."""
        unknown = False
        names = self._schedule.nodes
        name = operation.node
        for attempt in range(ATTEMPTS_MAX):
            outcome, answer, start = await self._attempt(operation, name, answered, condition, once)
            if outcome == "ok":
                self._accept(operation, answered, answer, start)
                break
            unknown = unknown or outcome == "unknown"
            if not isinstance(once, tuple) or outcome != "unknown":
                break
            name = names[(names.index(name) + attempt + 1) % len(names)] if name in names else names[0]
        else:
            outcome = "unknown"
        if outcome != "ok":
            # What was refused at last may have been taken before.
            self._history.refused(answered, "unknown" if unknown else outcome, self._cluster.time.now)
        if isinstance(once, bytes) and operation.again is not None:
            await self._again(operation, answered, condition, once)

    async def _again(self, operation: Operation, answered: Answered, condition: int | None, once: bytes) -> None:
        """The same request under the same key, at another node: no second effect, and the same answer."""
        assert operation.again is not None
        outcome, answer, start = await self._attempt(operation, operation.again, answered, condition, once)
        if outcome == "ok":
            if answered.outcome == "ok":
                if answer.revision is not None and answer.revision != answered.revision:
                    raise Broken(f"revision {answer.revision} for a repetition of {answered}")
                return
            if operation.level == "one":
                if answered.outcome == "unknown":
                    return  # the first attempt may be pending elsewhere, under a receipt that nobody was told
                answered.node = operation.again
            self._accept(operation, answered, answer, start)
        elif answered.outcome == "not_applied" and outcome in ("unknown", "committed"):
            self._history.refused(answered, outcome, self._cluster.time.now)

    async def _attempt(
        self, operation: Operation, name: str, answered: Answered, condition: int | None, once: Once | None
    ) -> tuple[str, Any, int]:
        cluster = self._cluster
        answered.sent.append((name, cluster.time.now))
        start = cluster.starts[name]
        send = self._request(operation, answered, condition, once)

        def request(node: Node) -> Any:
            answered.seen = min(answered.seen, node.machine.revision)
            if answered.outcome != "ok":  # a repetition of what was acknowledged tells nothing about its first place
                answered.start = start
            return send(node)

        try:
            answer = await asyncio.wait_for(cluster.call(name, request), operation.timeout_s + CALL_GRACE_S)
        except KvError as error:
            return error.outcome or "none", None, start
        except CannotConnect:
            return "not_applied", None, start
        except (ConnectionLost, TimeoutError):
            return "unknown", None, start
        return "ok", answer, start

    def _condition(self, operation: Operation, key: bytes) -> int | None:
        if operation.condition == "as read":
            return self._known.get(key, MUST_BE_ABSENT)
        if operation.condition is not None:
            return MUST_BE_ABSENT if operation.condition == "absent" else MUST_EXIST
        return None

    def _request(
        self, operation: Operation, answered: Answered, condition: int | None, once: Once | None
    ) -> Callable[[Node], Any]:
        level, timeout_s, key = Level(operation.level), operation.timeout_s, answered.key
        if operation.kind == PUT:
            value = answered.value
            return lambda node: node.put(key, value, level=level, condition=condition, once=once, timeout_s=timeout_s)
        if operation.kind == DELETE:
            return lambda node: node.delete(key, level=level, condition=condition, once=once, timeout_s=timeout_s)
        if operation.kind == GET:
            staleness_s = operation.staleness_s
            return lambda node: node.get(key, level=level, max_staleness_s=staleness_s, timeout_s=timeout_s)
        return lambda node: node.range(
            b"", None, level=level, limit=KEYS, after=None, reverse=False, timeout_s=timeout_s
        )

    def _accept(self, operation: Operation, answered: Answered, answer: Any, start: int) -> None:
        now_s, key = self._cluster.time.now, answered.key
        if operation.kind in (PUT, DELETE):
            if answer.receipt is not None:
                self._history.pending(answered, answer.receipt, now_s)
                return
            self._history.written(answered, answer.revision, now_s)
            self._known[key] = answer.revision if operation.kind == PUT else MUST_BE_ABSENT
            if operation.level == "all":
                self._check_all(answered)
            return
        if operation.kind == GET:
            shown = {key: answer.record}
            self._known[key] = answer.record.mod_revision if answer.record else MUST_BE_ABSENT
        else:
            shown = dict.fromkeys(f"k{number}".encode() for number in range(KEYS))
            shown.update(answer.records)
        self._history.read(answered, shown, answer.revision, answer.applied_index, start, now_s, operation.staleness_s)

    def _check_all(self, answered: Answered) -> None:
        """Level ALL: every node that runs has applied it by now."""
        voters = self._voters()
        for name, process in self._cluster.processes.items():
            if process.node is None or name not in voters or name not in process.node.engine.configuration.voters:
                continue  # who has just become a voter, or ceased to be one, may not know it yet
            if process.node.machine.revision < answered.revision:
                if process.node.engine.applied_index < process.node.engine.status().commit_index:
                    continue  # it restarted since, and is still applying what is durable
                raise InvariantBroken("level all", f"{name} has not applied {answered}")

    async def ask_for_receipts(self, voters: tuple[str, ...]) -> None:
        """What became of every write at level ONE, asked from one voter after the other."""
        for number, one in enumerate(self._history.ones):
            ask = partial(Node.receipt, text=one.receipt or "", timeout_s=5.0)
            self._history.told(one, await self._cluster.call(voters[number % len(voters)], ask))
