"""What happens in one simulated run: a plan of faults and of client operations, made from a seed, as plain data.

A plan can be printed, and shortened part by part (`kvjepsen.shrink`) while what remains stays the same.
"""

import random
from typing import Any, Final, NamedTuple

KEYS: Final = 6
CLIENTS: Final = 5
PUT: Final = "put"
DELETE: Final = "delete"
GET: Final = "get"
RANGE: Final = "range"


class Fault(NamedTuple):
    """Something that breaks at `at_s` and is put right at `until_s`. `nodes` are whom it strikes, `amount` how much."""

    at_s: float
    until_s: float
    kind: str
    nodes: tuple[str, ...]
    amount: int = 0


class Operation(NamedTuple):
    """A client's request, `pause_s` after its one before. `condition` names a rule, see kvjepsen.runners.sim_clients.

    `again` is a node to which the same request is sent once more, under the same idempotency key, whatever came of it.
    `staleness_s`: how stale a read at level ONE may be.
    """

    pause_s: float
    kind: str
    key: str
    node: str
    level: str
    condition: str | None
    size: int
    timeout_s: float
    again: str | None = None
    staleness_s: float | None = None


class Schedule(NamedTuple):
    """One run, whole. `tight`: the bounds of replication are so small that they are met all the time. The first
    `sessions` clients number their writes and repeat what they got no answer to.
    """

    seed: int
    tight: bool
    nodes: tuple[str, ...]
    spares: tuple[str, ...]
    faults: tuple[Fault, ...]
    clients: tuple[tuple[Operation, ...], ...]
    sessions: int = 0

    def lines(self) -> list[str]:
        """The plan for people."""
        faults = [
            f"{fault.at_s:8.3f} s to {fault.until_s:8.3f} s  {fault.kind} {','.join(fault.nodes)}"
            + (f" ({fault.amount})" if fault.amount else "")
            for fault in self.faults
        ]
        operations = sum(len(client) for client in self.clients)
        return [
            f"seed {self.seed}: {len(self.nodes)} nodes, {len(self.clients)} clients with {operations} operations"
            + (", tight bounds" if self.tight else ""),
            *faults,
        ]


# Kind -> (how often, shortest, longest) in seconds.
FAULTS: Final[dict[str, tuple[int, float, float]]] = {
    "kill": (3, 0.02, 1.5),
    "power": (4, 0.02, 1.5),
    "crash": (6, 0.02, 1.0),  # at the n-th operation on the disk
    "blackout": (2, 0.01, 0.6),  # every node loses power
    "stop": (2, 0.02, 0.8),
    "pause": (3, 0.05, 1.5),
    "isolate": (3, 0.1, 2.0),
    "halves": (3, 0.1, 2.0),
    "one-way": (3, 0.1, 2.0),
    "bridge": (1, 0.2, 2.0),
    "ring": (1, 0.2, 2.0),
    "reset": (5, 0.001, 0.002),
    "slow": (2, 0.2, 2.0),
    "disk-full": (1, 0.2, 1.0),
    "bad-sync": (1, 0.05, 0.6),
    "bad-write": (1, 0.05, 0.6),
    "clock-jump": (1, 0.5, 2.0),
    "transfer": (2, 0.1, 0.5),
}
# In some runs the members change too. Nothing is put right at the end of these.
MEMBERS: Final[dict[str, tuple[int, float, float]]] = {
    "add": (4, 0.5, 3.0),
    "remove": (4, 0.3, 2.0),
    "replace": (2, 0.5, 4.0),  # the disk is lost; the member is removed and added again
}
SPARES: Final = ("n8", "n9")


