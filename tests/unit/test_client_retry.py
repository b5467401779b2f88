"""When the client sends a request again, where, and when it must not. No sockets, no real time."""

import pytest

from kvstore import limits
from kvstore.client.client import AsyncClient
from kvstore.client.endpoints import key_path, parse_endpoints, query
from kvstore.client.wire import AttemptFailed, Broken, NotSent, Reply, TimedOut
from kvstore.errors import (
    BadRequest,
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    Divergence,
    InternalError,
    KeyTooLong,
    KvError,
    MembersUnreachable,
    NoLeader,
    NoQuorum,
    Overloaded,
    PreconditionFailed,
    TooLarge,
    UpgradeIncomplete,
)
from tests.support import scripted_net
from tests.support.scripted_net import RECORD, WRITTEN, A, B, C, ScriptedNet, Step, by_endpoint, problem


def client(net: ScriptedNet, *endpoints: str, timeout_s: float = 5.0) -> AsyncClient:
    """Its writes have no name; those that have one are in test_client_sessions.py."""
    return scripted_net.client(net, *endpoints, timeout_s=timeout_s, sessions=False)


class TestWrites:
    async def test_a_refused_connection_moves_a_write_to_the_next_endpoint(self) -> None:
        net = ScriptedNet(by_endpoint(a=NotSent("connection refused"), b=WRITTEN))
        written = await client(net).put(b"k", b"v")
        assert net.visited == [A, B]
        assert (written.revision, written.version, written.acked) == (7, 2, 2)
        assert net.pauses == []

    async def test_the_endpoint_that_answered_is_asked_first_from_then_on(self) -> None:
        net = ScriptedNet(by_endpoint(a=NotSent("connection refused"), b=WRITTEN))
        asked = client(net)
        await asked.put(b"k", b"v")
        await asked.put(b"k", b"v")
        assert net.visited == [A, B, B]
        assert asked.retries == 1

    @pytest.mark.parametrize("loss", [Broken("reset"), TimedOut("silence")])
    async def test_a_write_whose_fate_is_unknown_is_sent_once(self, loss: AttemptFailed) -> None:
        net = ScriptedNet(lambda endpoint, number: loss if number == 1 else WRITTEN)
        expected = ConnectionLost if isinstance(loss, Broken) else DeadlineExceeded
        with pytest.raises(expected):
            await client(net).put(b"k", b"v")
        assert net.visited == [A]

    async def test_a_silent_node_leaves_a_write_unknown(self) -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            await client(ScriptedNet(by_endpoint(a=TimedOut("silence")))).delete(b"k")
        assert caught.value.outcome == "unknown"

    async def test_the_next_operation_avoids_the_endpoint_that_was_lost(self) -> None:
        net = ScriptedNet(lambda endpoint, number: Broken("reset") if number == 1 else WRITTEN)
        asked = client(net)
        with pytest.raises(ConnectionLost):
            await asked.put(b"k", b"v")
        await asked.put(b"k", b"v")
        assert net.visited == [A, B]

    async def test_an_election_is_waited_for(self) -> None:
        net = ScriptedNet(lambda endpoint, number: problem(NoLeader("electing")) if number <= 20 else WRITTEN)
        await client(net).put(b"k", b"v")
        assert len(net.visited) == 21
        assert set(net.visited) == {A, B, C}

    async def test_an_election_that_outlasts_the_deadline_says_that_nothing_was_applied(self) -> None:
        net = ScriptedNet(lambda endpoint, number: problem(NoLeader("electing")))
        with pytest.raises(NoLeader) as caught:
            await client(net).put(b"k", b"v")
        assert caught.value.outcome == "not_applied"
        assert 4.9 <= net.clock_s <= 5.0

    async def test_pauses_lie_between_their_bounds_and_separate_rounds_only(self) -> None:
        net = ScriptedNet(lambda endpoint, number: problem(NoLeader("electing")))
        with pytest.raises(NoLeader):
            await client(net).put(b"k", b"v")
        assert len(net.pauses) == len(net.attempts) // 3
        assert max(net.pauses) == limits.RETRY_BACKOFF_S_MAX
        assert all(pause >= limits.RETRY_BACKOFF_S_MIN for pause in net.pauses[:-1])

    @pytest.mark.parametrize("error", [PreconditionFailed("no"), BadRequest("no"), TooLarge("no")])
    async def test_a_refusal_of_the_request_itself_is_final(self, error: KvError) -> None:
        net = ScriptedNet(lambda endpoint, number: problem(error))
        with pytest.raises(type(error)):
            await client(net).put(b"k", b"v", if_revision=3)
        assert net.visited == [A]

    async def test_a_timeout_that_a_node_reports_is_not_tried_again(self) -> None:
        net = ScriptedNet(
            lambda endpoint, number: problem(DeadlineExceeded("late", missing=("n3",), outcome="committed"))
        )
        with pytest.raises(DeadlineExceeded) as caught:
            await client(net).put(b"k", b"v", level="all")
        assert (caught.value.outcome, caught.value.missing) == ("committed", ("n3",))
        assert net.visited == [A]

    async def test_overload_is_waited_out_as_long_as_the_node_asks(self) -> None:
        net = ScriptedNet(lambda endpoint, n: problem(Overloaded("full"), retry_after="2") if n == 1 else WRITTEN)
        await client(net, A).put(b"k", b"v")
        assert net.pauses == [2.0]

    async def test_no_attempt_begins_when_hardly_any_time_is_left(self) -> None:
        """A write begun then would end as unknown instead of not applied."""
        net = ScriptedNet(lambda endpoint, number: problem(NoLeader("electing")))
        with pytest.raises(NoLeader):
            await client(net).put(b"k", b"v")
        assert all(total >= limits.RETRY_REMAINING_S_MIN for total, _ in net.granted)

    async def test_an_answer_of_something_else_leaves_a_write_unknown(self) -> None:
        net = ScriptedNet(lambda endpoint, number: Reply(200, {"Content-Type": "text/html"}, b"<html>"))
        with pytest.raises(InternalError) as caught:
            await client(net).put(b"k", b"v")
        assert caught.value.outcome == "unknown"
        assert net.visited == [A]

    async def test_a_proxy_error_leaves_a_write_unknown(self) -> None:
        net = ScriptedNet(lambda endpoint, number: Reply(502, {"Content-Type": "text/html"}, b"<html>"))
        with pytest.raises(InternalError) as caught:
            await client(net).put(b"k", b"v")
        assert caught.value.outcome == "unknown"


