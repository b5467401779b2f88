"""What the audit log is told of a request: who, what, which keys, what became of it. No values, no secrets."""

import re
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import web

from kvstore.asking import traceparent
from kvstore.errors import KvError
from kvstore.guard.gate import Caller
from kvstore.http import parse
from kvstore.http.answer import Answer
from kvstore.http.auth import address_of
from kvstore.http.routes import ITEM_PATH, Route
from kvstore.model.permissions import NAMES
from kvstore.telemetry.audit import AuditLog

_REVISION: Final = re.compile(rb"KV-Revision: (\d{1,19})\r\n")
_IN_BODY: Final = re.compile(rb'"(?:auth_)?revision":(\d{1,19})')
# Of a structured answer the revision stands in front; what is read of it is never written down.
_LOOKED_AT_BYTES: Final = 400
_ASKED: Final = ("key", "prefix", "start", "end")
_REFUSED: Final = (401, 403)


class _Problem(msgspec.Struct):
    code: str
    outcome: str | None
    detail: str


def kind_of(route: Route) -> str | None:
    """What kind of thing it is to the audit log; None for what is open to everybody, or changes nothing of interest."""
    if route.path.startswith("/v1/auth"):
        return "auth"
    if route.permission.verb is not None:
        return NAMES[route.permission.verb]
    return "write" if route.permission.of == "each" else None


class Auditor:
    """Tells `log` of requests."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def answered(
        self,
        route: Route,
        request: web.BaseRequest,
        given: str,
        query: str,
        answer: Answer,
        caller: Caller | None,
        request_id: str,
    ) -> None:
        """`request` was answered, or its stream begins."""
        about = answer.about or {}
        refused = answer.status in _REFUSED or bool(about.get("refused"))
        kind = kind_of(route)
        if not self._log.wants(kind, refused=refused):
            return
        entry: dict[str, Any] = {
            "door": "http",
            "user": None if caller is None else caller.user,
            "source": None if caller is None else caller.source,
            "address": address_of(request),
            "kind": kind,
            "what": f"{request.method} {route.path}",
            "level": answer.level or None,
            "status": answer.status,
            "code": None,
            "outcome": None,
            "revision": _revision(answer),
            "request_id": request_id,
            **_traced(request),
        }
        if answer.status >= 400:
            with suppress(msgspec.DecodeError):
                problem = msgspec.json.decode(answer.body, type=_Problem)
                entry |= {"code": problem.code, "outcome": problem.outcome}
                if refused:
                    entry["detail"] = problem.detail
        elif not route.read:
            entry["outcome"] = "pending" if answer.status == 202 else "committed"
        if about.get("refused"):
            entry["refused"] = len(about["refused"])
        keys = list(about.get("keys", ()))
        if route.path == ITEM_PATH:
            with suppress(KvError):
                keys = [parse.key_of(given)]
        elif given:
            entry["name"] = given[:256]
        if query:
            with suppress(KvError):
                found = route.operation.query.found(query)
                entry |= {
                    name: found[name][:256].decode("utf-8", "backslashreplace") for name in _ASKED if name in found
                }
        self._log.note(keys=keys, **entry)


def _traced(request: web.BaseRequest) -> dict[str, str]:
    parent = traceparent(request.headers.get("traceparent"))
    return {"traceparent": parent} if parent else {}


def _revision(answer: Answer) -> int | None:
    found = _REVISION.search(answer.headers)
    if found is None and answer.status < 300:
        found = _IN_BODY.search(answer.body[:_LOOKED_AT_BYTES])
    return None if found is None else int(found[1])
