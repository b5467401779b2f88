"""One process that attacks: conversations `--first` up to `--last` of one arm, each made from its number alone.

    python -m tests.fuzz.worker peer --seed 1 --first 41000 --last 41001 < facts.json

`facts.json` is what the campaign has written beside its summary. A line of JSON on standard output says every second
what was done since the beginning; the last one has "over".
"""

import argparse
import asyncio
import dataclasses
import json
import random
import ssl
import sys
import time
from typing import Any, Final

import uvloop

from kvstore import limits
from kvstore.consensus import wire
from kvstore.consensus.messages import BadMessage
from tests.fuzz import requests
from tests.fuzz.attack import Said, Tally, converse, to_json
from tests.fuzz.corpus import recorded
from tests.fuzz.frames import CLOSED, LATE, REFUSED, TRUNCATED, Facts, Talker, frame, hello
from tests.fuzz.mutations import damaged

ARMS: Final = ("peer", "http", "redis")
AT_ONCE: Final = {"peer": 24, "http": 48, "redis": 24}
TELL_S: Final = 1.0


class Peers:
    """Talks to the peer ports, each as a few strangers; and answers the nodes that dial them back."""

    def __init__(self, told: dict[str, Any], rng: random.Random) -> None:
        self.told = told
        self._rng = rng
        self.context = _context(told["tls"]["stranger"]) if told["tls"] else None
        self._server: asyncio.Server | None = None
        self.answers = 0
        self._talkers: list[tuple[int, Talker]] = []
        self._free: asyncio.Queue[int] = asyncio.Queue()
        self._hello = b""

    async def start(self) -> None:
        """Listen where the strangers are said to be."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        told = self.told
        for stranger in (f"{told['stranger']}-{number}" for number in range(told["strangers"])):
            for name, peer_port in told["peer_ports"].items():
                facts = Facts(name, told["cluster_id"], told["members"], told["floor"], stranger, f"127.0.0.1:{port}")
                self._talkers.append((peer_port, Talker(recorded(), facts)))
                self._free.put_nowait(len(self._talkers) - 1)
                self._hello = wire.encode_greeting(hello(facts, self._rng))

    async def attack(self, number: int, rng: random.Random, tally: Tally) -> None:
        """Conversation `number`, as a stranger who is not speaking to that node now: a second connection would end the
        first.
        """
        which = await self._free.get()
        try:
            port, talker = self._talkers[which]
            made = talker.conversation(rng)
            said = Said(made.data, made.mutated, made.ends, made.hold, made.ends in (TRUNCATED, CLOSED, REFUSED))
            late = made.ends == LATE
            begun = time.monotonic()
            await converse(said, port, number, tally, self.context)
            if late and time.monotonic() - begun < limits.HANDSHAKE_S_MAX / 2:
                tally.complain(number, "half a hello was not waited for")
        finally:
            self._free.put_nowait(which)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A node dials: damage what it is told."""
        rng, sound = self._rng, self._hello
        try:
            async with asyncio.timeout(5):
                await reader.read(4_096)
            kind = rng.randrange(4)
            self.answers += 1
            writer.write(
                damaged(rng, sound)
                if kind == 0
                else frame(damaged(rng, sound[9:]))
                if kind == 1
                else sound[: rng.randrange(len(sound))]
                if kind == 2
                else rng.randbytes(rng.randrange(200))
            )
            await writer.drain()
        except (OSError, TimeoutError, BadMessage):
            pass
        finally:
            writer.transport.abort()


class Door:
    """Talks to the HTTP doors or the Redis doors."""

    def __init__(self, told: dict[str, Any], arm: str) -> None:
        self._ports = list(told[f"{arm}_ports"].values())
        self._token = told["tokens"][arm]
        self._make = requests.http if arm == "http" else requests.redis
        self._context = _context(told["tls"]["client"]) if told["tls"] else None
        self.answers = 0

    async def start(self) -> None:
        """Nothing to do."""

    async def attack(self, number: int, rng: random.Random, tally: Tally) -> None:
        """Conversation `number`."""
        said = self._make(rng, self._token)
        if self._context is not None and said.leave_s is None:
            said = dataclasses.replace(said, leave_s=requests.LEAVE_S)  # no half of an end: the node waits for more
        await converse(said, self._ports[number % len(self._ports)], number, tally, self._context)


def _context(told: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=told["ca"])
    context.check_hostname = False
    context.load_cert_chain(told["cert"], told["key"])
    return context


async def run(arm: str, seed: int, first: int, last: int, told: dict[str, Any]) -> Tally:
    """All of it."""
    tally = Tally()
    attacker = Peers(told, random.Random(f"{seed}/answers")) if arm == "peer" else Door(told, arm)
    await attacker.start()
    numbers = iter(range(first, last))
    said_at = time.monotonic()

    async def some() -> None:
        nonlocal said_at
        for number in numbers:
            await attacker.attack(number, random.Random(f"{seed}/{arm}/{number}"), tally)
            if time.monotonic() - said_at > TELL_S:
                said_at = time.monotonic()
                print(json.dumps(to_json(tally)), flush=True)

    await asyncio.gather(*(some() for _ in range(AT_ONCE[arm])))
    print(json.dumps({**to_json(tally), "answers": attacker.answers, "over": True}), flush=True)
    return tally


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, required=True)
    options = parser.parse_args()
    tally = uvloop.run(run(options.arm, options.seed, options.first, options.last, json.load(sys.stdin)))
    return 1 if tally.odd else 0


if __name__ == "__main__":
    sys.exit(main())