class TestRefusalsThatAreBelieved:
    async def test_when_nobody_listens_the_client_says_so_long_before_the_deadline(self) -> None:
        net = ScriptedNet(lambda endpoint, number: NotSent("connection refused"))
        with pytest.raises(CannotConnect) as caught:
            await client(net).put(b"k", b"v")
        assert net.clock_s < 0.5
        assert len(net.visited) == 3 * limits.RETRY_SETTLED_ROUNDS_MAX
        assert str(caught.value).count("connection refused") == 3

    @pytest.mark.parametrize(
        "error", [NoQuorum("lost"), MembersUnreachable("n3", missing=("n3",)), UpgradeIncomplete("n3 is old")]
    )
    async def test_no_quorum_everywhere_is_believed(self, error: KvError) -> None:
        net = ScriptedNet(
            by_endpoint(a=problem(error), b=NotSent("connection refused"), c=NotSent("connection refused"))
        )
        with pytest.raises(type(error)):
            await client(net).put(b"k", b"v")
        assert net.clock_s < 0.5

    async def test_one_isolated_node_without_quorum_does_not_hide_the_others(self) -> None:
        net = ScriptedNet(by_endpoint(a=problem(NoQuorum("isolated")), b=WRITTEN, c=WRITTEN))
        await client(net).put(b"k", b"v")
        assert net.visited == [A, B]

    async def test_an_election_among_refusals_is_waited_for(self) -> None:
        def script(endpoint: str, number: int) -> Step:
            if endpoint == A:
                return NotSent("connection refused")
            return problem(NoLeader("electing")) if number < 30 else WRITTEN

        net = ScriptedNet(script)
        await client(net).put(b"k", b"v")
        assert len(net.visited) >= 30


