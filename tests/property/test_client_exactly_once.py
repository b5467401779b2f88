"""The client library against the real state machine, over a line on which anything may happen.

Attempts are lost before or after they arrive, arrive twice, or long after the client has given up on them; nodes
refuse; the log's time jumps, so that sessions expire; the state goes through a snapshot. Several clients count, each
increment on condition of what was read. What must hold: nothing is applied twice; what was acknowledged was applied, at
the revision that was told; what was refused never was, not even by an attempt that arrives after everything has ended.
"""

import asyncio
import base64
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.client import AsyncClient, retry
from kvstore.client.retry import Pacing
from kvstore.client.wire import Broken, NotSent, Reply, Request, TimedOut
from kvstore.errors import (
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    IdempotencyConflict,
    IdempotencyExpired,
    KvError,
    NoLeader,
    NotFound,
    Overloaded,
    PreconditionFailed,
)
from kvstore.http import batch, parse
from kvstore.http.answer import MSGPACK
from kvstore.http.shapes import encode
from kvstore.model import commands
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Command, Op
from kvstore.model.levels import Level
from kvstore.model.results import (
    APPLIED,
    EXPIRED,
    FULL,
    NOT_FOUND,
    ONCE_CONFLICT,
    PRECONDITION_FAILED,
    OpResult,
    WriteAnswer,
)
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine
from kvstore.state.settings import SESSION_WINDOW_MS

FAULTS: Final = (
    *("fine",) * 4,
    "not sent",
    "lost before",
    "lost after",
    "late",
    "late, and told",
    "twice",
    "refused",
    "refused after",
    "expired",
    "snapshot",
    "overtaken",
    "in part",
)
KEYS: Final = (b"x", b"y")
JSON: Final = {"Content-Type": "application/json"}


