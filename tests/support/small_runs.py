"""Runs of the small store: clients and faults from a seed, and the history that comes of it.

Clients keep a session, send a cas again when no answer comes, and give up in the end; faults are crashes, losses of
power of one node or all, restarts in quick succession, and nodes cut off from the others. Then everything is healed,
and every key is read on every node.
"""

import io
import random
from typing import Any

from kvjepsen.records import History, Line, Pairing, Recorder
from tests.support.small_raft import Cluster, Node
from tests.support.small_state import Entry

REGISTERS = ("ra", "rb", "rc")
COUNTER, LIST, SET = "counter", "list", "set"
KEYS = (*REGISTERS, COUNTER, LIST, SET)

# Kinds of operations, by the number that is drawn for them.
READ_HERE, MUTATION = 0.4, 0.9

LOAD_MS = 4_000.0
SETTLE_MS = 1_500.0
GIVE_UP_MS = 160.0
SEND_AGAIN_MS = 45.0


def run(seed: int, bug: str = "") -> History:
    """One run. The same seed gives the same clients and faults, but for what the bug changes."""
    chance = random.Random(seed)
    cluster = Cluster(chance, chance.choice((3, 3, 5)), bug)
    sink = io.BytesIO()
    recorder = Recorder(sink, lambda: int(cluster.clock.now * 1e6))
    clients = [Client(number, cluster, recorder) for number in range(5)]
    for client in clients:
        client.go_on()
    _watch(cluster, recorder)
    _Faults(cluster, recorder)
    cluster.clock.run_until(LOAD_MS + SETTLE_MS)
    _read_everything(cluster, recorder)
    return read(sink.getvalue())


def read(data: bytes) -> History:
    """The history that was recorded."""
    import msgspec

    pairing = Pairing()
    for raw in data.splitlines():
        pairing.add(msgspec.json.decode(raw, type=Line))
    return pairing.history


class Client:
    """One session. Its process changes when an outcome is unknown."""

    def __init__(self, number: int, cluster: Cluster, recorder: Recorder) -> None:
        self.number, self.cluster, self.recorder = number, cluster, recorder
        self.process = number
        self.known = 0  # the highest revision that it has seen
        self.last_shown: dict[str, Any] = {}
        self.asked = 0
        self.pause_ms = 5.0
        self.next_one: tuple[str, float] | None = None  # key and kind of the next operation, where it follows the last
        self.next_value = iter(range(number * 100_000 + 1, (number + 1) * 100_000))

    def go_on(self) -> None:
        """After a while, the next operation."""
        if self.cluster.clock.now < LOAD_MS:
            self.cluster.clock.after(self.cluster.chance.expovariate(1 / self.pause_ms), self.operate)

    def operate(self) -> None:
        chance = self.cluster.chance
        node = chance.choice(self.cluster.nodes)
        key, what = chance.choice(KEYS), chance.random()
        if self.next_one is not None:
            (key, what), self.next_one = self.next_one, None
        told: dict[str, Any] = {"key": key, "node": node.name, "client": f"c{self.number}"}
        if what < 0.28:
            line = self.recorder.invoke(self.process, "read", level="quorum", **told)
            self.finish(line, self.send_read(node, key))
        elif what < 0.5:
            self.read_here(node, key, told)
        elif key in REGISTERS:
            self.mutate(node, key, told)
        else:
            f = {COUNTER: "increment", LIST: "append", SET: "add"}[key]
            value = chance.randint(1, 3) if key == COUNTER else next(self.next_value)
            line = self.recorder.invoke(self.process, f, value=value, level="quorum", **told)
            self.finish(line, self.send_write(node, f, key, value, None, "quorum"), again=True)

    def read_here(self, node: Node, key: str, told: dict[str, Any]) -> None:
        kind = self.cluster.chance.random()
        asked = self.known if kind < 0.5 else None
        age = 40 if kind > 0.8 else None
        line = self.recorder.invoke(self.process, "read", level="one", revision=asked, max_staleness_ms=age, **told)
        send = lambda answer: self.cluster.clock.after(  # noqa: E731
            1.0, lambda: node.read_here(key, asked, age, answer) if node.up else answer("fail", "unavailable")
        )
        self.finish(line, send)

    def mutate(self, node: Node, key: str, told: dict[str, Any]) -> None:
        chance = self.cluster.chance
        f = chance.choice(("write", "write", "write", "cas", "cas", "delete"))
        value: Any = None if f == "delete" else next(self.next_value)
        shown = self.last_shown.pop(key, None)
        if shown is not None and chance.random() < 0.8:
            f, value = "cas", [shown, value or next(self.next_value)]
        elif f == "cas":
            f = "write"
        asked = self.known if f == "write" and chance.random() < 0.1 else None
        level = "all" if f == "write" and chance.random() < 0.4 else "quorum"
        line = self.recorder.invoke(self.process, f, value=value, level=level, revision=asked, **told)
        self.finish(line, self.send_write(node, f, key, value, asked, level), again=f == "cas")

    def send_read(self, node: Node, key: str) -> Any:
        def arrive(answer: Any) -> None:
            if not node.up:
                answer("fail", "unavailable")
            elif node.role == "leader" or self.cluster.bug == "follower read served as QUORUM":
                node.read(key, answer) if node.role == "leader" else node.answer_read(key, answer)
            elif node.leader is not None and node.leader is not node:
                leader = node.leader
                node.send(leader, lambda: leader.read(key, answer) if leader.role == "leader" else None)
            else:
                answer("fail", "no_leader")

        return lambda answer: self.cluster.clock.after(self.cluster.chance.uniform(0.5, 2), lambda: arrive(answer))

    def send_write(self, node: Node, f: str, key: str, value: Any, asked: int | None, level: str) -> Any:
        self.asked += 1
        id = (self.number, self.asked)

        def propose(at: Node, answer: Any) -> None:
            if at.role == "leader":
                at.propose(Entry(at.term, id, f, key, value, asked), answer, level)

        def arrive(answer: Any) -> None:
            # What is sent again goes to another node.
            at = node if answer.first else self.cluster.chance.choice(self.cluster.nodes)
            if not at.up:
                answer("fail", "unavailable")
            elif at.role == "leader":
                propose(at, answer)
            elif at.leader is not None and at.leader is not at:
                leader = at.leader
                at.send(leader, lambda: propose(leader, answer))
            else:
                answer("fail", "no_leader")

        return lambda answer: self.cluster.clock.after(self.cluster.chance.uniform(0.5, 2), lambda: arrive(answer))

    def finish(self, line: Line, send: Any, *, again: bool = False) -> None:
        """Send it, write down what is answered, and go on."""
        waiting = _Waiting(self, line)
        send(waiting.attempt(first=True))
        if again:
            for attempt in (1, 2):
                self.cluster.clock.after(
                    attempt * SEND_AGAIN_MS, lambda: waiting.done or send(waiting.attempt(first=False))
                )
        self.cluster.clock.after(GIVE_UP_MS, waiting.give_up)


