"""Writes that have a name, of a session or an idempotency key: when they are sent again, and how they end."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from kvstore import limits
from kvstore.client.client import AsyncClient
from kvstore.client.results import WriteResult
from kvstore.client.sessions import Session
from kvstore.client.stamps import StampedTransport
from kvstore.client.wire import AttemptFailed, Broken, NotSent, Reply, Request, TimedOut
from kvstore.errors import (
    BadRequest,
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    Discarded,
    IdempotencyConflict,
    IdempotencyExpired,
    InternalError,
    KvError,
    MembersUnreachable,
    NoLeader,
    NoQuorum,
    NotAVoter,
    NotFound,
    Overloaded,
    PreconditionFailed,
    StorageFull,
    TooLarge,
    Unavailable,
)
from tests.support.scripted_net import PENDING, WRITTEN, A, B, C, ScriptedNet, Step, by_endpoint, client, problem

SESSION, KEY = "KV-Session", "Idempotency-Key"

Write = Callable[[AsyncClient], Awaitable[WriteResult]]

NAMED: dict[str, Write] = {
    "session": lambda one: one.put(b"k", b"v", if_revision=3),
    "session_all": lambda one: one.delete(b"k", level="all"),
    "key": lambda one: one.put(b"k", b"v", idempotency_key="mine"),
    "one": lambda one: one.put(b"k", b"v", level="one"),
}
UNKNOWN: dict[str, Callable[[], Step]] = {
    "broken": lambda: Broken("reset"),
    "silence": lambda: TimedOut("silence"),
    "timeout": lambda: problem(DeadlineExceeded("not committed in time")),
    "internal": lambda: problem(InternalError("the server failed")),
    "proxy": lambda: Reply(502, {"Content-Type": "text/html"}, b"<html>"),
    "not_json": lambda: Reply(500, {"Content-Type": "application/problem+json"}, b"{"),
}
NOT_APPLIED: dict[str, Callable[[], Step]] = {
    "refused": lambda: NotSent("connection refused"),
    "no_leader": lambda: problem(NoLeader("electing")),
    "no_quorum": lambda: problem(NoQuorum("lost")),
    "members": lambda: problem(MembersUnreachable("n3 is away", missing=("n3",))),
    "discarded": lambda: problem(Discarded("another entry")),
    "learner": lambda: problem(NotAVoter("n4 is no voter")),
    "overloaded": lambda: problem(Overloaded("full")),
    "full_disk": lambda: problem(StorageFull("no room")),
}
# What the cluster itself said about the write, the same to every attempt.
FATES: list[KvError] = [
    PreconditionFailed("the key's mod_revision is 9"),
    NotFound("the key is absent"),
    IdempotencyConflict("another request"),
    DeadlineExceeded("not on n3", outcome="committed", missing=("n3",)),
]
# What one node said about one attempt.
REFUSALS: list[KvError] = [BadRequest("no such level"), TooLarge("the body is larger than 10 bytes")]


def then(*steps: Step) -> Callable[[str, int], Step]:
    """One after the other, whoever is asked; the last one for ever."""
    return lambda endpoint, number: steps[min(number, len(steps)) - 1]


class HoldingTheFirst(ScriptedNet):
    """The answer to the first write does not come before `go_on`."""

    def __init__(self, script: Callable[[str, int], Step]) -> None:
        super().__init__(script)
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        reply = await super().send(endpoint, request, total_s=total_s, idle_s=idle_s)
        if len(self.attempts) == 1 and not self.held.is_set():
            self.held.set()
            await self.go_on.wait()
        return reply


class TestEveryFailure:
    @pytest.mark.parametrize("name", NAMED)
    @pytest.mark.parametrize("failure", UNKNOWN | NOT_APPLIED)
    async def test_a_named_write_goes_on_elsewhere_under_the_same_name(self, name: str, failure: str) -> None:
        answer = PENDING if name == "one" else WRITTEN
        net = ScriptedNet(then((UNKNOWN | NOT_APPLIED)[failure](), answer))
        result = await NAMED[name](client(net))
        assert result.outcome == ("pending" if name == "one" else "committed")
        assert net.visited == [A, B]
        header = SESSION if name.startswith("session") else KEY
        first, second = net.headers(header)
        assert first is not None
        assert first == second

    @pytest.mark.parametrize("failure", NOT_APPLIED)
    async def test_an_unnamed_write_goes_on_only_if_nothing_was_applied(self, failure: str) -> None:
        net = ScriptedNet(then(NOT_APPLIED[failure](), WRITTEN))
        await client(net, sessions=False).put(b"k", b"v")
        assert net.visited == [A, B]

    @pytest.mark.parametrize("failure", UNKNOWN)
    async def test_an_unnamed_write_is_sent_once(self, failure: str) -> None:
        net = ScriptedNet(then(UNKNOWN[failure](), WRITTEN))
        with pytest.raises((KvError, ConnectionLost)) as caught:
            await client(net, sessions=False).put(b"k", b"v")
        assert isinstance(caught.value, ConnectionLost) or caught.value.outcome == "unknown"
        assert net.visited == [A]
        assert net.openings == 0

    @pytest.mark.parametrize("name", NAMED)
    @pytest.mark.parametrize("failure", UNKNOWN)
    @pytest.mark.parametrize("after", NOT_APPLIED)
    async def test_later_refusals_do_not_make_an_unknown_fate_known(self, name: str, failure: str, after: str) -> None:
        """The first attempt may have been applied, whatever becomes of those after it."""
        net = ScriptedNet(then(UNKNOWN[failure](), NOT_APPLIED[after]()))
        with pytest.raises((KvError, ConnectionLost)) as caught:
            await NAMED[name](client(net))
        assert isinstance(caught.value, ConnectionLost) or caught.value.outcome == "unknown"
        # An end to this may come at any moment, so that all the time is used.
        assert net.clock_s >= 4.9

    @pytest.mark.parametrize("failure", UNKNOWN)
    @pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
    async def test_a_node_that_does_not_take_the_request_says_nothing_about_the_attempt_before(
        self, failure: str, refusal: KvError
    ) -> None:
        net = ScriptedNet(then(UNKNOWN[failure](), problem(refusal)))
        with pytest.raises((KvError, ConnectionLost)) as caught:
            await client(net).put(b"k", b"v")
        assert isinstance(caught.value, ConnectionLost) or caught.value.outcome == "unknown"
        assert net.visited == [A, B]

    @pytest.mark.parametrize("name", NAMED)
    @pytest.mark.parametrize("fate", FATES, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("failure", UNKNOWN)
    async def test_what_the_cluster_says_about_the_write_is_final(self, name: str, fate: KvError, failure: str) -> None:
        net = ScriptedNet(then(UNKNOWN[failure](), problem(fate)))
        with pytest.raises(type(fate)) as caught:
            await NAMED[name](client(net))
        assert caught.value.outcome == fate.outcome
        assert net.visited == [A, B]

    @pytest.mark.parametrize("refusal", [*FATES, *REFUSALS], ids=lambda error: type(error).__name__)
    async def test_a_first_answer_is_final(self, refusal: KvError) -> None:
        net = ScriptedNet(then(problem(refusal)))
        with pytest.raises(type(refusal)):
            await client(net).put(b"k", b"v")
        assert net.visited == [A]

    async def test_something_else_that_answers_everywhere_is_not_asked_until_the_deadline(self) -> None:
        net = ScriptedNet(then(UNKNOWN["proxy"]()))
        with pytest.raises(InternalError):
            await client(net).put(b"k", b"v", idempotency_key="mine")
        assert net.clock_s < 0.5

    async def test_what_others_said_is_told_beside_an_unknown_fate(self) -> None:
        away = problem(MembersUnreachable("n1 is away", missing=("n1",)))
        net = ScriptedNet(by_endpoint(a=TimedOut("silence"), b=away, c=away))
        with pytest.raises(DeadlineExceeded) as caught:
            await client(net).put(b"k", b"v", level="all", idempotency_key="mine")
        assert caught.value.outcome == "unknown"
        assert caught.value.__notes__ == ["Asked again, a node said: n1 is away."]

    async def test_a_silent_node_costs_a_named_write_two_seconds_not_the_deadline(self) -> None:
        net = ScriptedNet(by_endpoint(a=TimedOut("silence"), b=WRITTEN))
        await client(net).put(b"k", b"v")
        assert net.clock_s == limits.WRITE_ATTEMPT_S_MAX
        assert net.attempts[0][1].query == "level=quorum&timeout_ms=1800"

    async def test_a_single_endpoint_gets_all_the_time(self) -> None:
        net = ScriptedNet(by_endpoint(a=TimedOut("silence")))
        with pytest.raises(DeadlineExceeded) as caught:
            await client(net, A).put(b"k", b"v")
        assert caught.value.outcome == "unknown"
        assert net.granted == [(5.0, 5.0)]


class TestSessions:
    async def test_one_is_opened_with_the_first_write_that_needs_it(self) -> None:
        net = ScriptedNet(by_endpoint(a=WRITTEN))
        asked = client(net)
        assert net.openings == 0
        for _ in range(3):
            await asked.put(b"k", b"v")
        await asked.delete(b"k", level="all")
        assert net.openings == 1
        assert net.headers(SESSION) == ["1/1/1", "1/2/2", "1/3/3", "1/4/4"]

    async def test_writes_that_come_at_once_share_the_opening(self) -> None:
        net = ScriptedNet(by_endpoint(a=WRITTEN))
        asked = client(net)
        await asyncio.gather(*(asked.put(b"k%d" % number, b"v") for number in range(20)))
        assert net.openings == 1
        assert sorted(int(str(header).split("/")[1]) for header in net.headers(SESSION)) == list(range(1, 21))

    async def test_other_writes_need_none(self) -> None:
        net = ScriptedNet(then(PENDING, WRITTEN))
        asked = client(net)
        await asked.put(b"k", b"v", level="one")
        await asked.put(b"k", b"v", idempotency_key="mine")
        await client(net, sessions=False).put(b"k", b"v")
        assert net.openings == 0
        assert net.headers(SESSION) == [None, None, None]
        assert net.headers(KEY)[1:] == ["mine", None]

    async def test_each_write_at_level_one_has_a_key_of_its_own(self) -> None:
        net = ScriptedNet(then(PENDING))
        asked = client(net)
        results = [await asked.put(b"k", b"v", level="one"), await asked.delete(b"k", level="one")]
        assert [(result.outcome, result.revision, result.receipt) for result in results] == [
            ("pending", None, "n1.e1.1")
        ] * 2
        keys = net.headers(KEY)
        assert None not in keys
        assert len(set(keys)) == 2

    @pytest.mark.parametrize("key", ["", " x", "x\n", "x" * 257, "a\x00b"])
    async def test_a_key_that_cannot_be_one_is_never_sent(self, key: str) -> None:
        net = ScriptedNet(then(WRITTEN))
        with pytest.raises(BadRequest):
            await client(net).put(b"k", b"v", idempotency_key=key)
        assert net.attempts == []

    @pytest.mark.parametrize("failure", UNKNOWN)
    async def test_the_opening_may_be_repeated(self, failure: str) -> None:
        session = Reply(201, {"Content-Type": "application/json"}, b'{"session":41}')
        net = ScriptedNet(then(WRITTEN), then(UNKNOWN[failure](), session))
        await client(net).put(b"k", b"v")
        assert net.openings == 2
        assert net.headers(SESSION) == ["41/1/1"]

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (NotSent("connection refused"), CannotConnect),
            (problem(NoQuorum("lost")), NoQuorum),
            (problem(NoLeader("electing")), NoLeader),
            (problem(Overloaded("too many sessions")), Overloaded),
            (Broken("reset"), Unavailable),
            (TimedOut("silence"), Unavailable),
            (problem(DeadlineExceeded("late")), Unavailable),
            (UNKNOWN["proxy"](), InternalError),
        ],
    )
    async def test_without_a_session_the_write_fails_and_was_not_applied(
        self, step: Step, expected: type[Exception]
    ) -> None:
        net = ScriptedNet(then(WRITTEN), then(step))
        asked = client(net)
        found = await asyncio.gather(*(asked.put(b"k", b"v") for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in found} == {expected}
        assert len({id(error) for error in found}) == 3
        assert all(isinstance(error, CannotConnect) or error.outcome == "not_applied" for error in found)
        assert net.attempts == []

    async def test_after_a_failed_opening_the_next_write_tries_again(self) -> None:
        session = Reply(201, {"Content-Type": "application/json"}, b'{"session":5}')
        net = ScriptedNet(then(WRITTEN), then(*[problem(NoQuorum("lost"))] * 12, session))
        asked = client(net)
        with pytest.raises(NoQuorum):
            await asked.put(b"k", b"v")
        await asked.put(b"k", b"v")
        assert net.headers(SESSION) == ["5/1/1"]

    async def test_who_gives_up_does_not_spoil_the_opening_for_others(self) -> None:
        net = ScriptedNet(then(WRITTEN))
        asked = client(net)
        hasty, patient = (asyncio.create_task(asked.put(b"k", b"v")) for _ in range(2))
        await asyncio.sleep(0)
        hasty.cancel()
        assert (await patient).revision == 7
        assert net.headers(SESSION) == ["1/1/1"]

    async def test_an_expired_session_is_replaced_and_a_write_that_was_not_applied_goes_under_the_new_one(self) -> None:
        """A client that was idle for long: this attempt was the only one, and it was not carried out."""
        net = ScriptedNet(then(WRITTEN, problem(IdempotencyExpired("the session has expired")), WRITTEN))
        asked = client(net)
        await asked.put(b"k", b"v")
        assert (await asked.put(b"k", b"w")).revision == 7
        assert net.headers(SESSION) == ["1/1/1", "1/2/2", "2/1/1"]

    async def test_expired_after_an_attempt_of_unknown_fate_is_unknown(self) -> None:
        net = ScriptedNet(then(Broken("reset"), problem(IdempotencyExpired("expired")), WRITTEN))
        asked = client(net)
        with pytest.raises(IdempotencyExpired) as caught:
            await asked.put(b"k", b"v")
        assert caught.value.outcome == "unknown"
        await asked.put(b"k", b"v")
        assert net.headers(SESSION) == ["1/1/1", "1/1/1", "2/1/1"]

    async def test_a_cluster_that_always_says_expired_is_believed(self) -> None:
        net = ScriptedNet(then(problem(IdempotencyExpired("expired"))))
        with pytest.raises(IdempotencyExpired) as caught:
            await client(net).put(b"k", b"v")
        assert caught.value.outcome == "not_applied"
        assert net.openings == 2

    async def test_closing_gives_the_session_back_once(self) -> None:
        net = ScriptedNet(then(WRITTEN))
        async with client(net) as asked:
            await asked.put(b"k", b"v")
        await asked.close()
        assert net.closed == ["/v1/sessions/1"]

    async def test_closing_gives_nothing_back_that_was_not_opened_or_is_in_use(self) -> None:
        net = HoldingTheFirst(then(WRITTEN))
        async with client(net):
            pass
        busy = client(net)
        writing = asyncio.create_task(busy.put(b"k", b"v"))
        await net.held.wait()
        await busy.close()
        assert net.closed == []
        net.go_on.set()
        await writing

    async def test_closing_while_the_session_is_being_opened_ends_the_opening(self) -> None:
        held = asyncio.Event()

        class Holding(ScriptedNet):
            async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
                await held.wait()
                raise AssertionError

        asked = client(Holding(then(WRITTEN)))
        writing = asyncio.create_task(asked.put(b"k", b"v"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asked.close()
        with pytest.raises(Unavailable, match="the client was closed"):
            await writing

    @pytest.mark.parametrize("answer", [problem(NoQuorum("lost")), Broken("reset"), TimedOut("silence")])
    async def test_closing_never_takes_long_and_never_fails(self, answer: Step) -> None:
        class Leaving(ScriptedNet):
            async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
                if request.method == "DELETE":
                    self.clock_s += min(total_s, idle_s) if isinstance(answer, TimedOut) else 0.0
                    if isinstance(answer, AttemptFailed):
                        raise answer
                    return answer
                return await super().send(endpoint, request, total_s=total_s, idle_s=idle_s)

        net = Leaving(then(WRITTEN))
        async with client(net) as asked:
            await asked.put(b"k", b"v")
        assert net.clock_s <= limits.SESSION_CLOSE_S_MAX


class TestFloors:
    async def test_the_floor_is_the_lowest_call_that_has_not_ended(self) -> None:
        session = Session(9)
        first, second, third = [await session.take(1) for _ in range(3)]
        assert [session.header(each) for each in (first, second, third)] == ["9/1/1", "9/2/1", "9/3/1"]
        session.retire(second)
        assert session.header(third) == "9/3/1"
        session.retire(first)
        assert session.header(third) == "9/3/3"
        session.retire(third)
        assert await session.take(1) == 4
        assert session.header(4) == "9/4/4"

    @pytest.mark.parametrize("seed", range(20))
    async def test_no_floor_ever_passes_a_call_that_goes_on(self, seed: int) -> None:
        rng = random.Random(seed)
        session = Session(1)
        going_on: set[int] = set()

        async def call() -> None:
            sequence = await session.take(5)
            going_on.add(sequence)
            for _ in range(rng.randrange(6)):
                told = int(session.header(sequence).split("/")[2])
                assert told == min(going_on)
                await asyncio.sleep(0)
            going_on.remove(sequence)
            session.retire(sequence)

        await asyncio.gather(*(call() for _ in range(200)))
        assert (session.outstanding, session.floor) == (0, 201)

    async def test_a_call_whose_outcome_stayed_unknown_lets_the_floor_pass(self) -> None:
        net = ScriptedNet(lambda endpoint, number: WRITTEN if number > 3 else TimedOut("silence"))
        asked = client(net)
        with pytest.raises(DeadlineExceeded):
            await asked.put(b"k", b"v")
        await asked.put(b"k", b"v")
        assert net.headers(SESSION) == ["1/1/1"] * 3 + ["1/2/2"]

    async def test_a_cancelled_call_lets_the_floor_pass(self) -> None:
        net = HoldingTheFirst(then(WRITTEN))
        asked = client(net)
        stuck = asyncio.create_task(asked.put(b"k", b"v"))
        await net.held.wait()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        await asked.put(b"k", b"v")
        assert net.headers(SESSION) == ["1/1/1", "1/2/2"]

    async def test_no_sequence_is_further_above_the_floor_than_answers_are_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One slow call holds up what is far behind it, though hardly anything is under way."""
        monkeypatch.setattr(limits, "CLIENT_SESSION_WRITES_MAX", 4)
        session = Session(1)
        slow = await session.take(1)
        for _ in range(3):
            session.retire(await session.take(1))
        waiting = [asyncio.create_task(session.take(1)) for _ in range(6)]
        await asyncio.sleep(0)
        assert (session.outstanding, session.floor) == (1, slow)
        session.retire(slow)
        await asyncio.sleep(0)
        assert [task.result() for task in waiting[:4]] == [5, 6, 7, 8]
        assert not waiting[4].done()
        session.retire(5)
        session.retire(6)
        assert [await task for task in waiting[4:]] == [9, 10]

    async def test_who_waits_in_vain_was_not_sent_and_gives_the_turn_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "CLIENT_SESSION_WRITES_MAX", 1)
        session = Session(1)
        first = await session.take(1)
        with pytest.raises(Overloaded) as caught:
            await session.take(0.01)
        assert caught.value.outcome == "not_applied"
        leaving, staying = (asyncio.create_task(session.take(5)) for _ in range(2))
        await asyncio.sleep(0)
        session.retire(first)
        # It had been given its turn already when it was cancelled.
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await staying == 3
        assert session.outstanding == 1

    async def test_how_many_wait_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "CLIENT_SESSION_WRITES_MAX", 1)
        monkeypatch.setattr(limits, "CLIENT_WRITES_WAITING_MAX", 1)
        session = Session(1)
        await session.take(1)
        waiting = asyncio.create_task(session.take(5))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await session.take(5)
        waiting.cancel()


