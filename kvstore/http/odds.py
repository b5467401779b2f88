"""`GET /v1/odds`: how likely clusters of n nodes serve, as `kv odds -o json` tells it; for the web page's calculator.

Nothing of the store is asked. It is computed on the loop, row by row, so that other work goes on in between: a row of
the largest cluster takes about 2 ms, the first time. NumPy, which takes 10 MiB and which a node needs for nothing else,
is loaded when somebody asks for the first time, beside the loop.
"""

import asyncio
import importlib
import re
from functools import lru_cache
from typing import Final

import msgspec
from aiohttp import web

from kvstore import limits
from kvstore.errors import BadRequest
from kvstore.http.answer import JSON, Answer, content_type
from kvstore.http.kv import Door
from kvstore.http.parameters import Found, Parameter, Query

NODES_DEFAULT: Final = "1-9"
P_DEFAULT: Final = "0.01"
_RANGE: Final = re.compile(r"([1-9][0-9]?)(?:-([1-9][0-9]?))?")
_NODES: Final = re.compile(rf"{_RANGE.pattern}(?:,{_RANGE.pattern})*")
_SHARE: Final = re.compile(r"0(?:\.[0-9]{1,18})?|1(?:\.0{1,18})?")


class OddsLosses(msgspec.Struct):
    """A number for each of what is told. Of nines null means that nothing is lost."""

    documented: float | None
    raft: float | None
    one: float | None
    quorum: float | None
    all: float | None


class OddsRow(msgspec.Struct):
    """A cluster of n nodes: chances, their nines, and seconds without service in a year."""

    n: int
    majority: int
    documented: float
    raft: float
    one: float
    quorum: float
    all: float
    nines: OddsLosses
    downtime_s_per_year: OddsLosses
    even_warning: bool


class OddsBody(msgspec.Struct):
    """The odds while each node is down with chance `p`, independently of the others."""

    p: float
    rows: list[OddsRow]


class _Nodes(Parameter):
    def __init__(self) -> None:
        about = f"Numbers of nodes: 3, or 1-9, or 3,5,7; at most {limits.ODDS_ASKED_ROWS_MAX} of them."
        form = {"type": "string", "pattern": f"^{_NODES.pattern}$", "examples": [NODES_DEFAULT]}
        super().__init__("nodes", about, form | {"default": NODES_DEFAULT, "maxLength": limits.ODDS_ASKED_CHARS_MAX})

    def of(self, found: Found) -> tuple[int, ...]:
        """What it says, rising. Raises BadRequest."""
        text = found.get(self.name, NODES_DEFAULT.encode()).decode("ascii", "replace")
        if len(text) > limits.ODDS_ASKED_CHARS_MAX or not _NODES.fullmatch(text):
            raise BadRequest(f"nodes must be like 3, 1-9 or 3,5,7, within 1-{limits.ODDS_ASKED_NODES_MAX}")
        chosen: set[int] = set()
        for low, high in _RANGE.findall(text):
            if int(high or low) < int(low):
                raise BadRequest(f"nodes: {low}-{high} is no range")
            chosen.update(range(int(low), int(high or low) + 1))
        if len(chosen) > limits.ODDS_ASKED_ROWS_MAX:
            raise BadRequest(f"at most {limits.ODDS_ASKED_ROWS_MAX} numbers of nodes are told at once")
        return tuple(sorted(chosen))


class _Share(Parameter):
    def __init__(self) -> None:
        form = {"type": "string", "pattern": f"^(?:{_SHARE.pattern})$", "default": P_DEFAULT}
        super().__init__("p", "The chance that a node is down, from 0 to 1.", form)

    def of(self, found: Found) -> float:
        """What it says. Raises BadRequest."""
        text = found.get(self.name, P_DEFAULT.encode()).decode("ascii", "replace")
        if not _SHARE.fullmatch(text):
            raise BadRequest("p must be a number from 0 to 1, like 0.01")
        return float(text)


NODES: Final = _Nodes()
P: Final = _Share()
ODDS: Final = Query(NODES, P)


async def get_odds(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """How likely clusters serve each level while nodes are down with some chance, and what the usual formula says."""
    found = ODDS.found(query)
    nodes, p = NODES.of(found), P.of(found)
    await asyncio.to_thread(importlib.import_module, "kvstore.availability")
    rows: list[msgspec.Raw] = []
    for n in nodes:
        rows.append(_row(n, p))
        await asyncio.sleep(0)
    return Answer(200, content_type(JSON), msgspec.json.encode({"p": p, "rows": rows}))


@lru_cache(maxsize=limits.ODDS_ROWS_CACHED_MAX)
def _row(n: int, p: float) -> msgspec.Raw:
    from kvstore import availability

    return msgspec.Raw(msgspec.json.encode(availability.odds_row(n, p)))
