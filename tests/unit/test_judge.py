"""The verdict of a run: failed before unknown before vacuous, and a pass only if enough was done."""

import io

import pytest

from kvjepsen import judge
from kvjepsen.checking.verdict import Finding, Result, Verdict
from kvjepsen.judge import OK_PER_PHASE_MIN, Phase
from kvjepsen.nemesis import Injury
from kvjepsen.records import FINAL, History, Recorder
from kvjepsen.workloads import WORKLOADS
from kvjepsen.workloads.linear import Linear
from kvjepsen.workloads.workload import Check
from tests.support.recorded import lines_of

PHASES = [Phase("before", 0, 100), Phase("faults", 100, 200), Phase("after", 200, 300), Phase("final", 300, 400)]


def injury(*effects: str) -> Injury:
    return Injury("kill", "SIGKILL", ["n1"], "n1", 110, 120, list(effects))


def history(times: list[int], key: str = "register/0", client: str = "c") -> History:
    """A write at each of these times, which succeeds at once."""
    sink, now = io.BytesIO(), [0]
    recorder = Recorder(sink, lambda: now[0])
    for number, moment in enumerate(times):
        now[0] = moment
        recorder.ok(recorder.invoke(number, "write", key=key, value=number, client=client), revision=number + 1)
    return lines_of(sink)


def enough() -> History:
    return history([*range(OK_PER_PHASE_MIN), *range(100, 100 + OK_PER_PHASE_MIN), *range(200, 200 + OK_PER_PHASE_MIN)])


def too_little(found: History, injuries: list[Injury], *, last_write: bool = True) -> list[str]:
    return judge.too_little(found, PHASES, injuries, faults_wanted=True, last_write=last_write)


def test_a_run_that_did_enough_has_nothing_to_be_doubted() -> None:
    assert too_little(enough(), [injury("election")]) == []


def test_operations_count_for_the_phase_in_which_they_ended() -> None:
    assert judge.ok_by_phase(enough(), PHASES) == dict.fromkeys(("before", "faults", "after"), OK_PER_PHASE_MIN)


def test_final_reads_are_no_operations_of_clients() -> None:
    assert judge.operations(history([1, 2], client=FINAL))["ok"] == 0


@pytest.mark.parametrize(
    ("doubted", "said"),
    [
        (lambda: too_little(history([*range(50), *range(200, 250)]), [injury("election")]), "in the phase 'faults'"),
        (lambda: too_little(enough(), []), "no fault was injected"),
        (lambda: too_little(enough(), [injury()]), "kill of n1 had no effect"),
        (lambda: too_little(enough(), [injury("election")], last_write=False), "no write succeeded"),
    ],
)
def test_what_makes_a_run_vacuous(doubted, said: str) -> None:
    (doubt,) = doubted()
    assert said in doubt


def check(verdict: Verdict, name: str = "staleness") -> tuple[str | None, Check]:
    return "register", Check(name, "a promise", Result(verdict=verdict), {})


def keys(undecided: int) -> tuple[str | None, Check]:
    result = Linear(verdict=Verdict.UNKNOWN, keys=1, ops=9, undecided=undecided)
    return "register", Check("linearizable", "a promise", result, {})


def test_the_verdict_takes_the_worst_first() -> None:
    good, bad, open_ = check(Verdict.VALID), check(Verdict.INVALID), keys(undecided=1)
    assert judge.verdict([good], [], None) == "passed"
    assert judge.verdict([good, bad, open_], ["doubt"], None) == "failed"
    assert judge.verdict([good], ["doubt"], "it did not come back") == "failed"
    assert judge.verdict([good, open_], ["doubt"], None) == "unknown"
    assert judge.verdict([good], ["doubt"], None) == "vacuous"
    # A checker that had nothing to judge is no reason for doubt: staleness without reads that asked for a bound.
    assert judge.verdict([good, check(Verdict.UNKNOWN)], [], None) == "passed"
    assert judge.verdict([good, keys(undecided=0)], ["doubt"], None) == "vacuous"


def nothing_succeeded() -> History:
    """Every node is down: writes end unknown or refused, reads are refused, and no node says anything."""
    sink = io.BytesIO()
    recorder = Recorder(sink)
    for workload in WORKLOADS:
        for number, (f, value) in enumerate((("write", 1), ("read", None), ("delete", None))):
            line = recorder.invoke(
                f"{workload}/{number}", f, key=f"{workload}/0", value=value, client="c", level="quorum"
            )
            if f == "write":
                recorder.info(line, "timeout")
            else:
                recorder.fail(line, "CannotConnect")
    for node in ("n1", "n2", "n3"):
        recorder.observe(node, {"role": None})
    return lines_of(sink)


def test_where_nothing_succeeded_no_check_says_that_its_promise_held() -> None:
    found = judge.checks(nothing_succeeded(), list(WORKLOADS.values()))
    told = {(workload, check.name): judge.check_json(workload, check)["verdict"] for workload, check in found}
    assert {("register", "linearizable"), ("mixed", "linearizable"), (None, "agreement")} <= set(told)
    assert set(told.values()) == {"unknown"}
    assert judge.verdict(found, too_little(nothing_succeeded(), []), None) == "vacuous"


def test_one_answer_is_enough_to_be_judged() -> None:
    sink = io.BytesIO()
    recorder = Recorder(sink)
    recorder.ok(recorder.invoke(1, "read", key="register/0", client="c", level="quorum"), value=None)
    recorder.fail(recorder.invoke(2, "read", key="register/1", client="c", level="quorum"), "no_quorum")
    (check,) = WORKLOADS["register"].checks(lines_of(sink))
    assert check.result.verdict is Verdict.VALID


def test_a_lost_write_is_found_and_named_with_its_key() -> None:
    sink = io.BytesIO()
    recorder = Recorder(sink)
    recorder.ok(
        recorder.invoke(1, "write", key="register/3", value=1, client="c", level="quorum"), revision=5, version=1
    )
    recorder.ok(recorder.invoke(2, "read", key="register/3", client=FINAL, level="quorum", node="n1"), value=None)
    found = judge.checks(lines_of(sink), [WORKLOADS["register"]])
    wrong = {check.name: judge.check_json(workload, check) for workload, check in found}
    for name in ("linearizable", "durability"):
        assert wrong[name]["verdict"] == "invalid"
        assert wrong[name]["findings"][0]["key"] == "register/3"
    assert judge.verdict(found, [], None) == "failed"


def test_a_finding_is_written_with_everything_that_shows_it() -> None:
    result = Result(verdict=Verdict.INVALID, broken=2, findings=(Finding("lost", "gone", (4, 7)),))
    assert judge.check_json("set", Check("set", "stays", result, {7: "set/1"})) == {
        "workload": "set",
        "check": "set",
        "promise": "stays",
        "verdict": "invalid",
        "counts": {},
        "broken": 2,
        "findings": [{"kind": "lost", "problem": "gone", "key": "set/1", "ops": [4, 7]}],
    }
