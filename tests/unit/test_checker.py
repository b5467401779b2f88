"""What is linearizable and what is not, by hand: the search, its bounds, and the window that it shows."""

import pytest

from kvjepsen import checker
from kvjepsen.checker import Bounds, Disagreement, check, concurrency
from kvjepsen.checking.models import MODELS, UnknownOperation, calls_of, loosened
from kvjepsen.checking.revisions import Judgement
from kvjepsen.checking.search import search
from kvjepsen.checking.verdict import Verdict
from kvjepsen.checking.witness import witness
from kvjepsen.records import Operation
from tests.support.histories import history, op

VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN


def verdict(*operations: Operation) -> Verdict:
    return check(history(*operations)).verdict


class TestRegister:
    def test_reads_show_the_last_write(self) -> None:
        assert verdict(op("read", None, (0, 1)), op("write", 1, (2, 3)), op("read", 1, (4, 5))) is VALID

    def test_a_key_begins_absent(self) -> None:
        assert verdict(op("read", 1, (0, 1))) is INVALID

    def test_a_stale_read(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("write", 2, (2, 3)), op("read", 1, (4, 5))) is INVALID

    def test_a_read_may_show_either_of_two_writes_at_once(self) -> None:
        for shown in (1, 2):
            assert verdict(op("write", 1, (0, 3)), op("write", 2, (1, 2)), op("read", shown, (4, 5))) is VALID

    def test_but_not_first_one_and_then_the_other_and_back(self) -> None:
        writes = (op("write", 1, (0, 9)), op("write", 2, (1, 8)))
        assert verdict(*writes, op("read", 1, (2, 3)), op("read", 2, (4, 5))) is VALID
        assert verdict(*writes, op("read", 1, (2, 3)), op("read", 2, (4, 5)), op("read", 1, (6, 7))) is INVALID

    def test_a_read_during_a_write_may_show_the_value_before_it(self) -> None:
        assert verdict(op("write", 1, (0, 5)), op("read", None, (1, 2)), op("read", 1, (3, 4))) is VALID
        assert verdict(op("write", 1, (0, 5)), op("read", 1, (1, 2)), op("read", None, (3, 4))) is INVALID

    def test_a_cas_that_succeeded_found_its_value(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("cas", [1, 2], (2, 3)), op("read", 2, (4, 5))) is VALID
        assert verdict(op("write", 3, (0, 1)), op("cas", [1, 2], (2, 3))) is INVALID

    def test_a_cas_that_failed_found_another_value(self) -> None:
        failed = op("cas", [1, 2], (2, 3), fail="precondition_failed")
        assert verdict(op("write", 3, (0, 1)), failed) is VALID
        assert verdict(op("write", 1, (0, 1)), failed) is INVALID

    def test_other_failures_tell_nothing(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("cas", [1, 2], (2, 3), fail="no_quorum")) is VALID

    def test_what_failed_must_not_show(self) -> None:
        assert verdict(op("write", 1, (0, 1), fail="no_quorum"), op("read", 1, (2, 3))) is INVALID

    def test_delete_and_recreate(self) -> None:
        gone = (op("write", 1, (0, 1)), op("delete", None, (2, 3)))
        assert verdict(*gone, op("read", None, (4, 5)), op("write", 2, (6, 7)), op("read", 2, (8, 9))) is VALID
        assert verdict(*gone, op("read", 1, (4, 5))) is INVALID

    def test_a_delete_that_failed_found_nothing(self) -> None:
        failed = op("delete", None, (2, 3), fail="key_not_found")
        assert verdict(failed) is VALID
        assert verdict(op("write", 1, (0, 1)), failed) is INVALID

    def test_a_write_of_null_deletes(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("write", None, (2, 3)), op("read", None, (4, 5))) is VALID

    def test_an_append_puts_behind(self) -> None:
        appends = (op("append", "a", (0, 1)), op("append", "b", (2, 3)))
        assert verdict(*appends, op("read", "ab", (4, 5))) is VALID
        assert verdict(*appends, op("read", "ba", (4, 5))) is INVALID

    def test_json_values_are_told_apart(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("read", True, (2, 3))) is INVALID
        assert verdict(op("write", {"a": [1]}, (0, 1)), op("read", {"a": [1]}, (2, 3))) is VALID


