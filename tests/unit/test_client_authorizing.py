"""The client's tokens: got, renewed, and replaced by itself; rules A1 to A4 of authorizing.py."""

import asyncio
import json
from typing import Any

import pytest

from kvstore.client.authorizing import AuthorizedTransport
from kvstore.client.wire import Broken, NotSent, Reply, Request

GET = Request("GET", "/v1/kv/a", "", {}, None, write=False)
PUT = Request("PUT", "/v1/kv/a", "", {}, b"v", write=True)


class Node:
    """Answers like one: `good` are the tokens that are good; each login gives the next one."""

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.given = 0
        self.logins = 0
        self.login: Reply | Exception | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.now = 0.0

    async def send(self, endpoint: str, request: Request, *, total_s: float, idle_s: float) -> Reply:
        token = request.headers.get("Authorization")
        self.asked.append((request.path, token))
        await asyncio.sleep(0)
        if request.path == "/v1/auth/token":
            self.logins += 1
            assert json.loads(request.body or b"") == {"user": "u", "password": "p"}
            if isinstance(self.login, Exception):
                raise self.login
            if self.login is not None:
                return self.login
            self.given += 1
            self.good = {f"Bearer t{self.given}"}
            body = json.dumps({"token": f"t{self.given}", "user": "u", "expires_seconds": 90}).encode()
            return Reply(200, {}, body)
        return Reply(200 if token in self.good else 401, {}, b"")

    async def open(self, *asked: Any, **how: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def client(node: Node, **who: Any) -> AuthorizedTransport:
    return AuthorizedTransport(node, lambda: node.now, **(who or {"user": "u", "password": "p"}))


async def ask(transport: AuthorizedTransport, request: Request = GET) -> int:
    return (await transport.send("http://n1", request, total_s=5.0, idle_s=5.0)).status


async def test_a_token_is_got_once_and_renewed_before_it_ends() -> None:
    node = Node()
    transport = client(node)
    assert [await ask(transport) for _ in range(3)] == [200] * 3
    assert node.logins == 1
    node.now = 59.0
    assert await ask(transport) == 200
    node.now = 61.0
    assert await ask(transport) == 200
    assert node.logins == 2
    assert ("/v1/auth/token", None) in node.asked


async def test_those_who_ask_together_get_one_token() -> None:
    node = Node()
    transport = client(node)
    assert await asyncio.gather(*(ask(transport) for _ in range(8))) == [200] * 8
    assert node.logins == 1


async def test_a_write_that_is_refused_for_its_token_is_sent_again_with_another() -> None:
    node = Node()
    transport = client(node)
    await ask(transport)
    node.good = set()  # the signing keys were forgotten
    assert await ask(transport, PUT) == 200
    assert [path for path, _ in node.asked] == ["/v1/auth/token", "/v1/kv/a", "/v1/kv/a", "/v1/auth/token", "/v1/kv/a"]


async def test_a_wrong_password_is_told_and_nothing_else_is_sent() -> None:
    node = Node()
    node.login = Reply(401, {}, b"wrong")
    assert (await client(node).send("n", PUT, total_s=5.0, idle_s=5.0)).body == b"wrong"
    assert [path for path, _ in node.asked] == ["/v1/auth/token"]


async def test_a_token_that_cannot_be_renewed_goes_on_while_it_is_good() -> None:
    node = Node()
    transport = client(node)
    await ask(transport)
    for failure in (Reply(503, {}, b""), Broken("gone")):
        node.login = failure
        node.now = 80.0
        assert await ask(transport) == 200
    node.now = 91.0
    with pytest.raises(NotSent):  # the write itself certainly was not
        await ask(transport, PUT)


async def test_without_auth_no_token_is_needed_until_somebody_asks_for_one() -> None:
    node = Node()
    node.login = Reply(409, {}, b"")
    transport = client(node)
    node.good = {None}  # type: ignore[arg-type]
    assert [await ask(transport) for _ in range(3)] == [200] * 3
    assert node.logins == 1
    node.login, node.good = None, set()
    assert await ask(transport) == 200
    assert node.logins == 2


async def test_a_given_token_is_sent_as_it_is() -> None:
    node = Node()
    node.good = {"Bearer mine"}
    assert await ask(client(node, token="mine")) == 200
    node.good = set()
    assert await ask(client(node, token="mine")) == 401
    assert node.logins == 0
