"""Every alert fires on a real cluster, by the fault that it is for, and ends when that is healed (`tests.alerts`)."""

from pathlib import Path

import pytest

from tests.alerts import prometheus
from tests.alerts.__main__ import FACTOR, run
from tests.alerts.rules import rules


@pytest.mark.long
@pytest.mark.skipif(prometheus.BINARY is None, reason="prometheus is not here: cluster/install-extras.sh")
def test_every_alert_fires_by_its_fault_and_ends_with_it(tmp_path: Path) -> None:
    outcomes = run(tmp_path / "alerts", FACTOR)
    assert [outcome for outcome in outcomes if outcome.fired_s is None or outcome.resolved_s is None] == []
    assert sorted(outcome.alert for outcome in outcomes) == sorted(rule["alert"] for rule in rules())