class TestReceipts:
    @staticmethod
    def receipt(state: str, revision: str = "null") -> Reply:
        body = f'{{"id":"n1.e1.1","level":"one","state":"{state}","revision":{revision},"reason":null}}'
        return Reply(200, {"Content-Type": "application/json"}, body.encode())

    async def test_waiting_asks_until_it_is_decided_with_growing_pauses(self) -> None:
        net = ScriptedNet(then(*[self.receipt("pending")] * 4, self.receipt("committed", "12")))
        found = await client(net).wait_receipt("n1.e1.1")
        assert (found.state, found.revision) == ("committed", 12)
        assert net.attempts[0][1].path == "/v1/receipts/n1.e1.1"
        assert net.pauses == [0.02, 0.04, 0.08, 0.16]

    async def test_what_is_still_pending_in_the_end_is_told_as_that(self) -> None:
        net = ScriptedNet(then(self.receipt("pending")))
        found = await client(net).wait_receipt("n1.e1.1", timeout_s=3)
        assert found.state == "pending"
        assert net.clock_s <= 3
        assert max(net.pauses) == limits.RECEIPT_POLL_S_MAX

    async def test_an_origin_that_is_away_may_come_back(self) -> None:
        away = problem(MembersUnreachable("only n1 can tell", read=True))
        net = ScriptedNet(lambda endpoint, number: away if number < 40 else self.receipt("superseded"))
        assert (await client(net).wait_receipt("n1.e1.1", timeout_s=30)).state == "superseded"
        net = ScriptedNet(then(away))
        with pytest.raises(MembersUnreachable):
            await client(net).wait_receipt("n1.e1.1", timeout_s=2)
        assert net.clock_s <= 2.1

    async def test_one_question_is_one_answer(self) -> None:
        net = ScriptedNet(then(self.receipt("pending")))
        assert (await client(net).receipt("a/b")).state == "pending"
        assert net.attempts[0][1].path == "/v1/receipts/a%2Fb"


