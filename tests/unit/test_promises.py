"""The checkers of the other promises: what each calls broken, what it does not, and when it has nothing to say."""

from typing import Any

import pytest

from kvjepsen.checking import (
    agreement,
    appends,
    counter,
    durability,
    levels,
    replicas,
    sessions,
    set_full,
    staleness,
    written,
)
from kvjepsen.checking.verdict import FINDINGS_MAX, Findings, Result, Verdict, first, worst
from kvjepsen.records import Observation, Operation
from tests.support.histories import history, op

VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN


def kinds(result: Result) -> list[str]:
    return [finding.kind for finding in result.findings]


def final(value: Any, at: tuple[int, int], **fields: Any) -> Operation:
    return op("read", value, at, client="final", **fields)


class TestDurability:
    WRITES = (op("write", 1, (0, 3), revision=5), op("write", 2, (1, 2), revision=4), op("write", 3, (4, None)))

    @pytest.mark.parametrize(
        ("read", "kind"),
        [
            (final(1, (6, 7), revision=5), None),
            (final(3, (6, 7), revision=8), None),
            (final(None, (6, 7)), "lost"),
            (final(2, (6, 7), revision=4), "stale"),
            (final(9, (6, 7), revision=8), "altered"),
            (final(3, (6, 7), revision=5), "altered"),
            (final(1, (6, 7), revision=5, key="stranger"), "invented"),
        ],
    )
    def test_final_reads(self, read: Operation, kind: str | None) -> None:
        """Written at once, the newest by revision counts, whichever was answered last."""
        result = durability.check(history(*self.WRITES, read))
        assert kinds(result) == ([] if kind is None else [kind])
        assert result.verdict is (VALID if kind is None else INVALID)
        assert (result.acknowledged, result.unknown, result.judged) == (2, 1, 1)
        if kind not in (None, "invented"):
            assert result.witness == (0, 6)

    def test_what_was_refused_must_not_be_there(self) -> None:
        refused = op("write", 9, (4, 5), fail="no_quorum")
        result = durability.check(history(*self.WRITES[:2], refused, final(9, (6, 7), revision=6)))
        assert (kinds(result), result.refused) == (["altered"], 1)

    def test_a_delete_and_a_cas_are_writes(self) -> None:
        writes = (op("write", 1, (0, 1), revision=5), op("cas", [1, 2], (2, 3), revision=6))
        assert durability.check(history(*writes, final(2, (6, 7), revision=6))).verdict is VALID
        gone = op("delete", None, (4, 5), revision=7)
        assert durability.check(history(*writes, gone, final(None, (6, 7)))).verdict is VALID
        assert kinds(durability.check(history(*writes, gone, final(2, (6, 7), revision=6)))) == ["stale"]

    def test_one_revision_twice_is_found_without_a_read(self) -> None:
        writes = (op("write", 1, (0, 1), revision=5), op("write", 1, (2, 3), key="y", revision=5))
        assert kinds(durability.check(history(*writes))) == ["repeated revision"]

    def test_without_revisions_or_final_reads_it_says_nothing(self) -> None:
        assert durability.check(history(*self.WRITES)).verdict is UNKNOWN
        result = durability.check(history(op("write", 1, (0, 1)), final(None, (2, 3))))
        assert (result.verdict, result.unjudged) == (UNKNOWN, 1)