class _Attempt:
    def __init__(self, waiting: "_Waiting", first: bool) -> None:
        self.waiting, self.first = waiting, first

    def __call__(self, outcome: str, told: Any = None, version: int | None = None, shown: Any = None) -> None:
        # The answer travels too, and may be lost.
        clock, chance = self.waiting.client.cluster.clock, self.waiting.client.cluster.chance
        if chance.random() < 0.04:
            return
        clock.after(chance.uniform(0.5, 2), lambda: self.waiting.take(outcome, told, version, shown))


class _Waiting:
    """An operation that was sent; the first answer counts."""

    def __init__(self, client: Client, line: Line) -> None:
        self.client, self.line = client, line
        self.done = False
        self.attempts = 0

    def attempt(self, *, first: bool) -> _Attempt:
        self.attempts += 1
        return _Attempt(self, first)

    def take(self, outcome: str, told: Any, version: int | None, shown: Any) -> None:
        client, line = self.client, self.line
        # A refusal of one attempt says nothing of another one.
        if self.done or (
            outcome == "fail" and self.attempts > 1 and told not in ("precondition_failed", "key_not_found")
        ):
            return
        self.done = True
        client.pause_ms = 40.0 if told in ("no_leader", "unavailable") else 5.0
        if outcome == "fail":
            client.recorder.fail(line, told)
        elif line.f == "read":
            client.recorder.ok(line, value=shown, revision=told, version=version)
            client.last_shown[line.key] = shown
            if line.key in REGISTERS and client.cluster.chance.random() < 0.5:
                client.next_one = (line.key, MUTATION)
        else:
            client.recorder.ok(line, revision=told, version=version)
            if line.level == "all":
                client.next_one = (line.key, READ_HERE)
        if outcome == "ok" and told is not None:
            client.known = max(client.known, told)
        client.go_on()

    def give_up(self) -> None:
        if not self.done:
            self.done = True
            self.client.recorder.info(self.line, "timeout")
            self.client.process += 10
            self.client.go_on()


