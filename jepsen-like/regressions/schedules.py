"""Directed schedules on members of this store that are stepped by hand (tests.support.lab).

The same shape as `regressions.stock.bench` gives the published engine: `cut` are nodes that lose what goes to or comes
from them, `held` are connections that stall.
"""

from collections.abc import Collection

from tests.support.lab import Lab, LabNode

Wire = tuple[str, str]


def settle(lab: Lab, *, cut: Collection[str] = (), held: Collection[Wire] = ()) -> None:
    """Deliver everything else."""
    going = True
    while going:
        for (source, target), wire in lab.wires.items():
            if (source in cut or target in cut) and (source, target) not in held:
                wire.clear()
        wires = [wire for wire in list(lab.wires) if wire not in held]
        going = bool(wires) and lab.deliver(*wires)


def advance(lab: Lab, seconds: float, *, cut: Collection[str] = (), held: Collection[Wire] = ()) -> None:
    """Let time pass for everybody."""
    end = lab.now + seconds
    while lab.now < end:
        lab.now += 0.01
        for node in lab.nodes.values():
            node.run()
        settle(lab, cut=cut, held=held)


def elect(lab: Lab, name: str, *, cut: Collection[str] = (), held: Collection[Wire] = ()) -> LabNode:
    """Let `name` lead: whoever is elected hands over to it."""
    node = lab.nodes[name]
    for _ in range(50):
        advance(lab, 0.1, cut=cut, held=held)
        for other in lab.leaders():
            if other is not node and other.name not in cut:
                other.member.transfer(name, lambda _error: None)
                other.run()
        settle(lab, cut=cut, held=held)
        if node.member.leads:
            advance(lab, 0.2, cut=cut, held=held)
            if node.member.leads:
                return node
    raise AssertionError(f"{name} was not elected")


def restart(lab: Lab, name: str) -> LabNode:
    """Start `name` again on its disk; nothing of the former process is left."""
    node = lab.nodes[name] = LabNode(lab, name, lab.nodes[name].disk)
    for wire in lab.wires:
        if name in wire:
            lab.wires[wire].clear()
    node.member.start(node)
    node.run()
    return node


def followers(lab: Lab, leader: LabNode) -> list[LabNode]:
    """All but the leader."""
    return [node for node in lab.nodes.values() if node is not leader]