class TestSessions:
    WRITES = (op("write", 1, (0, 1), revision=5, client="a"), op("write", 2, (2, 3), revision=6, client="a"))

    def check(self, *operations: Operation) -> list[str]:
        return kinds(sessions.check(history(*self.WRITES, *operations)))

    def test_monotonic_reads(self) -> None:
        new, old = op("read", 2, (4, 5), revision=6, client="b"), op("read", 1, (6, 7), revision=5, client="b")
        assert self.check(new, old) == ["monotonic reads"]
        old.client = "c"
        assert self.check(new, old) == []

    def test_read_your_writes(self) -> None:
        assert self.check(op("read", 1, (4, 5), revision=5, client="a")) == ["read your writes"]
        assert self.check(op("read", None, (4, 5), client="a")) == ["read your writes"]
        assert self.check(op("read", None, (4, 5), client="a"), op("delete", None, (6, None))) == ["read your writes"]

    def test_a_session_outlives_its_processes(self) -> None:
        assert self.check(op("read", 1, (4, 5), revision=5, client="a", process=99)) == ["read your writes"]

    def test_what_another_key_implies(self) -> None:
        known = op("read", 1, (4, 5), key="y", revision=9, client="b")
        assert self.check(known, op("read", 1, (6, 7), revision=5, client="b")) == ["monotonic reads"]

    def test_monotonic_writes(self) -> None:
        assert self.check(op("write", 3, (4, 5), key="y", revision=2, client="a")) == ["monotonic writes"]

    def test_writes_follow_reads(self) -> None:
        read = op("read", 2, (4, 5), revision=6, client="b", level="one")
        assert self.check(read, op("write", 3, (6, 7), key="y", revision=3, client="b")) == ["writes follow reads"]
        assert self.check(read, op("write", 3, (6, 7), key="y", revision=7, client="b")) == []

    def test_reads_at_one_promise_what_they_asked_for(self) -> None:
        def old(asked: int | None) -> Operation:
            return op("read", 1, (4, 5), revision=5, client="a", level="one", asked_revision=asked)

        assert self.check(old(None)) == []
        assert self.check(old(5)) == []
        assert self.check(old(6)) == ["minimal revision"]

    def test_operations_of_a_session_that_overlap_promise_nothing(self) -> None:
        assert (
            self.check(op("read", 2, (4, 7), revision=6, client="b"), op("read", 1, (5, 6), revision=5, client="b"))
            == []
        )

    def test_a_delete_of_unknown_outcome_may_be_what_is_shown(self) -> None:
        assert self.check(op("delete", None, (4, None)), op("read", None, (5, 6), client="a")) == []

    def test_counts(self) -> None:
        result = sessions.check(history(*self.WRITES, op("read", 1, (4, 5), revision=5, client="b", level="one")))
        assert (result.verdict, result.sessions, result.reads, result.writes) == (VALID, 2, 0, 2)
        assert sessions.check(history()).verdict is UNKNOWN


class TestLevels:
    ALL = (op("write", 1, (0, 1), revision=5, level="all"), op("write", 2, (2, 3), revision=6, level="all"))

    def test_written_at_all_read_at_one(self) -> None:
        stale = op("read", 1, (4, 5), revision=5, level="one")
        result = levels.check(history(*self.ALL, stale))
        assert (kinds(result), result.witness, result.one_after_all) == (["all then one"], (2, 4), 1)
        assert levels.check(history(*self.ALL, op("read", 3, (4, 5), revision=9, level="one"))).verdict is VALID

    def test_a_read_that_began_before_the_answer_may_miss_it(self) -> None:
        early = op("read", 1, (4, 7), revision=5, level="one")
        late = op("write", 3, (5, 6), revision=9, level="all")
        assert levels.check(history(self.ALL[0], early, late)).verdict is VALID

    def test_a_write_of_this_node_that_is_not_in_effect_yet_may_cover_it(self) -> None:
        assert levels.check(history(*self.ALL, op("read", 9, (4, 5), level="one"))).verdict is VALID

    def test_written_at_one_read_at_all(self) -> None:
        accepted = op("write", 1, (0, 9), revision=5, level="one", answered=1)
        missed = op("read", None, (2, 3), level="all")
        assert kinds(levels.check(history(accepted, missed))) == ["one then all"]
        shown = op("read", 1, (2, 3), revision=5, level="all")
        result = levels.check(history(accepted, shown))
        assert (result.verdict, result.all_after_one) == (VALID, 1)

    def test_a_superseded_write_need_not_show(self) -> None:
        superseded = op("write", 1, (0, 9), fail="superseded", level="one", answered=1)
        assert levels.check(history(superseded, op("read", None, (2, 3), level="all"))).verdict is UNKNOWN

    def test_other_levels_are_not_its_business(self) -> None:
        quorum = op("write", 1, (0, 1), revision=5, level="quorum")
        assert levels.check(history(quorum, op("read", None, (2, 3), level="one"))).verdict is UNKNOWN


