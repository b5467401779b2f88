"""The published engine behind as much of the HTTP API as the register, set, append and counter workloads need.

`python -m kvjepsen.stock_server serve ...` takes the place of `kv serve` in a run of the harness (`kv chaos run
--mutant stock`). PySyncObj is as it comes: its default settings, its journal file on, its own network and threads. What
is ours is a state machine as its manual shows one, with revisions, conditions and the answers to what was asked twice,
and this door. Reads at QUORUM and ALL go through the log, so that nothing is blamed on the engine that its user has
done; reads at ONE are the node's own state. There is no level ALL: it is QUORUM. A write at ONE is refused.

For tests only: the engine unpickles whatever its port receives, so this listens on loopback and nowhere else. It must
not import `kvstore.consensus`, which changes globals of the engine.
"""

import argparse
import asyncio
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj.node import TCPNode

from kvcluster.topology import HOST, Topology
from kvstore.client.results import WriteResult, record_json
from kvstore.errors import BadRequest, DeadlineExceeded, KvError, NoLeader, NotFound, PreconditionFailed
from kvstore.model.levels import Level
from kvstore.model.results import Record
from kvstore.model.stamp import ZERO_STAMP

PROGRAM: Final = "kvjepsen.stock_server"

_TIMEOUT_MS: Final = 5_000
_POLL_S: Final = 0.01
_ROLES: Final = {0: "follower", 1: "candidate", 2: "leader"}
_REFUSED: Final = (FAIL_REASON.QUEUE_FULL, FAIL_REASON.MISSING_LEADER)


class Peer(TCPNode):
    """Another node: known by its address, dialed at the port of the proxy that stands before it."""

    def __init__(self, address: str, dialed: str) -> None:
        super().__init__(address)
        self._dialed_port = int(dialed.rpartition(":")[2])

    @property
    def port(self) -> int:
        """Where the engine dials."""
        return self._dialed_port


class Store(SyncObj):
    """Keys with revisions. `data`: value, create_revision, mod_revision, version by key."""

    def __init__(self, me: str, others: list[Peer], journal: Path) -> None:
        super().__init__(TCPNode(me), others, SyncObjConf(journalFile=str(journal)))
        # What is set after the engine's own attributes is replicated state.
        self.data: dict[bytes, tuple[bytes, int, int, int]] = {}
        self.revision = 0
        self.answers: dict[str, tuple[str, int, int]] = {}

    @replicated
    def change(self, key: bytes, value: bytes | None, condition: int | None, name: str | None) -> tuple[str, int, int]:
        """Put, or delete if `value` is None: what became of it, the revision and the version. `name`: asked before?"""
        if name in self.answers:
            return self.answers[name]
        answer = self._change(key, value, condition)
        if name is not None:
            self.answers[name] = answer
        return answer

    def _change(self, key: bytes, value: bytes | None, condition: int | None) -> tuple[str, int, int]:
        old = self.data.get(key)
        if condition is not None and condition != (0 if old is None else old[2]):
            return "unmet", 0, 0
        if value is None and old is None:
            return "absent", 0, 0
        self.revision += 1
        if value is None:
            assert old is not None
            del self.data[key]
            return "done", self.revision, old[3]
        created, version = (self.revision, 1) if old is None else (old[1], old[3] + 1)
        self.data[key] = (value, created, self.revision, version)
        return "done", self.revision, version

    @replicated
    def look(self, key: bytes, prefix: bool) -> tuple[int, list[tuple[bytes, tuple[bytes, int, int, int]]]]:
        """The revision, and the record of `key` or of all keys that begin with it, as of its place in the log."""
        return self.here(key, prefix)

    def here(self, key: bytes, prefix: bool) -> tuple[int, list[tuple[bytes, tuple[bytes, int, int, int]]]]:
        """The same of what this node has applied."""
        if not prefix:
            return self.revision, [(key, self.data[key])] if key in self.data else []
        return self.revision, sorted(item for item in list(self.data.items()) if item[0].startswith(key))