class Line:
    """A cluster of one state machine behind a line with faults; `faults` are used one for each attempt, then none."""

    def __init__(self, faults: list[str], rng: random.Random) -> None:
        self.machine = Machine()
        self.faults = list(reversed(faults))
        self.rng = rng
        self.clock_s = 0.0
        self.jumped_ms = 0
        self.late: list[Op] = []
        self.executed: defaultdict[bytes, list[int]] = defaultdict(list)
        self.met: Counter[str] = Counter()

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        for _ in range(self.rng.randrange(3)):
            await asyncio.sleep(0)
        fault = self.faults.pop() if self.faults else "fine"
        self.met[fault] += 1
        if fault == "not sent":
            raise NotSent("connection refused")
        if fault == "refused":
            return _problem(NoLeader("electing"))
        if request.path == "/v1/batch":
            return self._batch(request, fault, min(total_s, idle_s))
        if request.method == "GET":
            return self._read(request)
        op = _op(request)
        if fault == "lost before":
            raise Broken("reset")
        if fault in ("late", "late, and told"):
            self.late.append(op)
            if fault == "late":
                self.clock_s += min(total_s, idle_s)
                raise TimedOut("silence")
            return _problem(DeadlineExceeded("not committed in time"))
        if fault == "overtaken":
            self.let_in()
        if fault == "expired":
            self.jumped_ms += self.machine.settings[SESSION_WINDOW_MS] + 1
        if fault == "snapshot":
            self._through_a_snapshot()
        result = self._apply(op)
        if fault == "twice":
            again = self._apply(op)
            assert again == result or op[0] in (commands.OP_OPEN_SESSION, commands.OP_CLOSE_SESSION)
        if fault == "lost after":
            raise Broken("reset")
        if fault == "refused after":
            return _problem(DeadlineExceeded("the leader is gone"))
        return _reply(op, result)

    def _batch(self, request: Request, fault: str, patience_s: float) -> Reply:
        """The same faults for all operations of a batch; or, "in part", one for each, which are told one by one."""
        body = batch._decoded(request.body or b"", request.headers["Content-Type"])
        asked = [batch._op(op, body, Level.QUORUM) for op in body.ops]
        ops = [_batched(op) for op in asked if isinstance(op, BatchOp) and op.kind != "get"]
        if fault == "lost before":
            raise Broken("reset")
        if fault in ("late", "late, and told"):
            self.late += ops
            self.clock_s += patience_s if fault == "late" else 0.0
            if fault == "late":
                raise TimedOut("silence")
            told = [DeadlineExceeded("not committed in time") for _ in asked]
            return _batch_reply(
                body.ops, [error if op.kind != "get" else None for error, op in zip(told, asked, strict=True)]
            )
        if fault == "overtaken":
            self.let_in()
        if fault == "expired":
            self.jumped_ms += self.machine.settings[SESSION_WINDOW_MS] + 1
        if fault == "snapshot":
            self._through_a_snapshot()
        results = [self._of_batch(op, fault) for op in asked]
        if fault == "twice":
            again = [self._of_batch(op, fault) for op in asked]
            assert [str(each) for each in again] == [str(each) for each in results]
        if fault == "lost after":
            raise Broken("reset")
        return _batch_reply(body.ops, results)

    def _of_batch(self, op: BatchOp, fault: str) -> BatchResult | None:
        if op.kind == "get":
            return self.machine.get(op.key)
        own = self.rng.choice(("fine", "refused", "late", "unknown")) if fault == "in part" else fault
        if own == "refused":
            return NoLeader("electing")
        if own == "late":
            self.late.append(_batched(op))
            return DeadlineExceeded("not committed in time")
        result = self._apply(_batched(op))
        if own in ("unknown", "refused after"):
            return DeadlineExceeded("the leader is gone")
        if result.status in _REFUSALS:
            return _REFUSALS[result.status]()
        return WriteAnswer(op.key, result.revision, result.version, Level.QUORUM, 2, 2, "committed", None)

    async def close(self) -> None:
        pass

    async def sleep(self, seconds: float) -> None:
        self.clock_s += seconds
        await asyncio.sleep(0)

    def let_in(self) -> None:
        """What was on its way arrives now, in any order, and some of it twice."""
        late, self.late = self.late, []
        self.rng.shuffle(late)
        for op in late:
            for _ in range(self.rng.choice((1, 1, 2))):
                self._apply(op)

    def _apply(self, op: Op) -> OpResult:
        before = self.machine.revision
        ms = 1_000_000 + int(self.clock_s * 1_000) + self.jumped_ms
        command = Command(commands.KIND_OPS, [op], Stamp(ms, 0, "n1", 0))
        result = self.machine.apply(self.machine.applied_index + 1, 1, command)[0]
        if self.machine.revision > before:
            # A put is known by its value, a delete by its key: there is one of each.
            self.executed[op[2] if op[0] == commands.OP_PUT else op[1]].append(self.machine.revision)
        return result

    def _through_a_snapshot(self) -> None:
        loader = Machine.loader()
        for frame in self.machine.snapshot():
            loader.add(frame)
        self.machine = loader.finish()

    def _read(self, request: Request) -> Reply:
        record = self.machine.get(_key(request))
        if record is None:
            return _problem(NotFound("the key is absent", read=True))
        body = {
            "key": _key(request).decode(),
            "value_base64": base64.b64encode(record.value).decode(),
            **{name: getattr(record, name) for name in ("create_revision", "mod_revision", "version", "lease")},
            "stamp": str(record.stamp),
        }
        return Reply(200, JSON, json.dumps(body).encode())


def _key(request: Request) -> bytes:
    return parse.key_of(request.path.removeprefix("/v1/kv/"))


def _op(request: Request) -> Op:
    """The operation that a node makes of the request, by the door's own parser."""
    if request.path == "/v1/sessions":
        return commands.open_session()
    if request.path.startswith("/v1/sessions/"):
        return commands.close_session(parse.number_of(request.path.removeprefix("/v1/sessions/"), "session"))
    headers = {name: [value] for name, value in request.headers.items()}
    deleting = request.method == "DELETE"
    condition = parse.write_condition(headers.get("If-Match", ()), headers.get("If-None-Match", ()), deleting=deleting)
    once = parse.once(headers.get("Idempotency-Key", ()), headers.get("KV-Session", ()))
    if deleting:
        return commands.delete(_key(request), condition, once)
    return commands.put(_key(request), request.body or b"", condition, once)