class _Faults:
    """Every so often something breaks, and is mended a while later."""

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        self.cluster, self.recorder = cluster, recorder
        self.next()

    def next(self) -> None:
        self.cluster.clock.after(self.cluster.chance.uniform(100, 450), self.strike)

    def strike(self) -> None:
        cluster, chance = self.cluster, self.cluster.chance
        if cluster.clock.now > LOAD_MS:
            return
        leader = cluster.leader()
        victim = leader if leader is not None and chance.random() < 0.6 else chance.choice(cluster.nodes)
        kind = chance.choice(
            (
                "kill",
                "power loss",
                "all lose power",
                "cut off",
                "cut off",
                "restarting voters",
                "restarting voters",
                "figure 8",
                "figure 8",
            )
        )
        self.recorder.fault(kind, node=victim.name)
        if kind == "cut off":
            cluster.cut_off.add(victim.name)
            cluster.clock.after(chance.uniform(150, 600), lambda: cluster.cut_off.discard(victim.name))
        elif kind == "figure 8":
            if leader is not None:
                _Figure8(cluster, leader)
        elif kind == "all lose power":
            # Disks that lag behind have most to lose.
            dark = chance.uniform(30, 120)
            cluster.slow_until = cluster.clock.now + dark
            cluster.clock.after(dark, self.black_out)
        elif kind == "restarting voters":
            # Two sides that only one node sees, late messages, and voters that restart as soon as they have voted.
            self.stop(victim, power=False, back_ms=1.0)
            others = [node.name for node in cluster.nodes if node is not victim]
            cluster.sides = {name: "ab"[number % 2] for number, name in enumerate(others)}
            cluster.late_until = cluster.clock.now + 500.0
            cluster.on_vote.append(self.restart)
            cluster.clock.after(500.0, self.join)
        else:
            self.stop(victim, power=kind == "power loss", back_ms=chance.uniform(20, 250))
        self.next()

    def join(self) -> None:
        self.cluster.sides = {}
        self.cluster.on_vote.remove(self.restart)

    def restart(self, node: Node) -> None:
        self.cluster.clock.after(3.0, lambda: self.stop(node, power=False, back_ms=1.0))

    def black_out(self) -> None:
        for node in self.cluster.nodes:
            self.stop(node, power=True, back_ms=self.cluster.chance.uniform(5, 60))

    def stop(self, node: Node, *, power: bool, back_ms: float) -> None:
        if node.up:
            node.stop(power=power)
            self.cluster.clock.after(back_ms, node.start)


class _Figure8:
    """Figure 8 of the Raft paper, as far as faults can bring it about.

    A leader is cut off with entries that nobody else has. Who follows it is cut off before it can tell anybody. The
    first one comes back, leads again, and is cut off while it hands out its old entries; then the second one returns.
    """

    def __init__(self, cluster: Cluster, leader: Node) -> None:
        self.cluster, self.first = cluster, leader
        self.second: Node | None = None
        cluster.cut_off.add(leader.name)
        cluster.on_leader.append(self.elected)
        cluster.clock.after(900.0, self.end)

    def elected(self, node: Node) -> None:
        cluster = self.cluster
        if node is not self.first and self.second is None:
            self.second = node
            cluster.cut_off.add(node.name)
            cluster.cut_off.discard(self.first.name)
        elif node is self.first and self.second is not None:
            cluster.clock.after(cluster.chance.uniform(4, 25), self.swap)

    def swap(self) -> None:
        if self.second is None or self.elected not in self.cluster.on_leader:
            return  # it is over
        self.cluster.cut_off.add(self.first.name)
        self.cluster.cut_off.discard(self.second.name)
        self.cluster.clock.after(250.0, self.end)

    def end(self) -> None:
        if self.elected in self.cluster.on_leader:
            self.cluster.on_leader.remove(self.elected)
            self.cluster.cut_off -= {self.first.name, self.second.name if self.second is not None else ""}


def _watch(cluster: Cluster, recorder: Recorder) -> None:
    """Every node is asked about itself, again and again."""

    def tell(node: Node) -> None:
        view: dict[str, Any] = {"term": node.term, "role": node.role}
        if node.digests:
            index = max(node.digests)
            view["digest"] = {"index": index, "value": f"{node.digests[index]:016x}"}
        recorder.observe(node.name, view)

    def look() -> None:
        for node in cluster.nodes:
            if node.up:
                tell(node)
        cluster.clock.after(9.0, look)

    cluster.on_leader.append(tell)
    look()


def _read_everything(cluster: Cluster, recorder: Recorder) -> None:
    for number, node in enumerate(cluster.nodes):
        for key in KEYS:
            line = recorder.invoke(f"final{number}", "read", key=key, node=node.name, client="final", level="one")
            cluster.clock.run_until(cluster.clock.now + 0.1)
            node.read_here(key, None, None, _final(recorder, line))
    leader = cluster.leader()
    for key in KEYS:
        line = recorder.invoke("final", "read", key=key, client="final", level="quorum")
        if leader is None:
            recorder.fail(line, "no_leader")
            continue
        answered: list[int] = []
        answer = _final(recorder, line)
        leader.read(key, lambda *told, answer=answer, seen=answered: (seen.append(1), answer(*told)))
        cluster.clock.run_until(cluster.clock.now + 60)
        if not answered:
            recorder.fail(line, "timeout")


def _final(recorder: Recorder, line: Line) -> Any:
    return lambda _, revision, version, value: recorder.ok(line, value=value, revision=revision, version=version)