class TestStaleness:
    WRITES = (
        op("write", 1, (0, 1), revision=5),
        op("write", 2, (2, 10), revision=6),
        op("write", 3, (12, 13), revision=7),
    )

    def check(self, *reads: Operation, writes: tuple[Operation, ...] = WRITES) -> staleness.Staleness:
        return staleness.check(history(*writes, *reads))

    def test_the_age_is_counted_from_the_first_newer_answer(self) -> None:
        result = self.check(op("read", 1, (40, 41), revision=5, level="one"))
        assert (result.reads, result.stale, result.worst_ms, result.verdict) == (1, 1, 30.0, UNKNOWN)

    def test_what_was_not_acknowledged_yet_does_not_age(self) -> None:
        assert self.check(op("read", 1, (4, 5), revision=5, level="one")).stale == 0
        assert self.check(op("read", 3, (40, 41), revision=7, level="one")).stale == 0

    def test_a_bound_that_was_asked_for(self) -> None:
        def bounded(limit_ms: int) -> Operation:
            return op("read", 1, (40, 41), revision=5, level="one", max_staleness_ms=limit_ms)

        assert self.check(bounded(30)).verdict is VALID
        result = self.check(bounded(29))
        assert (kinds(result), result.witness, result.bounded) == (["too stale"], (2, 40), 1)

    def test_an_absent_key(self) -> None:
        absent = op("read", None, (40, 41), level="one", max_staleness_ms=10)
        assert self.check(absent).worst_ms == 39.0
        assert self.check(absent, writes=(*self.WRITES, op("delete", None, (20, 21), revision=8))).worst_ms == 0
        assert self.check(absent, writes=(*self.WRITES, op("delete", None, (20, None)))).worst_ms == 0
        newer = (*self.WRITES, op("delete", None, (20, 21), revision=8), op("write", 4, (22, 23), revision=9))
        assert self.check(absent, writes=newer).worst_ms == 17.0

    def test_other_reads_are_not_its_business(self) -> None:
        assert self.check(op("read", 1, (40, 41), revision=5), op("read", 9, (42, 43), level="one")).reads == 0

    def test_quantiles(self) -> None:
        reads = [op("read", 1, (40 + 2 * n, 41 + 2 * n), revision=5, level="one") for n in range(100)]
        result = self.check(*reads)
        assert (result.median_ms, result.p99_ms, result.worst_ms) == (130.0, 228.0, 228.0)


class TestReplicas:
    def check(self, *reads: tuple[str, Any, int | None]) -> replicas.Replicas:
        made = [
            final(value, (2 * at, 2 * at + 1), node=node, revision=revision, level="one")
            for at, (node, value, revision) in enumerate(reads)
        ]
        return replicas.check(history(*made))

    def test_all_nodes_show_the_same(self) -> None:
        result = self.check(("n1", 5, 7), ("n2", 5, 7), ("n3", 5, 7))
        assert (result.verdict, result.keys, result.nodes, result.missing) == (VALID, 1, 3, 0)

    @pytest.mark.parametrize("other", [(6, 7), (5, 8), (None, None)])
    def test_one_shows_something_else(self, other: tuple[Any, int | None]) -> None:
        result = self.check(("n1", 5, 7), ("n2", *other), ("n3", 5, 7))
        assert (kinds(result), result.witness) == (["divergence"], (0, 2))
        assert "n2" in result.findings[0].problem

    def test_the_last_read_of_a_node_counts(self) -> None:
        assert self.check(("n1", 5, 7), ("n2", 4, 6), ("n2", 5, 7)).verdict is VALID

    def test_one_node_proves_nothing_nor_do_keys_that_were_not_read_everywhere(self) -> None:
        assert self.check(("n1", 5, 7)).verdict is UNKNOWN
        lonely = final(1, (20, 21), node="n1", revision=1, level="one", key="lonely")
        both = [final(5, (2 * n, 2 * n + 1), node=f"n{n}", revision=7, level="one") for n in range(2)]
        result = replicas.check(history(*both, lonely))
        assert (result.verdict, result.missing) == (UNKNOWN, 1)

    def test_a_read_at_quorum_does_not_speak_for_its_node(self) -> None:
        reads = [final(5, (2 * n, 2 * n + 1), node=f"n{n}", revision=7, level="quorum") for n in range(3)]
        assert replicas.check(history(*reads)).verdict is UNKNOWN


