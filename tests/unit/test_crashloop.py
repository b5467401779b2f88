"""What a run of the crash loop may call itself."""

from kvjepsen.convergence import Convergence
from kvjepsen.crashloop import Outcome
from kvjepsen.ledger import Finding

AGREED = Convergence(9, "aa")


def test_a_run_with_enough_writes_and_no_findings_passed() -> None:
    assert Outcome(kills=5, acknowledged=50, convergence=AGREED).verdict == "passed"


def test_a_run_that_wrote_too_little_is_vacuous() -> None:
    assert Outcome(kills=5, acknowledged=49, convergence=AGREED).verdict == "vacuous"
    assert Outcome().verdict == "vacuous"


def test_any_finding_is_a_failure_also_in_a_vacuous_run() -> None:
    finding = Finding("lost", b"k", "n1 at ONE", "absent")
    assert Outcome(kills=5, acknowledged=50, convergence=AGREED, findings=[finding]).verdict == "failed"
    assert Outcome(kills=5, convergence=AGREED, findings=[finding]).verdict == "failed"


def test_nodes_that_do_not_agree_are_a_failure() -> None:
    assert Outcome(kills=5, acknowledged=50, problem="digests differ").verdict == "failed"


def test_the_table_counts_a_stale_key_as_lost_and_others_as_wrong() -> None:
    findings = [Finding(kind, b"k", "", "") for kind in ("lost", "stale", "altered", "unreadable")]
    rows = dict(Outcome(findings=findings).rows())
    assert rows["lost"] == "2"
    assert rows["altered or otherwise wrong"] == "2"
