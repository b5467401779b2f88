"""More writers than slow disks can serve: bounded memory, honest answers."""

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvjepsen.admission import admission
from kvjepsen.faulty import PROGRAM
from kvjepsen.frame import table


@pytest.mark.parametrize(
    ("connections", "value_bytes", "seconds"),
    [
        (100, 1 << 20, 3),
        pytest.param(2_000, 10 << 10, 20, marks=pytest.mark.long),
        pytest.param(300, 1 << 20, 20, marks=pytest.mark.long),
    ],
)
async def test_an_overloaded_leader_refuses_before_its_memory_grows(
    kv_cluster: ClusterFactory, connections: int, value_bytes: int, seconds: int
) -> None:
    cluster = kv_cluster(3, program=PROGRAM)
    outcome = await admission(
        cluster, connections=connections, value_bytes=value_bytes, seconds=seconds, seed=1, progress=print
    )
    print(table(outcome))
    assert outcome.complaints() == []
    assert outcome.verdict == "passed"
    assert outcome.rss_max <= outcome.rss_bound
    # What is offered at once at a megabyte each does not fit: somebody must have been sent away.
    assert value_bytes < 1 << 20 or outcome.answers["429 not_applied"] > 0
