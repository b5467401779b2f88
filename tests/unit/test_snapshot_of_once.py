"""Snapshots of what makes writes apply once: sessions, idempotency keys, marks and results of level ONE writes."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.limits import SNAPSHOT_FRAME_BYTES_MAX, SNAPSHOT_FRAME_RECORDS
from kvstore.model.commands import Origin, close_session, compact, delete, grant, open_session, put
from kvstore.model.results import APPLIED, EXPIRED, GAP, WRONG_EPOCH, OpResult
from kvstore.state.machine import Machine
from kvstore.state.snapshot import CorruptSnapshot
from tests.support.machines import (
    apply,
    apply_intents,
    contents_of,
    header_of,
    intent_delete,
    intent_put,
    load,
    small_machine,
    with_header,
)

HEADER, RECORDS, TOMBSTONES, SESSIONS, KEYS, ORIGINS, RUNS, LEASES, HISTORY = range(9)
NEW = (SESSIONS, KEYS, ORIGINS, RUNS)


def with_everything(rows: int = 3) -> Machine:
    """Records, tombstones, a floor, sessions (one of them closed), keys, nodes in several epochs, runs of results."""
    machine = small_machine(tombstones_max=2, idempotency_window_ms=1_000, session_window_ms=1_000)
    apply(machine, put(b"i", b""), at=9_000)
    for number in range(1, rows + 1):
        at = 10_000 + number
        apply(machine, open_session(), put(b"s%d" % number, b"v", None, (number, 5, 2)), at=at)
        apply(machine, put(b"k%d" % number, b"v", None, b"key %d" % number), at=at)
        intents = [
            intent_put(b"i%d" % number, b"v", at),
            intent_put(b"i", b"old", 1),
            intent_delete(b"d%d" % number, at),
        ]
        apply_intents(machine, Origin(f"n{number % 5}", 70, 0, 1), *intents, at=at)
    node, (epoch, _) = "n1", machine.mark("n1")
    apply_intents(machine, Origin(node, 71, epoch, 1), intent_put(b"i", b"v", 11_000, 0, b"of an intent"))
    apply(machine, put(b"k", b"w", 9, (1, 6, 2)), delete(b"nothing", None, (1, 7, 2)), open_session())
    apply(machine, close_session(rows + 1))
    first, _ = apply(machine, grant(5_000), grant(6_000))
    apply(machine, put(b"leased", b"v", lease=first.revision), put(b"leased", b"w", lease=-1))
    return machine


def follow(machine: Machine) -> list[Any]:
    """What such a machine answers from now on: to repetitions, late copies, new ones, and as time goes by."""
    seen: list[Any] = [
        apply(
            machine,
            put(b"s1", b"v", None, (1, 5, 2)),
            put(b"s1", b"other", None, (1, 5, 2)),
            put(b"s1", b"v", None, (1, 1, 1)),
            put(b"k", b"w", 9, (1, 6, 2)),
            put(b"k2", b"v", None, b"key 2"),
            put(b"k2", b"other", None, b"key 2"),
            put(b"i", b"v", None, b"of an intent"),
            put(b"i", b"v", None, (4, 1, 1)),
            open_session(),
            at=10_500,
        ),
        apply_intents(machine, Origin("n1", 70, 0, 1), intent_put(b"i", b"again", 10_900), at=10_501),
        apply_intents(machine, Origin("n1", 71, 70, 1), intent_put(b"i", b"v", 11_000), at=10_502),
        apply_intents(machine, Origin("n1", 71, 70, 3), intent_put(b"i", b"gap", 11_000), at=10_503),
        apply_intents(machine, Origin("n2", 70, 0, 4), intent_put(b"d1", b"below the floor", 2), at=10_504),
        [machine.intent_result(node, epoch, n) for node in ("n1", "n2") for epoch in (70, 71) for n in range(6)],
        machine.stamp_floor,
    ]
    for at in (11_000, 11_001, 11_002, 11_500, 11_999, 12_000, 12_001, 12_500):
        apply(machine, at=at)
        seen.append((machine.sessions_open, machine.answers_kept, machine.last_stamp))
    seen += [apply(machine, open_session()), list(machine.snapshot())]
    return seen


@pytest.mark.parametrize("rows", [3, 40])
def test_a_restored_machine_goes_on_as_the_one_that_was_saved(rows: int) -> None:
    machine = with_everything(rows)
    frames = list(machine.snapshot())
    restored = load(frames)
    assert list(restored.snapshot()) == frames
    assert (restored.sessions_open, restored.answers_kept) == (machine.sessions_open, machine.answers_kept)
    for node in ("n0", "n1", "n2", "n9"):
        assert restored.mark(node) == machine.mark(node)
    answers = follow(machine)
    assert follow(restored) == answers
    # And it is not nothing that both agree on.
    repeated, late, duplicate, gap, *_ = answers
    assert [each.status for each in repeated].count(APPLIED) >= 3
    assert repeated[2] == OpResult(EXPIRED, 0, 0)
    assert [late, [each.status for each in gap]] == [[OpResult(WRONG_EPOCH, 0, 0)], [GAP]]
    assert duplicate != late
    assert answers[-2] == [OpResult(APPLIED, rows + 3, 0)]


def test_a_restored_machine_does_not_give_the_number_of_a_session_that_is_gone() -> None:
    machine = Machine()
    apply(machine, open_session(), open_session(), close_session(2), close_session(1))
    restored = load(machine.snapshot())
    assert restored.sessions_open == 0
    assert apply(restored, open_session()) == [OpResult(APPLIED, 3, 0)]


def test_it_is_all_there_and_in_its_order() -> None:
    found = contents_of(with_everything().snapshot())
    assert [row[:3] for row in found["sessions"]] == [[2, 10_002, 2], [3, 10_003, 2], [1, 11_000, 2]]
    assert [[each[0] for each in row[3]] for row in found["sessions"]] == [[5], [5], [5, 6, 7]]
    assert [row[:2] for row in found["idempotency_keys"]] == [
        [b"key 1", 10_001],
        [b"key 2", 10_002],
        [b"key 3", 10_003],
        [b"of an intent", 10_003],
    ]
    assert found["origins"] == [["n2", 70, 3], ["n3", 70, 3], ["n1", 71, 1]]
    assert [row[:4] for row in found["runs"]] == [
        [node, epoch, start, 1]
        for node, epoch, starts in (("n2", 70, 3), ("n3", 70, 3), ("n1", 70, 3), ("n1", 71, 1))
        for start in range(1, starts + 1)
    ]
    header = found["header"]
    assert [header[name] for name in ("sessions", "sessions_next", "idempotency_keys", "origins", "runs")] == [
        3,
        5,
        4,
        3,
        10,
    ]
    assert header["stamp_floor"] != [0, 0, "", 0]


def test_frames_of_each_kind_are_bounded() -> None:
    machine = Machine()
    for _ in range(101):
        apply(machine, *(open_session() for _ in range(10)))
    for number in range(SNAPSHOT_FRAME_RECORDS + 1):
        apply(machine, put(b"k", b"v", None, b"%0256d" % number))
    for sequence in range(1, 1_025):
        apply(machine, *(put(b"k", b"v", None, (session, sequence, 1)) for session in range(1, 101)))
    frames = list(machine.snapshot())
    assert max(map(len, frames)) <= SNAPSHOT_FRAME_BYTES_MAX
    sizes: dict[int, list[int]] = {}
    for kind, rows in map(msgpack.unpackb, frames[1:]):
        sizes.setdefault(kind, []).append(len(rows))
    assert sizes[SESSIONS] == [50] * 20 + [10]
    assert sizes[KEYS] == [SNAPSHOT_FRAME_RECORDS, 1]
    assert list(load(frames).snapshot()) == frames


def test_a_snapshot_shows_the_moment_of_its_call_although_everything_changes_while_it_is_drained() -> None:
    expected = list(with_everything(40).snapshot())
    machine = with_everything(40)
    frames = machine.snapshot()
    seen = []
    for step in range(200):
        at = 11_000 + step * 20
        # At first sessions and keys change and grow; from 12,000 on the old ones expire.
        apply(
            machine,
            put(b"s1", b"w", None, (1 + step % 40, 6 + step, 3 + step)),
            put(b"k%d" % step, b"w", None, b"new %d" % step),
            open_session(),
            close_session(step),
            delete(b"i%d" % step),
            at=at,
        )
        epoch, mark = machine.mark("n2")
        apply_intents(machine, Origin("n2", epoch, 0, mark + 1), intent_put(b"i", b"w", at), intent_put(b"i", b"", 1))
        apply_intents(machine, Origin("n3", 100 + step, machine.mark("n3")[0], 1), intent_delete(b"d", at))
        seen += [frame for frame in [next(frames, None)] if frame is not None]
    seen += frames
    assert len(seen) >= len(expected)
    restored = load(seen)
    assert list(restored.snapshot()) == expected
    assert list(machine.snapshot()) != expected
    assert follow(restored) == follow(with_everything(40))


def test_every_frame_is_needed_and_only_once() -> None:
    frames = list(with_everything(3).snapshot())
    assert [msgpack.unpackb(frame)[0] for frame in frames] == list(range(9))
    for place in range(len(frames)):
        with pytest.raises(CorruptSnapshot):
            load([*frames[:place], *frames[place + 1 :]])
        with pytest.raises(CorruptSnapshot):
            load([*frames[: place + 1], *frames[place:]])
    with pytest.raises(CorruptSnapshot):
        load([*frames[:ORIGINS], frames[RUNS], frames[ORIGINS]])


@pytest.mark.parametrize("name", ["sessions", "idempotency_keys", "origins", "runs", "sessions_next"])
@pytest.mark.parametrize("value", [0, 1, 2, None, "3", [3], True])
def test_a_header_whose_counts_do_not_fit_is_refused(name: str, value: Any) -> None:
    frames = list(with_everything().snapshot())
    with pytest.raises(CorruptSnapshot):
        load(with_header(frames, **{name: value}))


def replaced(kind: int, rows: Any) -> list[bytes]:
    """A snapshot whose frame of this kind holds these rows, under a header that counts them."""
    machine = Machine()
    apply(
        machine, open_session(), open_session(), put(b"k", b"v", once=(2, 1, 1)), put(b"k", b"v", once=b"key"), at=1_000
    )
    apply_intents(machine, Origin("n2", 7, 0, 1), intent_put(b"k", b"w", 1_001))
    apply(machine, grant(5_000), grant(6_000), put(b"k", b"x", lease=1), compact(3))
    frames = [msgpack.packb((kind, rows)) if msgpack.unpackb(each)[0] == kind else each for each in machine.snapshot()]
    name = {
        SESSIONS: "sessions",
        KEYS: "idempotency_keys",
        ORIGINS: "origins",
        RUNS: "runs",
        LEASES: "leases",
        HISTORY: "history",
    }[kind]
    return with_header(frames, **{name: len(rows)})


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (SESSIONS, [[1, 1_000, 1, []], [2, 1_000, 1, [[1, 5, 0, 1, 1, b""]]]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, 1, b"", 0]]),
        (ORIGINS, [["n2", 7, 1]]),
        (RUNS, [["n2", 7, 1, 1, 0, 1]]),
        (RUNS, [["n2", 6, 1, 2, 0, 1], ["n2", 6, 3, 2, 3, 0], ["n2", 7, 1, 1, 0, 1]]),
        (LEASES, [[1, 5_000]]),
        (LEASES, [[1, 5_000], [2, 6_000]]),
        (HISTORY, [[4, b"k", 3, [b"w", 1, 3, 3, 0, [1, 0, "n1", 0]]]]),
    ],
)
def test_rows_as_they_should_be_are_taken(kind: int, rows: list[Any]) -> None:
    load(replaced(kind, rows))


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (SESSIONS, [[1, 1_000, 1, []], [1, 1_000, 1, []]]),
        (SESSIONS, [[0, 1_000, 1, []]]),
        (SESSIONS, [[3, 1_000, 1, []]]),
        (SESSIONS, [[1, -1, 1, []]]),
        (SESSIONS, [[1, 1_000, -1, []]]),
        (SESSIONS, [[1, 1_000, 1.0, []]]),
        (SESSIONS, [["1", 1_000, 1, []]]),
        (SESSIONS, [[1, 1_000, 1, [[1, 5, 0, 1, 1, b""], [1, 5, 0, 1, 1, b""]]]]),
        (SESSIONS, [[1, 1_000, 1, [[1, 5, 0, 1]]]]),
        (SESSIONS, [[1, 1_000, 1, [[1, 5, 0, 1, -1, b""]]]]),
        (SESSIONS, [[1, 1_000, 1, [[1, None, 0, 1, 1, b""]]]]),
        (SESSIONS, [[1, 1_000, 1, [[1, 5, 0, 1, 1, ""]]]]),
        (SESSIONS, [[1, 1_000, 1, [[1, 5, 0, 1, 1]]]]),
        (SESSIONS, [[1, 1_000, 1, 7]]),
        (SESSIONS, [[1, 1_000, 1]]),
        (SESSIONS, [[1, 1_000, 1, []], [2, 999, 1, []]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, 1, b"", 0], [b"key", 1_000, 5, 0, 1, 1, b"", 0]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, 1, "", 0]]),
        (KEYS, [["key", 1_000, 5, 0, 1, 1, b"", 0]]),
        (KEYS, [[b"", 1_000, 5, 0, 1, 1, b"", 0]]),
        (KEYS, [[b"x" * 257, 1_000, 5, 0, 1, 1, b"", 0]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, 1]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, 1, b"", 0, 1]]),
        (KEYS, [[b"key", -1, 5, 0, 1, 1, b"", 0]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, 1, b"", 2]]),
        (KEYS, [[b"key", 1_000, 5, 0, 1, True, b"", 0]]),
        (KEYS, [[b"one", 1_000, 5, 0, 1, 1, b"", 0], [b"two", 999, 5, 0, 1, 1, b"", 0]]),
        (ORIGINS, [["n2", 7, 1], ["n2", 7, 1]]),
        (ORIGINS, [["", 7, 1]]),
        (ORIGINS, [["n" * 65, 7, 1]]),
        (ORIGINS, [[b"n2", 7, 1]]),
        (ORIGINS, [["n2", 0, 1]]),
        (ORIGINS, [["n2", 7, -1]]),
        (ORIGINS, [["n2", 7, True]]),
        (ORIGINS, [["n3", 7, 1]]),
        (RUNS, [["n3", 7, 1, 1, 0, 1]]),
        (RUNS, [["n2", 7, 0, 1, 0, 1]]),
        (RUNS, [["n2", 7, 1, 0, 0, 1]]),
        (RUNS, [["n2", 7, 1, 1, 7, 1]]),
        (RUNS, [["n2", 7, 1, 1, 0, -1]]),
        (RUNS, [["n2", 7, 1, 1.0, 0, 1]]),
        (RUNS, [["n2", 7, 1, 2, 0, 1], ["n2", 7, 2, 1, 3, 0]]),
        (RUNS, [["n2", 7, 2, 1, 0, 1], ["n2", 7, 1, 1, 3, 0]]),
        (RUNS, [["n2", 7, 1, 1, 0]]),
        (RUNS, [7]),
        (LEASES, [[1, 5_000], [1, 5_000]]),
        (LEASES, [[2, 5_000], [1, 5_000]]),
        (LEASES, [[1, 5_000], [3, 5_000]]),
        (LEASES, [[0, 5_000], [1, 5_000]]),
        (LEASES, [[1, 0]]),
        (LEASES, [[1, 1.5]]),
        (LEASES, [[1]]),
        (LEASES, [[2, 5_000]]),
        (HISTORY, []),
        (HISTORY, [[3, b"k", 2, None]]),
        (HISTORY, [[5, b"k", 3, None]]),
        (HISTORY, [[4, b"other", 3, None]]),
        (HISTORY, [[4, "k", 3, None]]),
        (HISTORY, [[4, b"k", 4, None]]),
        (HISTORY, [[4, b"k", -1, None]]),
        (HISTORY, [[4, b"k", 2, [b"w", 1, 3, 3, 0, [1, 0, "n1", 0]]]]),
        (HISTORY, [[4, b"k", 3, [b"w", 1, 3, 3, 0]]]),
        (HISTORY, [[4, b"k", 3, ["w", 1, 3, 3, 0, [1, 0, "n1", 0]]]]),
        (HISTORY, [[4, b"k", 3, [b"w", 1, 3, 3, 0, [1, 0, "n1", 0]]], [4, b"k", 3, None]]),
        (HISTORY, [7]),
    ],
)
def test_rows_that_cannot_be_are_refused(kind: int, rows: list[Any]) -> None:
    with pytest.raises(CorruptSnapshot):
        load(replaced(kind, rows))


FRAMES = list(with_everything().snapshot())


@st.composite
def damaged(draw: st.DrawFn) -> list[bytes]:
    """The frames with one of them changed: bytes set, cut out, put in, or the end cut off."""
    place = draw(st.integers(0, len(FRAMES) - 1))
    frame = bytearray(FRAMES[place])
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, max(0, len(frame) - 1)))
        how = draw(st.sampled_from(["set", "set", "set", "cut", "insert", "end"]))
        if how == "set" and frame:
            frame[where] = draw(st.integers(0, 255))
        elif how == "cut":
            del frame[where : where + draw(st.integers(1, 4))]
        elif how == "insert":
            frame[where:where] = draw(st.binary(min_size=1, max_size=4))
        else:
            del frame[where:]
    return [*FRAMES[:place], bytes(frame), *FRAMES[place + 1 :]]


def check_damaged(frames: list[bytes]) -> None:
    """Damage is refused with one exception, or what was loaded is a sound machine: bytes are checked by the store."""
    try:
        machine = load(frames)
    except CorruptSnapshot:
        return
    # What was loaded says itself again, and the content of the keys is untouched.
    again = list(machine.snapshot())
    assert list(load(again).snapshot()) == again
    (sound, found) = (contents_of(FRAMES), contents_of(again))
    assert found["records"] == sound["records"]
    assert found["tombstones"] == sound["tombstones"]
    for name in (
        "sessions",
        "idempotency_keys",
        "origins",
        "runs",
        "leases",
        "history",
        "records",
        "tombstones",
        "digest",
    ):
        assert header_of(again)[name] == header_of(FRAMES)[name]


@given(frames=damaged())
def test_a_damaged_frame_is_refused_or_gives_a_sound_machine_and_never_another_error(frames: list[bytes]) -> None:
    check_damaged(frames)


@pytest.mark.parametrize("place", range(len(FRAMES)))
def test_every_flipped_bit_is_refused_or_gives_a_sound_machine(place: int) -> None:
    for position in range(len(FRAMES[place]) * 8):
        frame = bytearray(FRAMES[place])
        frame[position // 8] ^= 1 << position % 8
        check_damaged([*FRAMES[:place], bytes(frame), *FRAMES[place + 1 :]])
