"""What one key is: pure step functions from a state and a call to the next state. No clock, no search, no history.

A call is an operation reduced to what it does and what it saw. A key is a register that begins absent; `append` puts a
string behind the one that is there. Where a history carries revisions or versions, the state has them too:

- A write acknowledged at revision r has its place: after every mutation below r, before every one above.
- A read that shows (value, r) saw exactly that mutation. So it tells the revision of a write of unknown outcome.
- Each mutation adds 1 to the key's version; absent is version 0.

A revision that nobody told is only known to be above the one before it.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from kvjepsen.records import ABSENT, NEVER, UNMET, Operation, comparable
from kvstore.errors import LocalError

READ: Final = 0
WRITE: Final = 1  # of None: a delete
CAS: Final = 2
APPEND: Final = 3
UNEQUAL: Final = 4  # a cas that failed: another value was there
UNMOVED: Final = 5  # a write that failed: the key had not the revision that was asked for

# A step that the state does not allow.
IMPOSSIBLE: Final = object()

State = Any
Step = Callable[[State, "Call"], State]


class UnknownOperation(LocalError):
    """The model does not know what this operation does."""

    exit_code: ClassVar[int] = 7


class Call(NamedTuple):
    """What an operation did, between `invoked` and `ended`. `asked` is the revision that it was conditional on.

    `required`: it took effect for certain. Else it may have, at any time after `invoked`, or never.
    """

    i: int
    invoked: int
    ended: int
    required: bool
    kind: int
    value: Any = None
    old: Any = None
    revision: int | None = None
    version: int | None = None
    asked: int | None = None

    @property
    def observes(self) -> bool:
        """Whether it only looks."""
        return self.kind in (READ, UNEQUAL, UNMOVED)

    @property
    def blind(self) -> bool:
        """Whether its result does not depend on what was there."""
        return self.kind == WRITE and self.asked is None


class Versioned(NamedTuple):
    """The state of a key whose revisions are told. Not `exact`: the revision is only known to be above `revision`, and
    none of `barred`. `version` is None throughout a history that tells none.
    """

    value: Any = None
    revision: int = 0
    exact: bool = True
    version: int | None = None
    barred: frozenset[int] = frozenset()


class Model(NamedTuple):
    """A name, and the operations that it knows."""

    name: str
    functions: frozenset[str]


MODELS: Final = {
    "register": Model("register", frozenset({"read", "write", "cas", "delete"})),
    "kv": Model("kv", frozenset({"read", "write", "cas", "delete", "append"})),
}


def calls_of(operations: Sequence[Operation], model: Model) -> list[Call]:
    """The calls of one key; what observed nothing and did nothing is left out. Raises UnknownOperation."""
    calls = []
    for operation in operations:
        if operation.f not in model.functions:
            raise UnknownOperation(f"operation {operation.i} is {operation.f!r}: model {model.name} does not know it")
        if operation.linearizable:
            call = _call(operation)
            if call is not None:
                calls.append(call)
    return calls


def stepper(calls: Sequence[Call]) -> tuple[State, Step]:
    """The first state of a key and its step: with revisions where one of its calls tells any."""
    if any(call.version is not None for call in calls):
        return Versioned(version=0), versioned
    if any(call.revision is not None or call.asked is not None for call in calls):
        return Versioned(), versioned
    return None, register


def register(value: State, call: Call) -> State:
    """A key without revisions; the state is its value, None when absent."""
    kind = call.kind
    if kind == READ:
        return value if value == call.value else IMPOSSIBLE
    if kind == WRITE:
        return call.value
    if kind == CAS:
        return call.value if value == call.old else IMPOSSIBLE
    if kind == UNEQUAL:
        return value if value != call.old else IMPOSSIBLE
    assert kind == APPEND, "conditions on revisions need a state that has them"
    return _appended(value, call.value)


def versioned(state: Versioned, call: Call) -> State:
    """A key with revisions."""
    kind = call.kind
    if kind == READ:
        return _read(state, call)
    if kind == UNEQUAL:
        return state if state.value != call.old else IMPOSSIBLE
    if kind == UNMOVED:
        return _unmoved(state, call.asked or 0)
    if (kind == CAS and state.value != call.old) or (call.asked is not None and not _met(state, call.asked)):
        return IMPOSSIBLE
    value = _appended(state.value, call.value) if kind == APPEND else call.value
    version = None if state.version is None else 0 if value is None else state.version + 1
    if call.version is not None and call.version != version:
        return IMPOSSIBLE
    above = state.revision if call.asked is None or state.exact else max(call.asked, state.revision)
    if call.revision is None:
        return Versioned(value, above, False, version)
    return Versioned(value, call.revision, True, version) if call.revision > above else IMPOSSIBLE


def _read(state: Versioned, call: Call) -> State:
    if state.value != call.value:
        return IMPOSSIBLE
    # A store may leave out the version of what is absent, or call it 0.
    if call.version is not None and call.value is not None and call.version != state.version:
        return IMPOSSIBLE
    if call.revision is None or call.value is None:
        return state
    if state.exact:
        return state if call.revision == state.revision else IMPOSSIBLE
    if call.revision <= state.revision or call.revision in state.barred:
        return IMPOSSIBLE
    return Versioned(state.value, call.revision, True, state.version)


def _unmoved(state: Versioned, asked: int) -> State:
    if not _met(state, asked):
        return state
    if state.exact or asked == 0:
        return IMPOSSIBLE
    return state._replace(barred=state.barred | {asked})


def _met(state: Versioned, asked: int) -> bool:
    """Whether the condition can hold: 0 asks for absence."""
    if asked == 0:
        return state.value is None
    if state.exact:
        return state.value is not None and asked == state.revision
    return state.value is not None and asked > state.revision and asked not in state.barred


def _appended(value: Any, more: str) -> Any:
    return (value or "") + more if more else value


def _call(op: Operation) -> Call | None:
    told = (op.i, op.i, op.ended)
    if op.outcome == "fail":
        return _failed(op)
    if op.f == "read":
        if op.outcome != "ok":
            return None
        return Call(*told, True, READ, comparable(op.shown), None, op.revision, op.version)
    changed = (op.revision, op.version, op.asked_revision)
    if op.f == "write":
        return Call(*told, op.took_effect, WRITE, comparable(op.value), None, *changed)
    if op.f == "delete":
        # The version of a deleted key is 0, or not told.
        return Call(*told, op.took_effect, WRITE, None, None, op.revision, None, op.asked_revision)
    if op.f == "cas":
        old, new = op.value
        return Call(*told, op.took_effect, CAS, comparable(new), comparable(old), *changed)
    if not isinstance(op.value, str):
        raise UnknownOperation(f"operation {op.i} appends what is not a string")
    return Call(*told, op.took_effect, APPEND, op.value, None, *changed)


def _failed(op: Operation) -> Call | None:
    """A failure did nothing; but it may tell what was there."""
    told = (op.i, op.i, op.ended, True)
    if op.error == ABSENT:
        return Call(*told, READ)
    if op.error != UNMET:
        return None
    if op.asked_revision is not None:
        return Call(*told, UNMOVED, asked=op.asked_revision)
    return Call(*told, UNEQUAL, old=comparable(op.value[0])) if op.f == "cas" else None


def cut(calls: Sequence[Call], moment: int) -> list[Call]:
    """The calls as they were known at a moment: what ended later was of unknown outcome then."""
    known = []
    for call in calls:
        if call.invoked <= moment:
            if call.ended <= moment:
                known.append(call)
            elif not call.observes:
                known.append(loosened(call))
    return known


def loosened(call: Call) -> Call:
    """The same mutation, as if nobody knew whether, when and at which revision it took effect."""
    return call._replace(ended=NEVER, required=False, revision=None, version=None)
