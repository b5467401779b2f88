"""One process of a simulated node: what `kvstore.server` puts together, without the HTTP door."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from kvstore.consensus.transport import PeerTransport
from kvstore.node.service import Node
from kvstore.testing.sim_loop import SimClock, SimLoop
from kvstore.testing.watch import Watch

PORT: Final = 8481


class SimNode(Node):
    """A node that tells what its state is after each entry."""

    told: Callable[[int, int], None]

    def apply(self, index: int, term: int, command: bytes) -> Any:
        result = super().apply(index, term, command)
        self.told(index, self.machine.digest)
        return result

    def skip(self, index: int, term: int) -> None:
        super().skip(index, term)
        self.told(index, self.machine.digest)


@dataclass(slots=True)
class SimProcess:
    """One start of a node, from boot to end."""

    name: str
    incarnation: int
    loop: SimLoop
    clock: SimClock
    node: Node | None = None
    transport: PeerTransport | None = None
    watch: Watch | None = None
    ended: list["asyncio.Future[None]"] = field(default_factory=list)  # who waits for its end
    waiting: dict["asyncio.Future[Any]", None] = field(default_factory=dict)  # clients' requests under way


def silence_logs() -> None:
    """Switch the logs of this process off: simulated nodes would write theirs among those of real ones."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL + 1)
