"""Conversations with the HTTP door and the Redis door: requests and commands that were sound and then damaged.

Every key in them begins with a marker that no damage breaks, and who sends them may touch nothing else: so any change
of another key is one that nobody asked for.
"""

import base64
import json
import random
import re
from typing import Final

from tests.fuzz.attack import Said
from tests.fuzz.mutations import damaged

HTTP_KEY: Final = "Zfuzz7"
REDIS_KEY: Final = b"Rfuzz7"
LEAVE_S: Final = 0.15

_STATUS: Final = re.compile(rb"(?:^|\r\n|\})HTTP/1\.1 (\d{3}) ")
_FINE: Final = frozenset({503, 504, 507})


def judge_http(answer: bytes) -> str | None:
    """What is wrong with what the node said, if anything."""
    if answer and not answer.startswith(b"HTTP/1."):
        return f"not HTTP: {answer[:60]!r}"
    for status in map(int, _STATUS.findall(answer)):
        if status >= 500 and status not in _FINE:
            return f"{status}: {answer[-400:]!r}"
    return None


def judge_redis(answer: bytes) -> str | None:
    """Likewise."""
    if answer and answer[:1] not in b"+-:$*_,#(!=%~>|":
        return f"not RESP: {answer[:60]!r}"
    if b"-ERR internal" in answer:
        return answer[:400].decode(errors="replace")
    return None


def http(rng: random.Random, token: str) -> Said:
    """One to four requests on one connection; the last one is damaged, or all of them."""
    count = rng.choice((1, 1, 2, 4))
    whole = rng.random() < 0.5
    stream = b""
    leave = False
    for turn in range(count):
        request, atoms, endless = _request(rng, token)
        leave |= endless
        stream += damaged(rng, request, atoms) if turn == count - 1 or not whole else request
    if rng.random() < 0.05:
        stream = rng.choice((b"\x16\x03\x01", b"\0\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", rng.randbytes(64))) + stream
    return Said(stream, count, "answered", leave_s=LEAVE_S if leave else None, judge=judge_http)


def _request(rng: random.Random, token: str) -> tuple[bytes, list[bytes], bool]:
    """A sound request, what damage leaves alone, and whether its answer has no end."""
    key = f"{HTTP_KEY}/{rng.randrange(500)}"
    value = rng.randbytes(rng.choice((0, 1, 100, 3_000)))
    text = base64.b64encode(value).decode()
    level = rng.choice(("one", "quorum", "all"))
    body, path, kind, method = b"", f"/v1/kv/{key}", "application/octet-stream", "GET"
    match rng.randrange(14):
        case 0 | 1 | 2:
            method, body, path = "PUT", value, f"{path}?level={level}&timeout_ms=500"
        case 3:
            path = f"{path}?level={level}&timeout_ms=500"
        case 4:
            method, path = "DELETE", f"{path}?timeout_ms=500"
        case 5:
            path = f"/v1/kv?prefix={HTTP_KEY}&limit=20&timeout_ms=500"
        case 6:
            method, path = "DELETE", f"/v1/kv?prefix={key}&timeout_ms=500"
        case 7 | 8:
            method, path, kind = "POST", "/v1/txn?timeout_ms=500", "application/json"
            compare = [{"key": key, "target": "version", "relation": ">", "to": rng.randrange(3)}]
            then, otherwise = {"op": "put", "key": key, "value_base64": text}, {"op": "get", "key": key}
            body = json.dumps({"compare": compare, "then": [then], "else": [otherwise]}).encode()
        case 9 | 10:
            method, path, kind = "POST", "/v1/batch?timeout_ms=500", "application/json"
            put, others = {"op": "put", "key": key, "value_base64": text}, ("get", "delete")
            ops = [rng.choice((put, {"op": rng.choice(others), "key": key})) for _ in range(5)]
            body = json.dumps({"ops": ops}).encode()
        case 11:
            method, path, kind = "POST", "/v1/leases?timeout_ms=500", "application/json"
            body = b'{"ttl_seconds": 1}'
        case 12:
            path = f"/v1/watch?prefix={HTTP_KEY}"
        case _:
            path = rng.choice(("/v1/cluster", "/metrics", "/openapi.json", "/readyz", "/v1/auth", "/v1/snapshot", "/"))
    headers = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", f"Content-Type: {kind}"]
    if body and rng.random() < 0.2:
        headers.append("Transfer-Encoding: chunked")
        cut = rng.randrange(len(body)) + 1
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part) + b"0\r\n\r\n"
    else:
        headers.append(f"Content-Length: {len(body)}")
    if rng.random() < 0.2:
        headers.append(rng.choice(('If-Match: "3"', "If-None-Match: *", "Idempotency-Key: k1", "KV-Session: 7/1/1")))
    if rng.random() < 0.05:
        headers.append(f"Expect: 100-continue\r\nX-Long: {'x' * rng.choice((10, 20_000))}")
    head = "\r\n".join(headers) + "\r\n\r\n"
    atoms = [HTTP_KEY.encode(), b"prefix=" + HTTP_KEY.encode(), b"/v1/kv/" + HTTP_KEY.encode()]
    if rng.random() < 0.9:
        atoms.append(f"Bearer {token}".encode())
    return head.encode() + body, atoms, "/v1/watch" in path or "/v1/snapshot" in path


def redis(rng: random.Random, token: str) -> Said:
    """A login and one to six commands in a pipeline; damage begins behind the login."""
    count = rng.randint(1, 6)
    login = _command(b"AUTH", token.encode())
    commands = [_redis_command(rng) for _ in range(count)]
    whole = rng.random() < 0.5
    atoms = [REDIS_KEY, token.encode()]
    if whole:
        commands[-1] = damaged(rng, commands[-1], atoms)
        stream = login + b"".join(commands)
    else:
        stream = login + damaged(rng, b"".join(commands), atoms)
    if rng.random() < 0.05:
        stream = rng.choice(
            (b"*1000000000\r\n", b"$-5\r\n", b"*2\r\n$99999999999\r\n", rng.randbytes(80), b"x" * 70_000)
        )
    return Said(stream, count, "answered", judge=judge_redis)


def _redis_command(rng: random.Random) -> bytes:
    key = REDIS_KEY + b"/%d" % rng.randrange(300)
    value = rng.randbytes(rng.choice((0, 1, 100, 2_000)))
    return _command(
        *rng.choice(
            (
                (b"SET", key, value),
                (b"SET", key, value, b"PX", b"5000", b"NX"),
                (b"GET", key),
                (b"MGET", key, key),
                (b"MSET", key, value, REDIS_KEY + b"/m", value),
                (b"DEL", key),
                (b"INCRBY", REDIS_KEY + b"/n%d" % rng.randrange(9), b"%d" % rng.getrandbits(63)),
                (b"APPEND", key, b"more"),
                (b"EXPIRE", key, b"5"),
                (b"SCAN", b"0", b"MATCH", REDIS_KEY + b"*", b"COUNT", b"10"),
                (b"MULTI",),
                (b"EXEC",),
                (b"WATCH", key),
                (b"SUBSCRIBE", key),
                (b"CLIENT", b"SETNAME", value[:20]),
                (b"HELLO", b"3"),
                (b"INFO",),
                (b"KV.LEVEL", rng.choice((b"one", b"quorum", b"all"))),
            )
        )
    )


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
