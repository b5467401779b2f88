"""Whom nobody has added: let in if they are of this cluster, and never under the node's own name."""

import asyncio
import json
from typing import Any

from kvstore.config import Address
from kvstore.consensus import wire
from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.engine import Peer
from kvstore.consensus.transport import PeerTransport
from kvstore.node.connections import Connections

CLUSTER = "c" * 32


class Events:
    def __getattr__(self, name: str) -> Any:
        return lambda *_arguments: None


async def greet(port: int, name: str) -> wire.Greeting:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire.encode_greeting(wire.Hello(1, CLUSTER, name, f"id of {name}", 1, "", "127.0.0.1:1")))
    decoder = wire.FrameDecoder()
    async with asyncio.timeout(10):
        while (payload := decoder.next_payload()) is None:
            piece = await reader.read(65_536)
            assert piece, "ended without an answer"
            decoder.feed(piece)
    writer.close()
    return wire.decode_greeting(payload)


async def test_whoever_comes_under_the_nodes_own_name_is_refused_and_counted() -> None:
    loop = asyncio.get_running_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: failures.append(context))
    members = tuple(Member(name, "127.0.0.1:1", "", True, f"id of {name}") for name in ("n1", "n2"))
    connections = Connections(
        loop=loop,
        name="n1",
        own={},
        listen=Address("127.0.0.1", 0),
        configuration=lambda: Configuration(1, members),
    )
    transport = PeerTransport(
        hello=Peer("n1", "id of n1", 1, "", "127.0.0.1:1"),
        cluster_id=CLUSTER,
        events=Events(),
        authorise=connections.authorise,
        stranger=connections.let_in,
    )
    await connections.start(transport)
    try:
        assert transport.address is not None
        answer = await greet(transport.address[1], "n1")
        assert answer == wire.Refusal("n1 is not a peer of n1")
        assert transport.stats.handshakes_refused == 1
        assert isinstance(await greet(transport.address[1], "n3"), wire.Hello), "a stranger of this cluster is let in"
        assert failures == [], json.dumps([str(each) for each in failures])
    finally:
        connections.close()
        await transport.close()