def make_schedule(seed: int, *, seconds: float = 6.0, operations: int = 45, members: bool = False) -> Schedule:
    """The plan of `seed`: faults begin within `seconds`, each client has so many operations.

    `members`: in a third of the plans, members are added, removed and replaced too.
    """
    rng = random.Random(f"{seed} schedule")
    nodes = tuple(f"n{number + 1}" for number in range(rng.choice((3, 3, 3, 5))))
    kinds, weights = list(FAULTS), [weight for weight, *_ in FAULTS.values()]
    # Few kinds a run, so that each occurs often enough to meet itself.
    chosen = rng.choices(kinds, weights, k=rng.randint(1, 6))
    spares: tuple[str, ...] = ()
    if members and rng.random() < 0.35:
        spares = SPARES
        chosen += rng.choices(list(MEMBERS), [weight for weight, *_ in MEMBERS.values()], k=len(chosen))
    faults = [_fault(rng, rng.choice(chosen), nodes, spares, seconds) for _ in range(rng.randint(3, 16))]
    pace_s = seconds / operations
    big = rng.random() < 0.3
    clients = tuple(
        tuple(_operation(rng, nodes, pace_s, big) for _ in range(operations)) for _ in range(rng.randint(2, CLIENTS))
    )
    tight = rng.random() < 0.4
    return Schedule(seed, tight, nodes, spares, tuple(sorted(faults)), clients, rng.randint(0, len(clients)))


def _fault(rng: random.Random, kind: str, nodes: tuple[str, ...], spares: tuple[str, ...], seconds: float) -> Fault:
    _, shortest, longest = FAULTS.get(kind) or MEMBERS[kind]
    at_s = round(rng.uniform(0.0, seconds), 4)
    until_s = round(at_s + rng.uniform(shortest, longest), 4)
    shuffled = rng.sample(nodes, len(nodes))
    amount = 0
    if kind == "blackout":
        struck = nodes
    elif kind in ("halves", "bridge", "ring"):
        struck = tuple(shuffled)
        amount = rng.randint(1, len(nodes) // 2)
    elif kind == "add":
        struck = (shuffled[0], rng.choice(spares))
    elif kind in ("one-way", "reset", "transfer", "remove", "replace"):
        struck = tuple(shuffled[:2])
    elif kind == "slow":
        struck = ()
        amount = rng.randint(2, 30)
    elif kind == "clock-jump":
        struck = (shuffled[0],)
        amount = rng.randint(-5_000, 5_000)
    else:
        struck = tuple(rng.sample(nodes + spares, 1 if rng.random() < 0.8 else 2))
        if kind == "crash":
            amount = rng.randint(1, 40)
        elif kind == "disk-full":
            amount = rng.randint(0, 30_000)
    return Fault(at_s, until_s, kind, struck, amount)


def _operation(rng: random.Random, nodes: tuple[str, ...], pace_s: float, big: bool) -> Operation:
    def pick(*choices: tuple[int, Any]) -> Any:
        return rng.choices([what for _, what in choices], [weight for weight, _ in choices])[0]

    kind = pick((50, PUT), (6, DELETE), (40, GET), (4, RANGE))
    level, condition, again, staleness_s = "quorum", None, None, None
    if kind == GET:
        level = pick((6, "quorum"), (3, "one"), (1, "all"))
        if level == "one":
            staleness_s = pick((2, None), (1, 0.15), (1, 0.5))
    elif kind == RANGE:
        level = pick((7, "quorum"), (3, "one"))
    else:
        level = pick((6, "quorum"), (2, "all"), (3, "one"))
        if level != "one":
            condition = pick((6, None), (2, "as read"), (1, "absent"), (1, "exists"))
        again = pick((5, None), (1, rng.choice(nodes)))
    return Operation(
        round(rng.expovariate(1 / pace_s), 4),
        kind,
        f"k{rng.randrange(KEYS)}",
        rng.choice(nodes),
        level,
        condition,
        rng.choice((0, 20, 200, 3_000)) if big else rng.choice((0, 20, 200)),
        rng.choice((0.3, 1.0, 2.0)),
        again,
        staleness_s,
    )