class Door:
    """The HTTP API over a store. `names`: of the nodes, by their addresses."""

    def __init__(self, store: Store, me: str, names: dict[str, str]) -> None:
        self._store = store
        self._me = me
        self._names = names

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application(middlewares=[_problems], client_max_size=2 << 20)
        app.add_routes(
            [
                web.get("/readyz", self.ready),
                web.get("/v1/cluster", self.cluster),
                web.get("/v1/kv", self.range),
                web.get("/v1/kv/{key:.+}", self.get),
                web.put("/v1/kv/{key:.+}", self.change),
                web.delete("/v1/kv/{key:.+}", self.change),
                web.post("/v1/sessions", self.session),
                web.delete("/v1/sessions/{number}", self.session),
            ]
        )
        return app

    async def ready(self, _request: web.Request) -> web.Response:
        """It has a leader."""
        if self._store.isReady():
            return web.Response(text="ready")
        return web.json_response({"detail": "has no leader yet"}, status=503)

    async def session(self, _request: web.Request) -> web.Response:
        """A number that nobody else has; a session is nothing more here."""
        return web.json_response({"session": secrets.randbits(52)})

    async def cluster(self, _request: web.Request) -> web.Response:
        """What the node knows of itself; its digest is only told if nothing was applied meanwhile."""
        store = self._store
        status, revision, index = store.getStatus(), store.revision, store.raftLastApplied
        digest = hashlib.sha256(repr(sorted(store.data.items())).encode()).hexdigest()[:16]
        told = {"index": index, "value": digest} if index == store.raftLastApplied else None
        members = []
        for address, name in self._names.items():
            own = name == self._me
            role = _ROLES[status["state"]] if own else "follower"
            members.append(
                {
                    **{"name": name, "role": role, "voter": True, "reachable": True, "http": None, "peer": address},
                    **{"match_index": None, "applied_index": index if own else None, "intents_pending": 0},
                    "digest": told if own else None,
                }
            )
        leader = status["leader"]
        return web.json_response(
            {
                **{"cluster_id": "stock", "node": self._me, "term": status["raft_term"], "revision": revision},
                **{"leader": None if leader is None else self._names.get(leader.id), "alarms": []},
                **{"commit_index": status["commit_idx"], "members": members},
            }
        )

    async def get(self, request: web.Request) -> web.Response:
        """A record, or 404."""
        key = _key(request)
        _, found = await self._look(request, key, prefix=False)
        if not found:
            raise NotFound("there is no such key", read=True)
        return web.json_response(record_json(*_record(found[0])))

    async def range(self, request: web.Request) -> web.Response:
        """All keys with a prefix, on one page."""
        revision, found = await self._look(request, _query(request, "prefix"), prefix=True)
        records = [record_json(*_record(item)) for item in found]
        return web.json_response({"revision": revision, "count": len(found), "cursor": None, "records": records})

    async def _look(self, request: web.Request, key: bytes, *, prefix: bool) -> Any:
        if request.query.get("level") != "one":
            return await self._through_the_log(request, lambda done: self._store.look(key, prefix, callback=done))
        floor, deadline = int(request.query.get("min_revision", 0)), time.monotonic() + _timeout_s(request)
        while self._store.revision < floor:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(f"revision {floor} is not here yet", read=True)
            await asyncio.sleep(_POLL_S)
        return self._store.here(key, prefix)

    async def change(self, request: web.Request) -> web.Response:
        """Put or delete, as a record of the log."""
        key, name = _key(request), request.headers.get("KV-Session", request.headers.get("Idempotency-Key"))
        if name is not None and "KV-Session" in request.headers:
            name = name.rpartition("/")[0]  # without the floor
        if request.query.get("level") == "one":
            raise BadRequest("the published engine has no level ONE")
        condition = 0 if "If-None-Match" in request.headers else None
        if "If-Match" in request.headers:
            condition = int(request.headers["If-Match"].strip('"'))
        value = await request.read() if request.method == "PUT" else None
        what, revision, version = await self._through_the_log(
            request, lambda done: self._store.change(key, value, condition, name, callback=done)
        )
        if what == "unmet":
            raise PreconditionFailed("the condition does not hold")
        if what == "absent":
            raise NotFound("there is no such key")
        level, majority = Level(request.query.get("level", "quorum")), len(self._names) // 2 + 1
        result = WriteResult(key, revision, version, level, majority, majority, "committed", None)
        return web.json_response(result.to_json())

    async def _through_the_log(self, request: web.Request, propose: Callable[[Callable[..., None]], None]) -> Any:
        """What the state machine says; the engine's callback comes from its own thread."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Any, int]] = loop.create_future()

        def settle(result: Any, reason: int) -> None:
            if not answer.done():
                answer.set_result((result, reason))

        def answered(result: Any, reason: int) -> None:
            loop.call_soon_threadsafe(settle, result, reason)

        propose(answered)
        read = request.method == "GET"
        try:
            result, reason = await asyncio.wait_for(answer, _timeout_s(request))
        except TimeoutError:
            raise DeadlineExceeded("the engine has not answered", read=read) from None
        if reason in _REFUSED:
            raise NoLeader(f"the engine refuses: {reason}", read=read)
        if reason != FAIL_REASON.SUCCESS:
            raise DeadlineExceeded(f"the engine gave it up: {reason}", read=read)
        return result


@web.middleware
async def _problems(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except KvError as error:
        body = json.dumps(error.to_problem())
        return web.Response(text=body, status=error.status, content_type="application/problem+json")
    return answer


def _key(request: web.Request) -> bytes:
    return unquote_to_bytes(request.rel_url.raw_path.removeprefix("/v1/kv/"))


def _query(request: web.Request, name: str) -> bytes:
    return request.query.get(name, "").encode()


def _timeout_s(request: web.Request) -> float:
    return int(request.query.get("timeout_ms", _TIMEOUT_MS)) / 1_000


def _record(item: tuple[bytes, tuple[bytes, int, int, int]]) -> tuple[bytes, Record]:
    key, (value, created, modified, version) = item
    return key, Record(value, created, modified, version, 0, ZERO_STAMP)


def main() -> int:
    """One node of the cluster whose directory is above the working directory."""
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}")
    parser.add_argument("serve", choices=["serve"])
    for option in ("--name", "--data-dir", "--listen", "--listen-peer"):
        parser.add_argument(option, required=True)
    given, _ = parser.parse_known_args()
    for address in (given.listen, given.listen_peer):
        if address.rpartition(":")[0] != HOST:
            print(f"{address}: the published engine runs what it is sent; it listens on {HOST} only", file=sys.stderr)
            return 2
    topology = Topology.load(Path.cwd().parent)
    strangers = [node for node in topology.nodes if node.name != given.name]
    others = [Peer(node.peer, topology.dialed(given.name, node.name)) for node in strangers]
    data = Path(given.data_dir)
    data.mkdir(parents=True, exist_ok=True)
    store = Store(given.listen_peer, others, data / "journal.bin")
    door = Door(store, given.name, {node.peer: node.name for node in topology.nodes})
    web.run_app(door.app(), host=HOST, port=int(given.listen.rpartition(":")[2]), print=None)
    store.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
