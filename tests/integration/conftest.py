"""Fixtures of these tests."""

from collections.abc import AsyncIterator

import pytest

from kvstore.http import connections
from tests.integration.house import House


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setitem(connections._CONNECTION_BOUNDS, "lingering_time", 0.05)
    house = House()
    await house.server.start()
    yield house
    for wire in house.wires:
        wire.writer.close()
    await house.server.close()
