"""Whatever bytes lie in a segment, a snapshot or a backup, plain or encrypted, with checksums that fit or not: the
answer is CorruptData or WrongKey, and it takes little memory, whatever a length field says.
"""

import random
import struct
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.journal import Journal
from kvstore.consensus.sealed_file import check_if_sealed
from kvstore.consensus.snapshots import SnapshotStore
from kvstore.errors import CorruptData
from kvstore.node.new_cluster import verify
from kvstore.vault.envelope import NO_KEYS, Vault, WrongKey
from tests.support.vaults import vault
from tests.unit.test_new_cluster import busy_machine, write

MEMORY_BYTES_MAX = 24 << 20
SEGMENT_BYTES = 24 << 10
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = {"plain": NO_KEYS, "encrypted": vault(1)}
HOW = st.sampled_from(sorted(KEYS))


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX, f"{peak:,} bytes"


@contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        yield Path(made)


@cache
def segment(how: str) -> bytes:
    with place() as directory:
        journal = Journal.open(OsDisk(), str(directory / "j"), segment_bytes=SEGMENT_BYTES, vault=KEYS[how])
        journal.set_term(1, "n1")
        for index in range(2, 30):
            journal.append(b"\0" + bytes([index]) * index, index, 1)
            journal.sync()
        journal.truncate(28)
        journal.close()
        return (directory / "j" / f"{1:016d}.seg").read_bytes()


@cache
def snapshot(how: str) -> bytes:
    with place() as directory:
        store = SnapshotStore(OsDisk(), str(directory), KEYS[how])
        writer = store.writer(900, 4, Configuration(0, ()))
        for frame in busy_machine().snapshot():
            writer.add(frame)
        return Path(writer.commit().path).read_bytes()


def read_segment(data: bytes, keys: Vault) -> None:
    with place() as directory:
        (directory / "j").mkdir()
        (directory / "j" / f"{1:016d}.seg").write_bytes(data)
        Journal.open(OsDisk(), str(directory / "j"), segment_bytes=SEGMENT_BYTES, vault=keys).close()


def read_snapshot(data: bytes, keys: Vault) -> None:
    """As a node would at its start, and as a restore would."""
    with place() as directory:
        path = directory / "snapshots" / f"{900:020d}-{4:020d}.snap"
        path.parent.mkdir()
        path.write_bytes(data)
        with suppress(CorruptData, WrongKey):
            check_if_sealed(OsDisk(), str(path))
        with suppress(CorruptData, WrongKey):
            verify(OsDisk(), str(path), keys)
        store = SnapshotStore(OsDisk(), str(path.parent), keys)
        info = store.latest()
        assert info is not None
        for _ in store.frames(info):
            pass


def survives(read: Callable[[bytes, Vault], None], data: bytes, keys: Vault) -> None:
    with little_memory(), suppress(CorruptData, WrongKey):
        read(data, keys)


