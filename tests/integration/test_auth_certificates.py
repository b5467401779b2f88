"""A client certificate says who asks, at both doors, where no token does."""

import asyncio
from pathlib import Path

from kvstore.client import AsyncClient
from kvstore.errors import Forbidden, Unauthenticated
from kvstore.guard import Gate
from kvstore.http import HttpServer
from kvstore.model import commands
from kvstore.model.auth_commands import AUTH_ENABLE, ROLE_ADD, ROLE_GRANT, USER_ADD, USER_GRANT
from kvstore.model.permissions import READ
from kvstore.redis import RedisServer
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore
from tests.support.pki import Pki


async def failed(client: AsyncClient, key: bytes) -> type[Exception] | None:
    try:
        await client.get(key)
    except (Forbidden, Unauthenticated) as refused:
        return type(refused)
    return None


async def test_the_common_name_is_the_user(tmp_path: Path) -> None:
    pki, store = Pki(tmp_path), MemoryStore()
    for action, *arguments in (
        (ROLE_ADD, "r"),
        (ROLE_GRANT, "r", READ, b"a", b"b"),
        (USER_ADD, "alice", b""),
        (USER_GRANT, "alice", "r"),
        (AUTH_ENABLE, bytes(32), b"record"),
    ):
        op = commands.checked(commands.auth(action, *arguments), store.auth.revision)  # type: ignore[arg-type]
        assert store._apply(op).status == 0
    keeper, gate = pki.keeper("n1"), Gate(store)
    http = HttpServer(store, Metrics(), listen=("127.0.0.1", 0), tls=keeper, gate=gate, shutdown_s=1.0, drain_s=0.05)
    redis = RedisServer(store, Metrics(), listen=("127.0.0.1", 0), tls=keeper, gate=gate, shutdown_s=1.0, drain_s=0.05)
    await http.start()
    await redis.start()
    url = f"https://127.0.0.1:{http.address[1]}"
    found = {}
    for name in ("alice", "mallory", None):
        async with AsyncClient([url], tls=pki.tls(name), sessions=False) as client:
            found[name] = (await failed(client, b"a"), await failed(client, b"b"))
        context = pki.context(None if name is None else pki.client(name))
        reader, writer = await asyncio.open_connection(*redis.address, ssl=context)
        writer.write(b"GET a\r\nGET b\r\n")
        told = b""
        while told.count(b"\r\n") < 2:
            told += await asyncio.wait_for(reader.read(4_096), 5)
        writer.transport.abort()
        first, second = told.splitlines()[:2]
        assert first == (b"$-1" if name == "alice" else b"-NOAUTH Authentication required.")
        assert second.startswith(b"-NOPERM" if name == "alice" else b"-NOAUTH")
    assert found == {
        "alice": (None, Forbidden),
        "mallory": (Unauthenticated, Unauthenticated),
        None: (Unauthenticated, Unauthenticated),
    }
    await http.close()
    await redis.close()
    gate.close()
