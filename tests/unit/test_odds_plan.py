"""The pure parts of `kv chaos odds`: plan, results, one write at many nodes, verdict, page."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kvjepsen.odds import failovers
from kvjepsen.odds.observation import FILE, BadFolder, Observation, Outcome, Results, alone
from kvjepsen.odds.page import page
from kvjepsen.odds.plan import LEVELS, Trial, documented, drawn, exhaustive, plan, predicted
from kvjepsen.odds.plot import picture
from kvjepsen.odds.report import document, rows, summary
from kvjepsen.odds.running import run, unreached
from kvjepsen.odds.verdict import Judged, judge, stratified
from kvjepsen.odds.writing import NOBODY_LISTENS, Attempt, write
from kvstore.availability import documented_survival, level_availability
from kvstore.errors import LocalError


def as_it_must(trial: Trial) -> Observation:
    """What a store that is right shows."""
    served = {level: predicted(level, trial.n, len(trial.failed)) for level in LEVELS}
    outcomes: dict[str, Outcome] = {level: "acknowledged" if each else "refused" for level, each in served.items()}
    return Observation(trial, "n1", outcomes)


def judged(observations: list[Observation], ps: list[float], **more: Any) -> Judged:
    return judge(observations, ps, **{"unreached": [], "problems": [], **more})


class TestPlan:
    @pytest.mark.parametrize("n", range(1, 6))
    def test_every_subset_is_there_with_the_leader_where_it_can_be(self, n: int) -> None:
        trials = exhaustive(n)
        assert len({trial.id for trial in trials}) == len(trials) == 2 * (2**n - 1)
        assert {trial.failed for trial in trials if trial.leader_failed} == {t.failed for t in trials if t.failed}
        assert all(len(trial.failed) < n for trial in trials if not trial.leader_failed)

    def test_each_level_needs_its_number_of_nodes(self) -> None:
        def served(n: int, level: str) -> list[bool]:
            return [predicted(level, n, failures) for failures in range(n + 1)]

        assert served(1, "one") == served(1, "quorum") == served(1, "all") == [True, False]
        assert served(4, "one") == [True, True, True, True, False]
        assert served(4, "quorum") == [True, True, False, False, False]
        assert served(5, "quorum") == [True, True, True, False, False, False]
        assert served(4, "all") == [True, False, False, False, False]
        assert [documented(4, failures) for failures in range(5)] == [True, True, True, False, False]

    @pytest.mark.parametrize("n", range(1, 8))
    def test_the_predictions_add_up_to_the_formulas(self, n: int) -> None:
        def total(serves: list[bool]) -> float:
            return sum(math.comb(n, k) * 0.3**k * 0.7 ** (n - k) for k in range(n + 1) if serves[k])

        for level in LEVELS:
            serves = [predicted(level, n, k) for k in range(n + 1)]
            assert total(serves) == pytest.approx(level_availability(level, n, 0.3), abs=1e-12)
        assert total([documented(n, k) for k in range(n + 1)]) == pytest.approx(documented_survival(n, 0.3), abs=1e-12)

    def test_what_is_drawn_depends_on_the_seed_and_its_own_number_alone(self) -> None:
        assert drawn(5, 0.3, 17, 1) == drawn(5, 0.3, 17, 1) != drawn(5, 0.3, 17, 2)
        short, long = plan([3], [0.1], 5, 1, every=False), plan([3, 4], [0.1, 0.5], 9, 1, every=True)
        assert set(short) <= set(long)

    def test_nodes_fail_as_often_as_they_should_and_any_may_lead(self) -> None:
        trials = plan([4], [0.3], 4000, 1, every=False)
        failures = sum(len(trial.failed) for trial in trials)
        leaders = sum(trial.leader_failed for trial in trials)
        assert abs(failures / 16_000 - 0.3) < 4 * math.sqrt(0.21 / 16_000)
        assert abs(leaders / 4_000 - 0.3) < 4 * math.sqrt(0.21 / 4_000)


class TestResults:
    def test_two_runs_do_not_write_to_one_folder(self, tmp_path: Path) -> None:
        with alone(tmp_path / "new"):
            with pytest.raises(BadFolder, match="another run"), alone(tmp_path / "new"):
                pytest.fail("the folder was held")
            with alone(tmp_path), alone(None), alone(None):
                pass
        with alone(tmp_path / "new"):
            pass

    def test_what_is_no_trial_is_kept_as_well(self, tmp_path: Path) -> None:
        first = Results(tmp_path, seed=1, fault="kill", simulated=False)
        first.add(as_it_must(exhaustive(3)[0]))
        first.add_over_time({"n": 3, "wrong": []})
        first.add_run(12.3)
        first.add_run(2.0)
        again = Results(tmp_path, seed=1, fault="kill", simulated=False)
        assert (again.over_time, again.runs_s) == ([{"n": 3, "wrong": []}], [12.3, 2.0])
        assert len(again.observations) == 1

    def test_a_run_goes_on_where_the_last_one_stopped(self, tmp_path: Path) -> None:
        trials = exhaustive(3)
        first = Results(tmp_path, seed=1, fault="kill", simulated=False)
        for trial in trials[:5]:
            first.add(as_it_must(trial))
        first.add_problem("n3: it broke")
        second = Results(tmp_path, seed=1, fault="kill", simulated=False)
        assert second.observations == first.observations
        assert second.problems == ["n3: it broke"]
        assert unreached(trials, second) == trials[5:]

    def test_a_torn_last_line_is_cut_off(self, tmp_path: Path) -> None:
        results = Results(tmp_path, seed=1, fault="kill", simulated=False)
        for trial in exhaustive(3)[:2]:
            results.add(as_it_must(trial))
        path = tmp_path / FILE
        path.write_bytes(path.read_bytes()[:-10])
        again = Results(tmp_path, seed=1, fault="kill", simulated=False)
        again.add(as_it_must(exhaustive(3)[1]))
        assert Results(tmp_path, seed=1, fault="kill", simulated=False).observations == results.observations

    @pytest.mark.parametrize("other", [{"seed": 2}, {"fault": "pause"}, {"simulated": True}])
    def test_results_of_other_parameters_are_refused(self, tmp_path: Path, other: dict[str, Any]) -> None:
        parameters: dict[str, Any] = {"seed": 1, "fault": "kill", "simulated": False}
        Results(tmp_path, **parameters)
        with pytest.raises(BadFolder, match="another folder"):
            Results(tmp_path, **{**parameters, **other})

    @pytest.mark.parametrize(
        "change", [{"id": "n3/none/leader-in"}, {"outcomes": {"one": "acknowledged"}}, {"n": None}]
    )
    def test_a_line_that_contradicts_itself_is_refused(self, tmp_path: Path, change: dict[str, Any]) -> None:
        results = Results(tmp_path, seed=1, fault="kill", simulated=False)
        line = as_it_must(exhaustive(3)[0]).to_json()
        with (tmp_path / FILE).open("a") as file:
            file.write(json.dumps(line | change) + "\n")
        del results
        with pytest.raises(BadFolder):
            Results(tmp_path, seed=1, fault="kill", simulated=False)


class TestWrite:
    """One write at three nodes, each of which answers as its script says."""

    async def write(self, script: dict[str, list[Attempt | None]], deadline_s: float = 1.0) -> tuple[str, list[str]]:
        asked: list[str] = []

        async def attempt(name: str, key: str, value: bytes, level: str, left_s: float) -> Attempt:
            asked.append(name)
            answer = script[name].pop(0) if len(script[name]) > 1 else script[name][0]
            if answer is None:
                await asyncio.sleep(left_s)
                return Attempt("unknown", "silent")
            return answer

        written = await write(attempt, list(script), "quorum", "stem", deadline_s)
        return written.outcome, asked

    async def test_the_first_acknowledgement_ends_it(self) -> None:
        yes, no = Attempt("acknowledged"), Attempt("refused", "no_quorum")
        assert await self.write({"n1": [no], "n2": [yes], "n3": [no]}) == ("acknowledged", ["n1", "n2"])

    async def test_a_silent_node_is_passed_over(self) -> None:
        outcome, asked = await self.write({"n1": [None], "n2": [Attempt("acknowledged")]})
        assert (outcome, asked) == ("acknowledged", ["n1", "n2"])

    async def test_settled_refusals_are_believed_the_second_time(self) -> None:
        script: dict[str, list[Attempt | None]] = {
            "n1": [Attempt("refused", "no_quorum")],
            "n2": [Attempt("refused", NOBODY_LISTENS)],
        }
        assert await self.write(script) == ("refused", ["n1", "n2", "n1", "n2"])

    async def test_an_election_is_waited_for(self) -> None:
        no, yes = Attempt("refused", "no_leader"), Attempt("acknowledged")
        outcome, asked = await self.write({"n1": [no, no, no, yes], "n2": [no]})
        assert outcome == "acknowledged"
        assert len(asked) == 7

    async def test_what_may_have_taken_effect_is_unknown_for_good(self) -> None:
        lost, no = Attempt("unknown", "silent"), Attempt("refused", "no_quorum")
        assert (await self.write({"n1": [lost, no, no], "n2": [no]}))[0] == "unknown"

    async def test_where_nobody_can_be_asked_it_is_refused(self) -> None:
        assert await self.write({}) == ("refused", [])


class _Bench:
    def __init__(self, breaks: set[str], slow_s: float = 0.0) -> None:
        self.breaks = breaks
        self.slow_s = slow_s
        self.closed = 0

    async def __aenter__(self) -> "_Bench":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed += 1

    async def carry_out(self, trial: Trial) -> Observation:
        await asyncio.sleep(self.slow_s)
        if trial.id in self.breaks:
            raise LocalError("it does not come back")
        return as_it_must(trial)


class TestRunning:
    @pytest.mark.parametrize("jobs", [1, 3])
    async def test_every_trial_is_made_once(self, jobs: int) -> None:
        wanted = plan([3, 4], [0.1], 20, 1, every=True)
        results = Results(None, seed=1, fault="kill", simulated=False)
        await run(wanted, results, lambda n: _Bench(set()), jobs=jobs, budget_s=30)
        assert sorted(each.trial.id for each in results.observations) == sorted(trial.id for trial in wanted)

    async def test_a_trial_that_breaks_its_cluster_is_told_and_not_counted(self) -> None:
        wanted = exhaustive(3)
        results = Results(None, seed=1, fault="kill", simulated=False)
        broken = wanted[4].id
        await run(wanted, results, lambda n: _Bench({broken}), jobs=2, budget_s=30)
        assert unreached(wanted, results) == [wanted[4]]
        assert results.problems == [f"{broken}: it does not come back"]

    async def test_what_the_budget_does_not_reach_is_left(self) -> None:
        wanted = exhaustive(4)
        results = Results(None, seed=1, fault="kill", simulated=False)
        bench = _Bench(set(), slow_s=0.02)
        await run(wanted, results, lambda n: bench, jobs=1, budget_s=0.2)
        assert 0 < len(results.observations) < len(wanted)
        assert len(unreached(wanted, results)) == len(wanted) - len(results.observations)
        assert bench.closed == 1


class TestVerdict:
    def test_a_store_that_is_right_is_confirmed_and_the_documented_formula_contradicted(self) -> None:
        found = judged([as_it_must(trial) for n in (3, 4) for trial in exhaustive(n)], [0.1, 0.5])
        assert found.verdict == "confirmed"
        assert {cell["verdict"] for cell in found.cells} == {"confirmed"}
        assert found.notes == [
            "n=4: the documented formula calls 2 failures consistent; QUORUM was not served in 12 of 12 such trials"
        ]
        for cell in found.cells:
            assert cell["observed"] == pytest.approx(cell["exact"], abs=1e-12)

    def test_one_mismatch_refutes(self) -> None:
        observations = [as_it_must(trial) for trial in exhaustive(3)]
        observations[2].outcomes["quorum"] = "unknown"
        found = judged(observations, [0.1])
        assert found.verdict == "refuted"
        assert [cell["mismatches"] for cell in found.cells] == [0, 1, 0]
        assert found.notes[0].startswith("MISMATCH n3/n1/leader-in: quorum must be served when 1 of 3 fail")

    def test_a_lost_write_refutes(self) -> None:
        observations = [as_it_must(trial) for trial in exhaustive(3)]
        observations[0].wrong.append("quorum: gone")
        assert judged(observations, [0.1]).verdict == "refuted"

    def test_a_problem_refutes_and_what_was_not_reached_confirms_nothing(self) -> None:
        observations = [as_it_must(trial) for trial in exhaustive(3)]
        assert judged(observations, [0.1], problems=["n3: it broke\nlog"]).verdict == "refuted"
        assert judged(observations[:-1], [0.1], unreached=[observations[-1].trial]).verdict == "incomplete"
        assert judged([], [0.1]).verdict == "incomplete"

    def test_drawn_trials_reject_the_documented_formula_for_even_n(self) -> None:
        found = judged([as_it_must(trial) for trial in plan([4], [0.5], 400, 1, every=False)], [0.5])
        quorum = next(cell for cell in found.cells if cell["level"] == "quorum")
        assert found.verdict == "confirmed"
        assert quorum["p_value_documented"] < 0.001 < quorum["p_value_exact"]
        assert quorum["ci95"][0] < quorum["exact"] < quorum["ci95"][1]

    def test_a_share_that_cannot_be_exact_refutes_although_no_trial_does(self) -> None:
        """As when what is drawn is not drawn with the chance that it is said to have."""
        observations = [as_it_must(trial._replace(p=0.1)) for trial in plan([3], [0.5], 200, 1, every=False)]
        assert judged(observations, [0.1]).verdict == "refuted"

    def test_strata_weigh_as_their_chances(self) -> None:
        observations = [as_it_must(trial) for trial in exhaustive(4)]
        estimate, interval, complete = stratified(observations, 4, 0.1, "quorum")
        assert estimate == pytest.approx(0.9477, abs=1e-12)
        assert complete
        assert interval.low < 0.9477 < interval.high


class TestReport:
    def test_the_document_has_the_shape_of_odds_json(self) -> None:
        trials = [*exhaustive(4), *plan([4], [0.3], 5, 1, every=False)]
        found = judged([as_it_must(trial) for trial in trials], [0.3])
        shown = document(
            found, command="kv chaos odds", seed=1, fault="kill", simulated=False, trials=14, unreached=[], seconds=1.0,
            failover_s=None,
        )  # fmt: skip
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown
        assert shown["version"] == 1
        assert {"n", "p", "level", "documented", "exact", "trials", "successes", "observed", "ci95", "mismatches",
                "verdict"} <= set(shown["cells"][0])  # fmt: skip
        assert set(shown["subsets"][0]) == {"n", "failed", "leader_failed", "level", "predicted", "observed"}
        assert all(len(line) == len(rows(found.cells)[0]) for line in rows(found.cells))

    def test_the_page_is_whole_and_loads_nothing(self) -> None:
        found = judged([as_it_must(trial) for trial in exhaustive(4)], [0.3])
        shown = document(
            found, command="kv chaos odds --out '<x>'", seed=1, fault="kill", simulated=False, trials=14, unreached=[],
            seconds=1.0, failover_s=None,
        )  # fmt: skip
        text = page(shown)
        assert "<x>" not in text
        assert not any(word in text for word in ("http:", "https:", "src=", "href=", "url("))
        assert text.count('role="img"') == 3
        assert text.count('<polyline points="') == 4
        assert text.count('class="point"') == 3
        assert "…" not in text, "a text of it is too long, and was cut"

    def test_the_picture_has_a_panel_for_each_number_of_nodes(self) -> None:
        trials = [trial for n in (3, 4) for trial in plan([n], [0.1, 0.3], 5, 1, every=False)]
        found = judged([as_it_must(trial) for trial in trials], [])
        drawing = picture({"cells": found.cells})
        root = ElementTree.fromstring(drawing)
        titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text") if each.get("class") == "title"]
        assert titles == ["n = 3", "n = 4: the documented formula is too high"]
        assert drawing.count('class="interval"') == 4
        assert drawing.count('class="gap"') == 1

    def test_what_was_not_reached_is_named(self) -> None:
        trials = exhaustive(4)
        found = judged([as_it_must(trials[0])], [0.3], unreached=trials[1:])
        lines = summary(found, 1, trials[1:], 2.0)
        assert lines[-1] == "incomplete: 1 trials, 2 s"
        assert trials[1].id in lines[-2]
        assert "and 9 more" in lines[-2]

    def test_failover_times_are_told_apart(self) -> None:
        found = judged([as_it_must(trial) for trial in exhaustive(3)], [0.3])
        gaps = failovers.summary([0.5, 0.4, 0.9])
        assert gaps == {"rounds": 3, "median": 0.5, "p99": 0.9, "worst": 0.9}
        assert failovers.summary([]) is None
        line = "failover, measured apart: no write for 0.50 s (median of 3), p99 0.90 s, worst 0.90 s"
        assert line in summary(found, 14, [], 1.0, gaps)
        shown = document(
            found,
            command="",
            seed=1,
            fault="kill",
            simulated=False,
            trials=14,
            unreached=[],
            seconds=1.0,
            failover_s=gaps,
        )
        assert "0.50 s (median of 3)" in page(shown)
