"""Before a run is made against a cluster that others have started: whether anybody is there, and what is to be written.

Nothing is written here. A run whose endpoints are all dead would go on to its end, and show nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

from kvjepsen.access import Access
from kvjepsen.plan import Plan
from kvstore import limits
from kvstore.errors import Forbidden, KvError, LocalError, Unauthenticated

LAST_KEY: Final = "chaos/last"


class NobodyThere(LocalError):
    """None of the endpoints answers. Nothing was written."""

    exit_code: ClassVar[int] = 3


class Silent(NamedTuple):
    """An endpoint that does not answer, and why."""

    url: str
    why: str


async def greet(nodes: Mapping[str, str], access: Access) -> list[Silent]:
    """Ask every node (URLs by name) what it knows, within CHAOS_ATTACH_S_MAX seconds; those that do not answer.

    Raises NobodyThere if none does, and Unauthenticated or Forbidden if one that does lets nobody in.
    """

    async def ask(url: str) -> Silent | None:
        try:
            async with access.client([url], timeout_s=limits.CHAOS_ATTACH_S_MAX, sessions=False) as client:
                await client.cluster_document()
        except (Unauthenticated, Forbidden):
            raise
        except (KvError, LocalError) as failed:
            return Silent(url, failed.detail if isinstance(failed, KvError) else str(failed))
        return None

    told = await asyncio.gather(*map(ask, nodes.values()), return_exceptions=True)
    for each in told:
        if isinstance(each, BaseException):
            raise each
    silent = [each for each in told if isinstance(each, Silent)]
    if len(silent) == len(nodes):
        raise NobodyThere(_nobody(silent))
    return silent


def announced(plan: Plan, nodes: Mapping[str, str], silent: Sequence[Silent]) -> list[str]:
    """What is said before the load begins, a line each."""
    prefixes = ", ".join(f"{name}/" for name in plan.workloads)
    there = f"a cluster that runs already, at {len(nodes)} endpoint{'' if len(nodes) == 1 else 's'}"
    lines = [f"{there}: keys that begin with {prefixes} are written to it, and {LAST_KEY}; they stay there"]
    return lines + [f"{each.url} does not answer: {each.why}" for each in silent]


def _nobody(silent: Sequence[Silent]) -> str:
    many = len(silent) > 1
    who = f"none of the {len(silent)} endpoints answers" if many else "the endpoint does not answer"
    why = "; ".join(dict.fromkeys(each.why for each in silent))
    return (
        f"{who} ({why}). Nothing was written, and no run was made. "
        "Without --endpoints a run starts a cluster of its own."
    )
