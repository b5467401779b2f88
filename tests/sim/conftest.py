"""What several of the simulated tests stand on."""

from collections.abc import Iterator

import pytest

from kvstore.testing import SimCluster
from tests.support.sim_levels import three_nodes


@pytest.fixture
def cluster() -> Iterator[SimCluster]:
    """Three nodes, n1 to n3, that have a leader."""
    made = three_nodes()
    yield made
    made.close()
