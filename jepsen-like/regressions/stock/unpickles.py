"""What arrives from outside is unpickled: a payload that makes a file is sent through every door of the engine."""

import os
import pickle
import socket
import struct
import sys
import time
import zlib
from typing import Any

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import TCPNode

from regressions.stock.bench import Bench, verdict

directory = sys.argv[1]


class Payload:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def ran(name: str) -> bool:
    return os.path.isdir(os.path.join(directory, name))


def payload(name: str) -> bytes:
    return pickle.dumps(Payload(os.path.join(directory, name)), 2)


def from_an_alleged_leader(*messages: dict[str, Any]) -> None:
    """Appends reach a, one after the other; what they raise there is of no interest."""
    bench = Bench("a", "b", "c")
    append = {"type": "append_entries", "term": 1, "prevLogIdx": 1, "prevLogTerm": 0, "commit_index": 2}
    bench.wires["b", "a"].extend(append | message for message in messages)
    try:
        while bench.deliver(("b", "a")):
            bench.tick("a")
    except Exception as error:
        print(repr(error), file=sys.stderr)


def from_the_network() -> None:
    """A stranger connects to the port of a node and sends one frame: no handshake, no password."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    node = SyncObj(TCPNode(f"127.0.0.1:{port}"), [], SyncObjConf(autoTick=False, bindAddress=f"127.0.0.1:{port}"))
    frame = zlib.compress(payload("frame"))
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(struct.pack("i", len(frame)) + frame)
        deadline = time.monotonic() + 5.0
        while not ran("frame") and time.monotonic() < deadline:
            node.doTick(0.05)
    node._doDestroy()


from_the_network()
for kind in (0, 2, 3):
    from_an_alleged_leader({"entries": [(bytes((kind,)) + payload(f"kind-{kind}"), 2, 1)]})
from_an_alleged_leader(
    {"transmission": "start", "data": payload("transmission")}, {"transmission": "finish", "data": b""}
)
verdict(ran={name: ran(name) for name in ("frame", "kind-0", "kind-2", "kind-3", "transmission")})