def _batched(op: BatchOp) -> Op:
    if op.kind == "put":
        return commands.put(op.key, op.value, op.condition, op.once)
    return commands.delete(op.key, op.condition, op.once)


def _batch_reply(asked: list[object], results: list[BatchResult | None]) -> Reply:
    told = [
        batch._told(op, NotFound("absent", read=True) if result is None else result, Level.QUORUM)  # type: ignore[arg-type]
        for op, result in zip(asked, results, strict=True)
    ]
    return Reply(200, {"Content-Type": MSGPACK}, encode(batch.BatchAnswerBody(told), MSGPACK))


_REFUSALS: Final[dict[int, Callable[[], KvError]]] = {
    PRECONDITION_FAILED: lambda: PreconditionFailed("the condition does not hold"),
    NOT_FOUND: lambda: NotFound("the key is absent"),
    ONCE_CONFLICT: lambda: IdempotencyConflict("another request"),
    EXPIRED: lambda: IdempotencyExpired("expired"),
    FULL: lambda: Overloaded("full"),
}


def _reply(op: Op, result: OpResult) -> Reply:
    if op[0] == commands.OP_OPEN_SESSION:
        return Reply(201, JSON, b'{"session":%d}' % result.revision)
    if op[0] == commands.OP_CLOSE_SESSION:
        return Reply(200, JSON, b'{"session":%d}' % op[1])
    if result.status in _REFUSALS:
        return _problem(_REFUSALS[result.status]())
    assert result.status == APPLIED
    body = {"revision": result.revision, "version": result.version, "level": "quorum", "required": 2, "acked": 2}
    return Reply(200, JSON, json.dumps(body | {"outcome": "committed"}).encode())


def _problem(error: KvError) -> Reply:
    return Reply(error.status, JSON, json.dumps(error.to_problem()).encode())


class Run:
    """Clients that count, and what each write was told."""

    def __init__(self, line: Line, *, keyed: bool, batching: bool) -> None:
        self.line = line
        self.batching = batching
        self.keyed = keyed
        self.acknowledged: dict[bytes, int] = {}
        self.refused: list[bytes] = []
        self.unknown: list[bytes] = []
        self.keys: dict[bytes, bytes] = {}
        self._tokens = 0

    async def go(self, clients: int, tasks: int, increments: int) -> None:
        pacing = Pacing(now=lambda: self.line.clock_s, sleep=self.line.sleep, uniform=self.line.rng.uniform)
        endpoints = ["http://a:1", "http://b:1", "http://c:1"]
        made = [
            AsyncClient(endpoints, timeout_s=4.0, batching=self.batching, transport=self.line, pacing=pacing)
            for _ in range(clients)
        ]
        await asyncio.gather(
            *(self._count(one, KEYS[task % len(KEYS)], increments) for one in made for task in range(tasks))
        )
        for one in made:
            await one.close()
        self.line.let_in()

    async def _count(self, client: AsyncClient, key: bytes, increments: int) -> None:
        for _ in range(increments):
            try:
                record = await client.get(key)
            except (KvError, CannotConnect):
                continue
            counted = 1 if record is None else int(record.value.split()[0]) + 1
            self._tokens += 1
            value = b"%d %d" % (counted, self._tokens)
            self.keys[value] = key
            await self._write(client, key, value, None if record is None else record.mod_revision)
            if self.line.rng.random() < 0.1:
                await self._delete(client)

    async def _write(self, client: AsyncClient, key: bytes, value: bytes, revision: int | None) -> None:
        name = f"key {self._tokens}" if self.keyed else None
        await self._note(
            value,
            client.put(key, value, if_revision=revision, if_absent=revision is None, idempotency_key=name),
        )

    async def _delete(self, client: AsyncClient) -> None:
        """A key that is put and deleted once, so that the first delete finds it, and no other one does."""
        self._tokens += 1
        key = b"once/%d" % self._tokens
        value = b"1 once %d" % self._tokens
        await self._note(value, client.put(key, value))
        await self._note(key, client.delete(key))

    async def _note(self, token: bytes, write: object) -> None:
        try:
            result = await write  # type: ignore[misc]
        except IdempotencyConflict:
            raise AssertionError("every name belongs to one write") from None
        except (ConnectionLost, CannotConnect, KvError) as error:
            fate = "unknown" if isinstance(error, ConnectionLost) else getattr(error, "outcome", "not_applied")
            (self.unknown if fate == "unknown" else self.refused).append(token)
        else:
            self.acknowledged[token] = result.revision

    def check(self) -> None:
        executed = self.line.executed
        twice = {token: revisions for token, revisions in executed.items() if len(revisions) > 1}
        assert twice == {}
        for token, revision in self.acknowledged.items():
            assert executed[token] == [revision], token
        assert [token for token in self.refused if executed[token]] == []
        for key in KEYS:
            record = self.line.machine.get(key)
            applied = sum(1 for value, of in self.keys.items() if of == key and executed[value])
            assert (0 if record is None else int(record.value.split()[0])) == applied


