"""The state machine in tests: with small replicated settings, entries one after the other, snapshots in memory."""

from collections.abc import Iterable
from typing import Any

import msgpack

from kvstore.model.commands import KIND_INTENTS, KIND_OPS, Command, Op, Origin, decode, encode, encode_intents
from kvstore.model.results import OpResult
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine
from kvstore.state.settings import default_settings

_SECTIONS = "header records tombstones sessions idempotency_keys origins runs leases history auth"
_NAMES = dict(enumerate(_SECTIONS.split()))


def load(frames: Iterable[bytes]) -> Machine:
    """The machine that these frames describe. Raises CorruptSnapshot."""
    loader = Machine.loader()
    for frame in frames:
        loader.add(frame)
    return loader.finish()


def header_of(frames: list[bytes]) -> dict[str, Any]:
    """What the first frame tells."""
    header: dict[str, Any] = msgpack.unpackb(frames[0])[1]
    return header


def with_header(frames: list[bytes], **changes: Any) -> list[bytes]:
    """The same frames under a header with other values."""
    return [msgpack.packb((0, header_of(frames) | changes)), *frames[1:]]


def with_settings(machine: Machine, **settings: int) -> Machine:
    """A copy of `machine` with other replicated settings, which travel in its snapshot."""
    return load(with_header(list(machine.snapshot()), settings=dict(machine.settings) | settings))


def small_machine(**settings: int) -> Machine:
    """A new machine with these replicated settings, and the defaults for the rest."""
    assert settings.keys() <= default_settings().keys()
    return with_settings(Machine(), **settings)


def contents_of(frames: Iterable[bytes]) -> dict[str, Any]:
    """Everything that the frames hold, by the name of its section, in order."""
    found: dict[str, Any] = {name: [] for name in _NAMES.values()}
    for frame in frames:
        kind, payload = msgpack.unpackb(frame)
        if kind == 0:
            found["header"] = payload
        else:
            found[_NAMES[kind]] += payload
    return found


def apply(machine: Machine, *ops: Op, at: int = 0, node: str = "n1") -> list[OpResult]:
    """An entry of client operations at log time `at`, or right after the last one if that is behind."""
    data = encode(list(ops), Stamp(at, 0, node, 0))
    return machine.apply(machine.applied_index + 1, machine.applied_term or 1, decode(data))


def apply_intents(machine: Machine, origin: Origin, *ops: Op, at: int = 0) -> list[OpResult]:
    """An entry of one node's level ONE writes. If `origin` does not tell the leader's wall clock, it is at log time."""
    origin = origin._replace(wall_ms=origin.wall_ms or max(at, machine.last_stamp.ms))
    data = encode_intents(list(ops), Stamp(at, 0, "n1", 0), origin)
    return machine.apply(machine.applied_index + 1, machine.applied_term or 1, decode(data))


def intent_put(key: bytes, value: bytes, ms: int, counter: int = 0, once: bytes | None = None) -> Op:
    """A level ONE put with the stamp that its node gave it."""
    return (0, key, value, ms, counter, once)


def intent_delete(key: bytes, ms: int, counter: int = 0, once: bytes | None = None) -> Op:
    """A level ONE delete with the stamp that its node gave it."""
    return (1, key, ms, counter, once)


def command(*ops: Any, stamp: Any = None, origin: Any = None, session: Any = None) -> Command:
    """An envelope that may be malformed: it does not pass through the codec."""
    stamp = Stamp(5, 0, "n1", 0) if stamp is None else stamp
    return Command(KIND_OPS if origin is None else KIND_INTENTS, list(ops), stamp, session, origin)