def changed(data: bytes, rng: random.Random) -> bytes:
    """With some bytes changed, cut, moved, repeated, or set to what lengths should not be; here and there a checksum of
    the header, or of what seems a record or a frame, is made to fit again.
    """
    made = bytearray(data)
    used = len(data.rstrip(b"\0"))
    for _ in range(rng.randint(1, 3)):
        at = rng.choice([rng.randrange(120), rng.randrange(used), min(used - 1, 8192 + rng.randrange(300))])
        what = rng.randrange(6)
        at = min(at, len(made) - 1)
        if at < 0:
            break
        if what == 0:
            made[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            made[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", rng.randbytes(4)])
        elif what == 2:
            del made[at:]
        elif what == 3:
            much = rng.randrange(200)
            made[at:at] = made[rng.randrange(used) :][:much]
        elif what == 4:
            made[at : at + rng.randrange(40)] = rng.randbytes(rng.randrange(40))
        else:
            made[at : at + 8] = b"\xff" * 8
    length = struct.unpack_from("<I", made, 12)[0] if len(made) >= 16 else 0
    if rng.random() < 0.7 and 16 <= length <= len(made):
        made[8:12] = struct.pack("<I", google_crc32c.value(bytes(made[12:length])))
    if rng.random() < 0.5 and len(made) > 8300:
        (length,) = struct.unpack_from("<I", made, 8196)
        if 8200 + length <= len(made):
            made[8192:8196] = struct.pack("<I", google_crc32c.value(bytes(made[8196 : 8200 + length])))
    return bytes(made)


@EXAMPLES
@given(HOW, st.integers(0, 1 << 32))
def test_a_changed_segment_is_read_or_refused(how: str, seed: int) -> None:
    survives(read_segment, changed(segment(how), random.Random(seed)), KEYS[how])


@EXAMPLES
@given(HOW, st.integers(0, 1 << 32))
def test_a_changed_snapshot_is_read_or_refused(how: str, seed: int) -> None:
    survives(read_snapshot, changed(snapshot(how), random.Random(seed)), KEYS[how])


@EXAMPLES
@given(st.sampled_from([b"kvjrnl\r\n", b"kvsnap\r\n", b"kvseal\r\n", b""]), st.binary(max_size=400), HOW)
def test_bytes_of_nobody_are_refused(magic: bytes, rest: bytes, how: str) -> None:
    for read in (read_segment, read_snapshot):
        with little_memory(), pytest.raises((CorruptData, WrongKey)):
            read(magic + rest, KEYS[how])


def headers() -> Iterator[tuple[Callable[[bytes, Vault], None], bytes]]:
    """Heads whose checksums fit and whose configuration is anything."""
    odd: list[Any] = [None, 1, [], [1], [1, 2], [0, [[1]]], [0, [["a"] * 5]], {"a": 1}, [-1, []], b"x", [1 << 63, []]]
    for wire in odd:
        body = struct.pack("<HHIQQ", 1, 0, 0, 900, 4) + msgpack.packb(wire)
        rest = struct.pack("<I", 16 + len(body)) + body
        yield read_snapshot, b"kvsnap\r\n" + struct.pack("<I", google_crc32c.value(rest)) + rest
        fixed = struct.pack("<HHIIQ8sQQQQQ", 1, 1, 0, 8192, 1, b"12345678", 0, 1, 0, 0, 1)
        for tail in ([None, wire], wire, [wire, [0, []]]):
            body = fixed + msgpack.packb(tail)
            rest = struct.pack("<I", 16 + len(body)) + body
            yield (
                read_segment,
                (b"kvjrnl\r\n" + struct.pack("<I", google_crc32c.value(rest)) + rest).ljust(16384, b"\0"),
            )


def test_heads_that_fit_their_checksums_and_make_no_sense_are_refused() -> None:
    for read, data in headers():
        survives(read, data, NO_KEYS)


@pytest.mark.parametrize("how", sorted(KEYS))
@pytest.mark.parametrize("mark", [8193, 1 << 40, (1 << 64) - 1])
def test_a_group_that_calls_durable_what_comes_behind_it_is_refused(how: str, mark: int) -> None:
    data = segment(how)
    group = bytearray(data[8192 : 8192 + 33])
    group[25:33] = struct.pack("<Q", mark)
    group[:4] = struct.pack("<I", google_crc32c.value(bytes(group[4:])))
    with pytest.raises(CorruptData, match="another place"):
        read_segment(data[:8192] + bytes(group) + data[8225:], KEYS[how])


def test_lengths_of_4_gib_take_no_memory() -> None:
    most = b"\xff\xff\xff\xff"
    for how in KEYS:
        data = snapshot(how)
        (length,) = struct.unpack_from("<I", data, 12)
        for at in (12, length, length + 4, length + 8):
            survives(read_snapshot, data[:at] + most + data[at + 4 :], KEYS[how])
            # A file that is as long as it says, but for holes.
            with place() as directory, little_memory():
                path = directory / "backup"
                path.write_bytes(data[:at] + most + data[at + 4 :])
                with path.open("ab") as file:
                    file.truncate(6 << 30)
                with pytest.raises((CorruptData, WrongKey)):
                    verify(OsDisk(), str(path), KEYS[how])
        for at in (12, 8192 + 4):
            survives(read_segment, segment(how)[:at] + most + segment(how)[at + 4 :], KEYS[how])
        with place() as directory, little_memory():
            (directory / "j").mkdir()
            with (directory / "j" / f"{1:016d}.seg").open("wb") as file:
                file.write(segment(how))
                file.truncate(6 << 30)
            with pytest.raises(CorruptData, match="no segment"):
                Journal.open(OsDisk(), str(directory / "j"), segment_bytes=SEGMENT_BYTES, vault=KEYS[how])


FRAMES = [msgpack.unpackb(frame, use_list=True) for frame in busy_machine().snapshot()]
NOTHING_LIKE_IT = st.sampled_from([None, -1, 0, 1 << 63, b"", "x", [], {}, 2.5, True, [[[]]]])


@EXAMPLES
@given(st.integers(0, 1 << 32), NOTHING_LIKE_IT)
def test_a_backup_with_right_checksums_and_wrong_contents_is_refused(seed: int, odd: Any) -> None:
    rng = random.Random(seed)
    frames = msgpack.unpackb(msgpack.packb(FRAMES))
    where: Any = rng.choice(frames)
    for _ in range(rng.randint(0, 4)):
        inner = [
            each for each in (where.values() if isinstance(where, dict) else where) if isinstance(each, list | dict)
        ]
        if not inner:
            break
        where = rng.choice(inner)
    if isinstance(where, dict):
        where[rng.choice(sorted(where))] = odd
    elif where:
        where[rng.randrange(len(where))] = odd
    with place() as directory:
        store = SnapshotStore(OsDisk(), str(directory))
        writer = store.writer(900, 4, Configuration(0, ()))
        for frame in frames:
            writer.add(msgpack.packb(frame))
        path = writer.commit().path
        with suppress(CorruptData):
            verify(OsDisk(), path)


def test_what_the_mutations_begin_with_is_sound(tmp_path: Path) -> None:
    for how, keys in KEYS.items():
        read_segment(segment(how), keys)
        read_snapshot(snapshot(how), keys)
    with pytest.raises(CorruptData):
        read_snapshot(snapshot("plain")[:-1], NO_KEYS)
    assert verify(OsDisk(), write(busy_machine(), tmp_path / "snapshots"))[0].keys > 600