class TestUnknownOutcomes:
    def test_it_may_have_taken_effect_or_not(self) -> None:
        lost = op("write", 1, (0, None))
        assert verdict(lost, op("read", 1, (1, 2))) is VALID
        assert verdict(lost, op("read", None, (1, 2))) is VALID

    def test_it_may_take_effect_late_but_once(self) -> None:
        lost, other = op("write", 1, (0, None)), op("write", 2, (1, 2))
        assert verdict(lost, other, op("read", 2, (3, 4)), op("read", 1, (5, 6))) is VALID
        again = (op("write", 3, (7, 8)), op("read", 1, (9, 10)))
        assert verdict(lost, other, op("read", 1, (3, 4)), *again) is INVALID

    def test_not_before_it_was_asked_for(self) -> None:
        assert verdict(op("read", 1, (0, 1)), op("write", 1, (2, None))) is INVALID

    def test_a_chain_of_them(self) -> None:
        chain = (op("write", 1, (0, None)), op("cas", [1, 2], (1, None)), op("cas", [2, 3], (2, None)))
        assert verdict(*chain, op("read", 3, (3, 4))) is VALID
        assert verdict(chain[0], chain[2], op("read", 3, (3, 4))) is INVALID

    def test_one_seen_only_by_a_cas_that_failed(self) -> None:
        write, failed = op("write", 1, (0, 1)), op("cas", [1, 5], (3, 4), fail="precondition_failed")
        assert verdict(write, op("write", 9, (2, None)), failed) is VALID

    def test_a_read_without_an_answer_tells_nothing(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("read", None, (2, None))) is VALID


class TestRevisions:
    def test_writes_stand_in_the_order_of_their_revisions(self) -> None:
        writes = (op("write", 1, (0, 3), revision=6), op("write", 2, (1, 2), revision=5))
        assert verdict(*writes, op("read", 1, (4, 5), revision=6)) is VALID
        assert verdict(*writes, op("read", 2, (4, 5), revision=5)) is INVALID

    def test_one_that_contradicts_real_time(self) -> None:
        assert verdict(op("write", 1, (0, 1), revision=6), op("write", 2, (2, 3), revision=5)) is INVALID

    def test_given_twice(self) -> None:
        assert verdict(op("write", 1, (0, 3), revision=5), op("write", 2, (1, 2), revision=5)) is INVALID

    def test_a_read_tells_the_revision_of_a_write_of_unknown_outcome(self) -> None:
        lost, read = op("write", 1, (0, None)), op("read", 1, (1, 2), revision=7)
        assert verdict(lost, read, op("write", 2, (3, 4), revision=8)) is VALID
        assert verdict(lost, read, op("write", 2, (3, 4), revision=6)) is INVALID

    def test_a_value_at_the_revision_of_another_application(self) -> None:
        """Applied twice: acknowledged at 5, and there again at 6."""
        assert verdict(op("write", 1, (0, 1), revision=5), op("read", 1, (2, 3), revision=6)) is INVALID

    def test_versions_count(self) -> None:
        first = op("write", 1, (0, 1), revision=5, version=1)
        assert verdict(first, op("write", 2, (2, 3), revision=6, version=2)) is VALID
        assert verdict(first, op("write", 2, (2, 3), revision=6, version=3)) is INVALID
        unseen = op("write", 9, (4, None))
        assert verdict(first, unseen, op("write", 2, (5, 6), revision=7, version=3)) is VALID
        recreated = (op("delete", None, (2, 3), revision=6), op("write", 2, (4, 5), revision=7, version=1))
        assert verdict(first, *recreated) is VALID

    def test_conditions(self) -> None:
        first = op("write", 1, (0, 1), revision=5)
        assert verdict(first, op("write", 2, (2, 3), revision=6, asked_revision=5)) is VALID
        assert verdict(first, op("write", 2, (2, 3), revision=6, asked_revision=4)) is INVALID
        assert verdict(first, op("write", 2, (2, 3), revision=6, asked_revision=0)) is INVALID
        failed = op("write", 2, (2, 3), fail="precondition_failed", asked_revision=5)
        assert verdict(first, failed) is INVALID
        assert verdict(first, op("write", 3, (4, None)), op("read", 1, (5, 6), revision=5)) is VALID

    def test_a_condition_that_failed_says_which_revision_it_was_not(self) -> None:
        lost = op("write", 1, (0, None))
        failed = op("write", 2, (1, 2), fail="precondition_failed", asked_revision=7)
        assert verdict(lost, failed, op("read", 1, (3, 4), revision=8)) is VALID
        assert verdict(lost, failed, op("read", 1, (3, 4), revision=7)) is VALID  # it came in between
        seen = op("read", 1, (1, 2))
        assert verdict(lost, seen, op("write", 2, (3, 4), fail="precondition_failed", asked_revision=7)) is VALID
        later = op("read", 1, (5, 6), revision=7)
        assert (
            verdict(lost, seen, op("write", 2, (3, 4), fail="precondition_failed", asked_revision=7), later) is INVALID
        )

    def test_a_resolved_write_took_effect_before_it_was_resolved(self) -> None:
        resolved = op("write", 1, (0, 5), level="one", revision=5, answered=1)
        assert verdict(resolved, op("read", None, (2, 3))) is VALID
        assert verdict(resolved, op("read", None, (6, 7))) is INVALID

    def test_an_info_with_a_revision_took_effect_some_time(self) -> None:
        assert verdict(op("write", 1, (0, None), revision=5), op("read", None, (1, 2))) is VALID
        after = (op("write", 2, (1, 2), revision=7), op("read", 1, (3, 4), revision=5))
        assert verdict(op("write", 1, (0, None), revision=5), *after) is INVALID