def run(faults: list[str], seed: int, *, keyed: bool = False, batching: bool = False) -> Run:
    """Two clients with three tasks each. Opaque keys are kept for a window of log time only, so it must not jump."""
    if keyed:
        faults = [fault for fault in faults if fault != "expired"]
    done = Run(Line(faults, random.Random(seed)), keyed=keyed, batching=batching)
    asyncio.run(done.go(clients=2, tasks=3, increments=6))
    done.check()
    return done


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(FAULTS), max_size=150), st.integers(0, 1 << 32), st.booleans(), st.booleans())
def test_every_write_is_applied_as_often_as_its_client_was_told(
    faults: list[str], seed: int, keyed: bool, batching: bool
) -> None:
    run(faults, seed, keyed=keyed, batching=batching)


def many_faults(seed: int) -> list[str]:
    return random.Random(seed).choices(FAULTS, k=150)


@pytest.mark.parametrize("batching", [False, True])
def test_the_runs_meet_every_fault_and_end_in_every_way(batching: bool) -> None:
    met: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in range(60):
        done = run(many_faults(seed), seed, batching=batching)
        met += done.line.met
        ends += Counter(acknowledged=len(done.acknowledged), refused=len(done.refused), unknown=len(done.unknown))
    assert min(met[fault] for fault in FAULTS) > 50
    assert min(ends["acknowledged"], ends["refused"]) > 200
    assert ends["unknown"] > 10


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize(
    "broken", ["a new name for each attempt", "a name that is not sent", "the last one is believed"]
)
def test_a_client_that_breaks_a_rule_is_caught(broken: str, batching: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Line.send

    async def altered(self: Line, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        headers = dict(request.headers)
        if "KV-Session" in headers and broken == "a name that is not sent":
            del headers["KV-Session"]
        elif "KV-Session" in headers:
            session, sequence, floor = headers["KV-Session"].split("/")
            headers["KV-Session"] = f"{session}/{int(sequence) + 1_000 * self.met.total()}/{floor}"
        body = request.body
        if request.path == "/v1/batch":
            asked = msgspec.msgpack.decode(body or b"")
            for op in asked["ops"]:
                if "sequence" in op and broken == "a name that is not sent":
                    del op["sequence"]
                elif "sequence" in op:
                    op["sequence"] += 1_000 * self.met.total()
            body = msgspec.msgpack.encode(asked)
        request = request._replace(headers=headers, body=body)
        return await send(self, endpoint, request, total_s=total_s, idle_s=idle_s)

    if broken == "the last one is believed":
        # What a later attempt was told does not undo an earlier one (rule 4 of kvstore.client.retry).
        verdict = retry.Journey.verdict
        monkeypatch.setattr(retry.Journey, "verdict", lambda journey: journey._problem or verdict(journey))
    else:
        monkeypatch.setattr(Line, "send", altered)
    # The fewer attempts a run makes, the more runs it takes; whoever is caught is so within a few.
    for seed in range(400):
        try:
            run(many_faults(seed), seed, batching=batching)
        except AssertionError:
            return
    raise AssertionError("not caught")