class TestSetFull:
    ADDS = (op("add", 1, (0, 1)), op("add", 2, (2, 3)), op("add", 3, (4, None)), op("add", 4, (5, 6), fail="no_quorum"))

    def check(self, *reads: Operation) -> set_full.SetFull:
        return set_full.check(history(*self.ADDS, *reads))

    def test_a_sound_set(self) -> None:
        result = self.check(op("read", [1, 2, 3], (10, 11)))
        assert (result.verdict, result.attempted, result.acknowledged) == (VALID, 4, 2)
        assert (result.stable, result.recovered, result.never_read) == (3, 1, 0)

    def test_lost(self) -> None:
        result = self.check(op("read", [1, 2], (10, 11)), op("read", [2], (12, 13)))
        assert (kinds(result), result.lost, result.witness) == (["lost"], 1, (0, 10, 12))

    def test_lost_although_never_shown(self) -> None:
        result = self.check(op("read", [2], (10, 11)))
        assert (kinds(result), result.witness) == (["lost"], (0, 10))

    def test_stale(self) -> None:
        result = self.check(op("read", [2], (10, 11)), op("read", [1, 2], (12, 13)))
        assert (kinds(result), result.stale, result.stable) == (["stale"], 1, 2)

    def test_known_from_a_read_on(self) -> None:
        result = self.check(
            op("read", [1, 2, 3], (10, 11)), op("read", [1, 2], (12, 13)), op("read", [1, 2, 3], (14, 15))
        )
        assert kinds(result) == ["stale"]

    def test_a_read_at_one_may_be_behind_but_a_final_one_is_not(self) -> None:
        behind = op("read", [2], (12, 13), level="one")
        assert self.check(op("read", [1, 2], (10, 11)), behind).verdict is VALID
        behind.client = "final"
        assert kinds(self.check(op("read", [1, 2], (10, 11)), behind)) == ["lost"]

    def test_unexpected(self) -> None:
        assert kinds(self.check(op("read", [1, 2, 4], (10, 11)))) == ["unexpected"]
        assert kinds(self.check(op("read", [1, 2, 99], (10, 11)))) == ["unexpected"]

    def test_duplicated(self) -> None:
        assert kinds(self.check(op("read", [1, 2, 2], (10, 11)))) == ["duplicated"]

    def test_an_add_during_the_read_is_in_it_or_not(self) -> None:
        for shown in ([1, 2], [1, 2, 5]):
            assert self.check(op("read", shown, (10, 13)), op("add", 5, (11, 12))).verdict is VALID

    def test_never_read(self) -> None:
        assert self.check().verdict is UNKNOWN