class TestLevels:
    def test_reads_at_one_do_not_count(self) -> None:
        assert verdict(op("write", 1, (0, 1)), op("read", None, (2, 3), level="one")) is VALID
        for level in ("quorum", "all", None):
            assert verdict(op("write", 1, (0, 1)), op("read", None, (2, 3), level=level)) is INVALID


class TestKeys:
    def test_each_by_itself(self) -> None:
        result = check(history(op("write", 1, (0, 1), key="a"), op("read", None, (2, 3), key="b")))
        assert (result.verdict, result.keys, result.ops, result.witness) == (VALID, 2, 2, None)

    def test_the_one_that_fails_first_is_shown_and_all_are_named(self) -> None:
        late = (op("write", 1, (0, 1), key="a"), op("read", None, (10, 11), key="a"))
        soon = (op("write", 1, (2, 3), key="b"), op("read", None, (4, 5), key="b"))
        result = check(history(*late, *soon, op("read", None, (6, 7), key="c")))
        assert result.failed == ("a", "b")
        assert result.witness == ("b", (2, 4))

    def test_what_the_model_does_not_know_is_refused(self) -> None:
        with pytest.raises(UnknownOperation, match="operation 4 is 'append'"):
            check(history(op("append", "a", (4, 5))), "register")
        with pytest.raises(UnknownOperation, match="'add'"):
            check(history(op("add", 1)))
        with pytest.raises(UnknownOperation, match="not a string"):
            check(history(op("append", 1)))


def hard(writes: int = 26) -> list[Operation]:
    """Many writes at once, and reads that only all orders together refute."""
    concurrent = [op("write", value, (value, 100 + value)) for value in range(1, writes + 1)]
    reads = [op("read", value % 13 + 1, (30 + value, 200 + value)) for value in range(14)]
    return [*concurrent, *reads, op("read", 5, (300, 301)), op("read", 6, (302, 303)), op("read", 5, (304, 305))]


class TestBounds:
    def test_time(self) -> None:
        now = iter(range(1_000_000))
        result = check(history(*hard()), bounds=Bounds(seconds_max=3), clock=lambda: next(now))
        assert (result.verdict, result.undecided) == (UNKNOWN, (("x", "not decided within 3 s"),))

    def test_states(self) -> None:
        result = check(history(*hard()), bounds=Bounds(states_max=100))
        assert result.undecided == (("x", "more than 100 configurations"),)

    def test_operations_and_concurrency(self) -> None:
        two = history(op("write", 1, (0, 3)), op("write", 2, (1, 2)))
        assert check(two, bounds=Bounds(ops_max=1)).undecided == (("x", "2 operations, more than 1"),)
        assert check(two, bounds=Bounds(concurrent_max=1)).undecided == (("x", "2 operations at once, more than 1"),)
        assert check(two, bounds=Bounds(ops_max=2, concurrent_max=2)).verdict is VALID

    def test_operations_that_never_ended_are_not_under_way(self) -> None:
        operations = [op("write", 1, (0, None)), op("write", 2, (1, 4)), op("read", 2, (2, 3))]
        assert concurrency(calls_of(operations, MODELS["kv"])) == 2

    def test_one_key_that_fails_weighs_more_than_one_undecided(self) -> None:
        bad = (op("write", 1, (400, 401), key="y"), op("read", None, (402, 403), key="y"))
        result = check(history(*hard(), *bad), bounds=Bounds(states_max=100))
        assert result.verdict is INVALID
        assert result.undecided
        assert result.witness == ("y", (400, 402))

    def test_what_the_search_leaves_open_the_revisions_may_decide(self) -> None:
        writes = [op("write", value, (value, 100 + value), revision=value) for value in range(1, 20)]
        none = Bounds(ops_max=0)
        assert check(history(*writes), bounds=none).verdict is VALID
        stale = op("read", 3, (200, 201), revision=3)
        result = check(history(*writes, stale), bounds=none)
        assert (result.verdict, result.failed) == (INVALID, ("x",))
        assert result.witness is not None
        assert 200 in result.witness.ops

    def test_the_two_checkers_must_not_contradict_each_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checker, "check_key", lambda _: Judgement(INVALID))
        with pytest.raises(Disagreement, match="key 'x'"):
            check(history(op("write", 1, (0, 1), revision=5)))