class TestReads:
    @pytest.mark.parametrize("failure", [Broken("reset"), TimedOut("silence"), NotSent("connection refused")])
    async def test_a_read_goes_on_elsewhere_after_any_failure(self, failure: AttemptFailed) -> None:
        net = ScriptedNet(by_endpoint(a=failure, b=RECORD))
        record = await client(net).get(b"k")
        assert record is not None
        assert (record.value, record.mod_revision, record.stamp.node) == (b"v", 7, "n.1")
        assert net.visited == [A, B]

    async def test_a_paused_node_costs_a_read_one_second_not_the_deadline(self) -> None:
        net = ScriptedNet(by_endpoint(a=TimedOut("silence"), b=RECORD))
        await client(net).get(b"k")
        assert net.clock_s == limits.READ_ATTEMPT_S_MAX

    async def test_a_single_endpoint_gets_all_the_time(self) -> None:
        net = ScriptedNet(by_endpoint(a=TimedOut("silence")))
        with pytest.raises(DeadlineExceeded) as caught:
            await client(net, A).get(b"k")
        assert net.granted[0] == (5.0, 5.0)
        assert caught.value.outcome is None

    async def test_patience_doubles_each_round(self) -> None:
        net = ScriptedNet(lambda endpoint, number: TimedOut("silence"))
        with pytest.raises(DeadlineExceeded):
            await client(net, A, B, timeout_s=20.0).get(b"k")
        assert [idle for _, idle in net.granted[:6]] == [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]

    async def test_the_node_is_told_to_give_up_before_the_client_does(self) -> None:
        net = ScriptedNet(by_endpoint(a=RECORD))
        await client(net).get(b"k", level="one", min_revision=4)
        assert net.attempts[0][1].query == "level=one&min_revision=4&timeout_ms=900"

    async def test_how_stale_an_answer_may_be_travels_along(self) -> None:
        net = ScriptedNet(by_endpoint(a=RECORD))
        await client(net).get(b"k", level="one", max_staleness_ms=250)
        assert net.attempts[0][1].query == "level=one&max_staleness_ms=250&timeout_ms=900"

    async def test_replicas_that_differ_are_no_reason_to_ask_another(self) -> None:
        net = ScriptedNet(by_endpoint(a=problem(Divergence("n1 and n2 differ", read=True))))
        with pytest.raises(Divergence):
            await client(net).get(b"k", level="all")
        assert net.visited == [A]

    async def test_a_timeout_that_a_node_reports_for_a_read_is_tried_again(self) -> None:
        net = ScriptedNet(by_endpoint(a=problem(DeadlineExceeded("late", read=True)), b=RECORD))
        assert await client(net).get(b"k") is not None

    async def test_an_absent_key_is_no_error(self) -> None:
        absent = Reply(404, {"Content-Type": "application/problem+json"}, b'{"code":"key_not_found","status":404}')
        assert await client(ScriptedNet(by_endpoint(a=absent))).get(b"k") is None

    async def test_a_path_that_the_node_does_not_know_is_no_absent_key(self) -> None:
        absent = Reply(404, {"Content-Type": "application/problem+json"}, b'{"code":"route_not_found","status":404}')
        with pytest.raises(KvError, match="no detail"):
            await client(ScriptedNet(by_endpoint(a=absent))).get(b"k")


class TestRequests:
    @pytest.mark.parametrize(
        ("key", "path"),
        [
            (b"a//b", "a%2F%2Fb"),
            (b"..", "%2E%2E"),
            (b".", "%2E"),
            (b"a/../b", "a%2F..%2Fb"),
            (b"%2F", "%252F"),
            (b"\xff\x00 ?#", "%FF%00%20%3F%23"),
            ("é".encode(), "%C3%A9"),
        ],
    )
    def test_keys_are_encoded_once(self, key: bytes, path: str) -> None:
        assert key_path(key) == f"/v1/kv/{path}"

    def test_queries_take_any_bytes(self) -> None:
        assert query([("prefix", b"\xff&="), ("limit", 3), ("end", None)]) == "prefix=%FF%26%3D&limit=3"

    async def test_what_is_out_of_bounds_is_never_sent(self) -> None:
        net = ScriptedNet(by_endpoint(a=WRITTEN))
        with pytest.raises(BadRequest):
            await client(net).put(b"", b"v")
        with pytest.raises(KeyTooLong):
            await client(net).get(b"k" * 4_097)
        with pytest.raises(TooLarge):
            await client(net).put(b"k", bytes((1 << 20) + 1))
        with pytest.raises(BadRequest):
            await client(net).put(b"k", b"v", if_revision=1, if_absent=True)
        assert net.attempts == []

    async def test_conditions_travel_as_headers(self) -> None:
        net = ScriptedNet(by_endpoint(a=WRITTEN))
        await client(net).put(b"k", b"v", if_revision=12)
        await client(net).put(b"k", b"v", if_absent=True)
        assert [request.headers for _, request in net.attempts] == [{"If-Match": '"12"'}, {"If-None-Match": "*"}]

    @pytest.mark.parametrize(
        ("text", "endpoint"),
        [
            ("127.0.0.1:8480", "http://127.0.0.1:8480"),
            ("http://h:1/", "http://h:1"),
            ("https://h", "https://h"),
            ("[::1]:80", "http://[::1]:80"),
        ],
    )
    def test_endpoints_as_people_write_them(self, text: str, endpoint: str) -> None:
        assert parse_endpoints([text, f" {text} ", ""]) == (endpoint,)

    @pytest.mark.parametrize("text", ["", "ftp://h:1", "http://h:1/path", "http://h:x", "http://u@h:1", "http://h:1?q"])
    def test_what_is_no_endpoint_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"endpoint"):
            parse_endpoints([text])