class TestCounter:
    ADDS = (op("increment", 1, (0, 1)), op("increment", 5, (2, 9)), op("increment", 2, (10, None)))

    def check(self, *reads: Operation, **options: bool) -> list[str]:
        return kinds(counter.check(history(*self.ADDS, *reads), **options))

    @pytest.mark.parametrize(("shown", "right"), [(None, False), (0, False), (1, True), (6, True), (7, False)])
    def test_bounds_while_it_runs(self, shown: int | None, right: bool) -> None:
        assert (self.check(op("read", shown, (4, 5))) == []) is right

    @pytest.mark.parametrize(("shown", "right"), [(5, False), (6, True), (7, False), (8, True), (9, False)])
    def test_the_final_value_is_a_sum(self, shown: int, right: bool) -> None:
        assert (self.check(final(shown, (20, 21))) == []) is right

    def test_at_least_once_may_be_too_high(self) -> None:
        assert self.check(final(13, (20, 21)), exactly_once=False) == []
        assert self.check(final(5, (20, 21)), exactly_once=False) == ["too low"]

    def test_increments_may_be_negative_or_nothing(self) -> None:
        adds = (
            op("increment", None, (0, 1)),
            op("increment", -3, (2, None)),
            op("increment", 4, (4, 5), fail="no_quorum"),
        )
        for shown, right in ((1, True), (-2, True), (0, False), (-3, False), (5, False)):
            assert (kinds(counter.check(history(*adds, final(shown, (6, 7))))) == []) is right

    @pytest.mark.parametrize(
        ("stands", "wrong"), [(0, ["too low"]), (2, ["too low"]), (3, []), (8, []), (9, ["too high"]), (None, [])]
    )
    def test_what_an_increment_was_told_has_itself_in_it(self, stands: int | None, wrong: list[str]) -> None:
        told = op("increment", 2, (3, 4), shown={"stands": stands})
        adds = (op("increment", 1, (0, 1)), op("increment", 5, (2, 9)), told)
        assert kinds(counter.check(history(*adds))) == wrong

    def test_two_increments_are_not_told_the_same(self) -> None:
        told = [op("increment", 1, at, shown={"stands": 2}) for at in ((0, 5), (1, 6))]
        assert kinds(counter.check(history(*told))) == ["told twice"]
        # Where a counter also falls it may be; and a door that repeats increments promises nothing.
        fallen = [*told, op("increment", -1, (2, 7))]
        assert kinds(counter.check(history(*fallen))) == []
        assert kinds(counter.check(history(*told), exactly_once=False)) == []

    def test_other_keys_and_sums_too_wide_to_try(self) -> None:
        wide = (op("increment", 1 << 21, (0, None)), op("write", 5, (1, 2), key="y"), op("read", 5, (3, 4), key="y"))
        result = counter.check(history(*wide, final(77, (6, 7))))
        assert (result.verdict, result.reads) == (VALID, 1)

    def test_reads_at_one_are_not_judged_and_nothing_is_unknown(self) -> None:
        assert self.check(op("read", 99, (4, 5), level="one")) == []
        result = counter.check(history(*self.ADDS))
        assert (result.verdict, result.acknowledged, result.unknown, result.reads) == (UNKNOWN, 6, 2, 0)


class TestWritten:
    """Reads at ONE show what somebody has asked for."""

    WRITES = (
        op("write", "a", (0, 1)),
        op("cas", ["a", "b"], (2, None)),
        op("write", "c", (3, 4), fail="no_quorum"),
        op("write", "late", (20, 21)),
    )

    @pytest.mark.parametrize(
        ("shown", "wrong"),
        [
            ("a", []),
            ("b", []),
            (None, []),
            ("c", ["refused"]),
            ("z", ["never asked for"]),
            ("late", ["never asked for"]),
        ],
    )
    def test_a_value(self, shown: str | None, wrong: list[str]) -> None:
        assert kinds(written.check(history(*self.WRITES, op("read", shown, (7, 8), level="one")))) == wrong

    def test_of_another_key_is_not_one_of_this(self) -> None:
        assert kinds(written.check(history(*self.WRITES, op("read", "a", (7, 8), key="y", level="one")))) == [
            "never asked for"
        ]

    def test_other_levels_are_judged_elsewhere(self) -> None:
        result = written.check(history(*self.WRITES, op("read", "z", (7, 8), level="quorum")))
        assert (result.verdict, result.reads) == (UNKNOWN, 0)


class TestAppends:
    ADDS = (
        op("append", "a", (0, 1)),
        op("append", "b", (2, 5)),
        op("append", "c", (3, 4)),
        op("append", "d", (6, None)),
    )

    def check(self, *reads: Operation) -> list[str]:
        return kinds(appends.check(history(*self.ADDS, *reads)))

    def test_a_sound_list(self) -> None:
        reads = (op("read", ["a"], (7, 8), level="one"), op("read", ["a", "c", "b"], (9, 10)))
        result = appends.check(history(*self.ADDS, *reads))
        assert (result.verdict, result.lists, result.appends, result.reads, result.shown) == (VALID, 1, 4, 2, 3)

    @pytest.mark.parametrize(
        ("shown", "kind"),
        [
            (["a", "b"], "lost"),
            (None, "lost"),
            (["a", "b", "c", "a"], "duplicated"),
            (["a", "b", "c", "x"], "unexpected"),
            (["b", "a", "c"], "order"),
        ],
    )
    def test_what_one_read_can_show(self, shown: list[str] | None, kind: str) -> None:
        assert kind in self.check(op("read", shown, (9, 10)))

    def test_two_orders(self) -> None:
        reads = (op("read", ["a", "c", "b"], (9, 10)), op("read", ["a", "b", "c", "d"], (11, 12)))
        assert "order" in self.check(*reads)

    def test_a_shorter_read_after_a_longer_one(self) -> None:
        longer = op("read", ["a", "b", "c", "d"], (9, 10))
        assert self.check(longer, op("read", ["a", "b", "c"], (11, 12))) == ["stale"]
        assert self.check(longer, op("read", ["a", "b", "c"], (11, 12), level="one")) == []

    def test_shown_before_it_was_asked_for(self) -> None:
        early = op("read", ["z"], (0, 1), key="y")
        assert kinds(appends.check(history(early, op("append", "z", (2, 3), key="y")))) == ["too early"]

    def test_a_refused_append_must_not_show(self) -> None:
        refused = op("append", "z", (0, 1), key="y", fail="no_quorum")
        assert kinds(appends.check(history(refused, op("read", ["z"], (2, 3), key="y")))) == ["unexpected"]

    def test_clients_that_append_one_element_twice_cannot_be_judged(self) -> None:
        with pytest.raises(ValueError, match="append the same element"):
            appends.check(history(op("append", 1, (0, 1)), op("append", 1, (2, 3)), op("read", [1], (4, 5))))

    def test_nothing_read(self) -> None:
        assert appends.check(history(*self.ADDS)).verdict is UNKNOWN