class TestStamps:
    @staticmethod
    async def told(*stamps: str | None) -> list[str | None]:
        """What the client says with each request, when the answers told `stamps`."""
        headers = {"Content-Type": "application/json"}
        replies = [
            RECORD_LESS._replace(headers=headers if stamp is None else {**headers, "KV-Stamp": stamp})
            for stamp in stamps
        ]
        net = ScriptedNet(then(*replies))
        asked = client(net)
        for _ in stamps:
            await asked.get_value(b"k")
        return net.headers("KV-Stamp")

    async def test_the_highest_goes_with_every_request(self) -> None:
        assert await self.told("5.1.n1.0", "5.0.n2.9", None, "6.0.n1.0", "5.9.n1.0") == [
            None,
            "5.1.n1.0",
            "5.1.n1.0",
            "5.1.n1.0",
            "6.0.n1.0",
        ]

    async def test_numbers_are_compared_as_numbers(self) -> None:
        assert (await self.told("9.0.n1.0", "10.0.n1.0", "9.9.n1.0"))[2] == "10.0.n1.0"

    @pytest.mark.parametrize("odd", ["", "soon", "1.2.n1", "1.2.n1.x", "1" * 19 + ".0.n1.0", "1.0.n1.0\r\nEvil: 1"])
    async def test_what_a_node_would_refuse_is_not_repeated(self, odd: str) -> None:
        assert await self.told(odd, None) == [None, None]

    async def test_a_refusal_tells_one_too(self) -> None:
        refusal = problem(NoLeader("electing"))
        net = ScriptedNet(then(refusal._replace(headers={**refusal.headers, "KV-Stamp": "7.0.n1.0"}), WRITTEN))
        await client(net).put(b"k", b"v")
        assert net.headers("KV-Stamp") == [None, "7.0.n1.0"]

    async def test_it_can_be_switched_off(self) -> None:
        net = ScriptedNet(then(RECORD_LESS._replace(headers={"KV-Stamp": "5.0.n1.0"})))
        quiet = AsyncClient([A, B, C], stamps=False, transport=net)
        for _ in range(2):
            await quiet.get_value(b"k")
        assert net.headers("KV-Stamp") == [None, None]

    async def test_closing_reaches_the_transport(self) -> None:
        closed = []

        class Closing(ScriptedNet):
            async def close(self) -> None:
                closed.append(True)

        await StampedTransport(Closing(then(WRITTEN))).close()
        assert closed == [True]


RECORD_LESS = Reply(200, {}, b"v")
