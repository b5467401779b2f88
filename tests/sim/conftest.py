"""What several of the simulated tests stand on."""

from collections.abc import Iterator

import pytest

from kvstore.testing import SimCluster
from kvstore.testing.process import silence_logs


@pytest.fixture
def cluster() -> Iterator[SimCluster]:
    """Three nodes, n1 to n3, that have had time to elect a leader."""
    silence_logs()
    made = SimCluster(("n1", "n2", "n3"), seed=1)
    made.start_all()
    made.run_for(2.0)
    yield made
    made.close()