class TestAgreement:
    @staticmethod
    def seen(i: int, node: str, **view: Any) -> Observation:
        return Observation(i, None, node, view)

    def test_sound(self) -> None:
        result = agreement.check(
            [
                self.seen(0, "n1", term=1, role="leader", digest={"index": 8, "value": "aa"}),
                self.seen(1, "n2", term=1, role="follower", digest={"index": 8, "value": "aa"}),
                self.seen(2, "n2", term=2, role="leader", digest={"index": 16, "value": "bb"}),
                self.seen(3, "n1", term=1, role="leader"),
            ]
        )
        assert (result.verdict, result.observations, result.leaders, result.compared) == (VALID, 4, 2, 1)

    def test_two_leaders_of_one_term(self) -> None:
        result = agreement.check([self.seen(0, "n1", term=1, role="leader"), self.seen(5, "n2", term=1, role="leader")])
        assert (kinds(result), result.witness) == (["two leaders"], (0, 5))

    def test_a_term_that_went_back(self) -> None:
        result = agreement.check([self.seen(0, "n1", term=2), self.seen(1, "n2", term=1), self.seen(2, "n1", term=1)])
        assert (kinds(result), result.witness) == (["term went back"], (0, 2))

    def test_a_node_whose_disk_was_taken_away_begins_anew_and_nobody_else(self) -> None:
        views = [self.seen(0, "n1", term=2), self.seen(1, "n2", term=2), self.seen(2, "n1", wiped=True)]
        assert agreement.check([*views, self.seen(3, "n1", term=0), self.seen(4, "n1", term=2)]).verdict is VALID
        assert kinds(agreement.check([*views, self.seen(3, "n2", term=0)])) == ["term went back"]

    @pytest.mark.parametrize("other", ["n1", "n2"])
    def test_two_digests_at_one_index(self, other: str) -> None:
        views = [
            self.seen(0, "n1", digest={"index": 8, "value": "aa"}),
            self.seen(1, other, digest={"index": 8, "value": "b"}),
        ]
        assert kinds(agreement.check(views)) == ["divergence"]

    @pytest.mark.parametrize("view", [None, {"role": None}, {"role": "follower", "term": 3}])
    def test_nothing_seen_that_could_be_compared(self, view: dict[str, Any] | None) -> None:
        views = [] if view is None else [self.seen(at, f"n{at}", **view) for at in range(3)]
        assert agreement.check(views).verdict is UNKNOWN


class TestVerdicts:
    def test_the_worst_counts(self) -> None:
        assert worst([VALID, UNKNOWN, INVALID]) is INVALID
        assert worst([VALID, UNKNOWN]) is UNKNOWN
        assert worst([VALID]) is VALID
        assert worst([]) is UNKNOWN

    def test_findings_are_counted_and_a_few_kept(self) -> None:
        found = Findings()
        for number in range(100):
            found.note("lost", "gone", number)
        assert (found.of("lost"), len(first(found))) == (100, FINDINGS_MAX)