class TestWitness:
    def window(self, *operations: Operation) -> tuple[int, ...]:
        result = check(history(*operations))
        assert result.witness is not None
        return result.witness.ops

    def test_a_value_that_nobody_wrote(self) -> None:
        others = [op("write", value, (2 * value, 2 * value + 1)) for value in range(20)]
        assert self.window(*others, op("read", 99, (50, 51))) == (50,)

    def test_a_stale_read_needs_the_old_and_the_new_write(self) -> None:
        before = [op("write", value, (2 * value, 2 * value + 1)) for value in range(20)]
        after = [op("write", value, (2 * value, 2 * value + 1)) for value in range(40, 60)]
        found = self.window(
            *before, op("write", 30, (60, 61)), op("write", 31, (62, 63)), op("read", 30, (64, 65)), *after
        )
        assert found == (60, 62, 64)

    def test_revisions_make_it_shorter(self) -> None:
        writes = [op("write", value, (2 * value, 2 * value + 1), revision=value + 1) for value in range(20)]
        newer, read = self.window(*writes, op("read", 7, (60, 61), revision=8))
        assert (newer > 14, read) == (True, 60)

    def test_of_versions_alone(self) -> None:
        writes = [
            op("write", value, (2 * value, 2 * value + 1), revision=value + 1, version=value + 1) for value in range(5)
        ]
        found = self.window(*writes, op("read", 4, (60, 61), revision=5, version=9))
        assert found[-1] == 60

    def test_what_it_does_not_name_may_have_happened_at_any_time(self) -> None:
        """It fails also when all others are loosened; without any one of its own it does not."""
        operations = [
            op("write", 1, (0, 5)),
            op("write", 2, (1, 4)),
            op("read", 1, (2, 3)),
            op("read", 2, (6, 7)),
            op("cas", [2, 3], (8, 11)),
            op("write", 4, (9, None)),
            op("read", 3, (10, 13)),
            op("read", 2, (14, 15)),
        ]
        calls = calls_of(operations, MODELS["kv"])
        outcome = search(calls)
        assert outcome.verdict is INVALID
        needed = {call.i for call in witness(calls, outcome.reached)}
        for left_out in [None, *needed]:
            kept = needed - {left_out}
            trial = [
                call if call.i in kept else loosened(call) for call in calls if call.i in kept or not call.observes
            ]
            assert search(trial).verdict is (INVALID if left_out is None else VALID)

    def test_time_that_runs_out_leaves_a_longer_one(self) -> None:
        operations = [op("write", 1, (0, 1)), op("write", 2, (2, 3)), op("read", 1, (4, 5)), op("write", 3, (6, 7))]
        calls = calls_of(operations, MODELS["kv"])
        found = witness(calls, search(calls).reached, seconds_max=0.0, clock=lambda: 0.0)
        assert [call.i for call in found] == [0, 2, 4, 6]


def test_the_order_that_explains_a_history_is_told() -> None:
    operations = [op("write", 1, (0, 5)), op("write", 2, (1, 4)), op("read", 1, (2, 3)), op("write", 3, (6, None))]
    outcome = search(calls_of(operations, MODELS["kv"]))
    assert outcome.verdict is VALID
    assert [call.i for call in outcome.order] == [0, 2, 1]
