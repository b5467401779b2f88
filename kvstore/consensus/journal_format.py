"""The bytes of a journal segment: how they are written, and which of them are believed when they are read again.

A journal is a row of segments, files of a fixed size that are allocated before they are used and only ever appended to.
A segment is a header region followed by records, followed by zeros. A record is

    crc32c u32 | length u32 | kind u8 | body          length counts kind and body; the checksum covers all behind itself

Everything that one `sync` makes durable is one group: a GROUP record, then records in the order of the calls that made
them, in one write. So every prefix of a group is a state that the journal was in, and none of a group was promised to
anybody before its sync returned. A GROUP record carries its own offset, a random salt of its segment, and the *mark*:
the offset up to which the segment was known to be durable when the group was written.

**What is believed.** Records are read in order. The first place that does not hold a whole record with a good checksum
ends the segment, and there are three cases:

1. Nothing but zeros follows: this is where writing stopped.
2. Some GROUP record behind it has a mark above it. Those bytes were durable once and have changed since: `CorruptData`.
   The GROUP records behind it are found by their segment's salt, so that no value that somebody stored looks like one.
3. No such record. This is the last group, the machine stopped while it was written, and nobody was promised any of it
   that is not here. It is cut here: the whole records before this place count, the rest is overwritten with zeros,
   durably, before anything new is written. Whole records of that group behind this place are dropped too: a disk may
   write the sectors of one group in any order.

What was durable before a file got its name is never in case 3: the header region, all of a segment that has a successor
(the successor says where it ended), and the zeros behind that end. A difference there is always `CorruptData`.
A file that was cut short holds no later mark either, so all whole records up to the cut count (case 3). A bit that
changed in the very last group cannot be told from a torn write; therefore opening and closing a journal add an empty
group, whose mark covers the one before it.

The header region is so large that the records share no sector with the header itself and a cut of the last 4 KiB of
what was written never reaches it.

Two kinds of segments are passed over, whatever they hold: those before one that starts the log anew (the first one of a
node, and one made when a snapshot replaced the log), and those before a gap in the numbers, which a crash brought back
from a compaction. A segment that is missing for another reason shows as a log that begins behind its snapshot; whoever
opens the journal must compare the two and refuse to start.

A segment may be encrypted (version 2, a key id that is not 0): how its groups look then is told in `journal_seal`. The
header is in clear but for the data key; the GROUP records are too, so that all of the above holds as it stands.
"""

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import google_crc32c
import msgpack

from kvstore import limits
from kvstore.consensus.configuration import Configuration
from kvstore.errors import CorruptData
from kvstore.vault.cipher import Cipher
from kvstore.vault.envelope import WRAPPED_BYTES, Vault

NOOP: Final = b"\x01"

# The line end shows at once when a file went through a text conversion.
MAGIC: Final = b"kvjrnl\r\n"
FORMAT_VERSION: Final = 1
ENCRYPTED_VERSION: Final = 2
STARTS_LOG: Final = 1
SALT_BYTES: Final = 8

KIND_GROUP: Final = 1
KIND_ENTRY: Final = 2
KIND_TERM: Final = 3
KIND_TRUNCATE: Final = 4
KIND_COMMIT: Final = 5
KIND_CONFIGURATION: Final = 6
KIND_SEALED: Final = 7

ADVICE: Final = (
    "Do not delete it. If the other nodes form a majority, remove this node from the cluster, move its data directory "
    "away and add it again as a new member; else put back a good copy of the file."
)
_NEWER: Final = "Start the version of kvstore that wrote it, or a later one."

_BLOCK: Final = 4096
_PREAMBLE = struct.Struct("<8sII")  # magic, checksum of the rest, length of all of it
_HEADER = struct.Struct("<HHIIQ8sQQQQQ")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<IIB")
_KIND = struct.Struct("<IB")
_ENTRY = struct.Struct("<IBQQ")
_GROUP = struct.Struct("<8sQQ")
_TERM = struct.Struct("<QB")
_TWO = struct.Struct("<QQ")
_ONE = struct.Struct("<Q")

_value = google_crc32c.value
_extend = google_crc32c.extend
_pack_crc = _CRC.pack
_pack_entry = _ENTRY.pack

_ENTRY_FIXED = 1 + _TWO.size
GROUP_BYTES: Final = _RECORD.size + _GROUP.size
COMMIT_BYTES: Final = _RECORD.size + _ONE.size
ENTRY_OVERHEAD_BYTES: Final = _RECORD.size + _TWO.size

Entry = tuple[bytes, int, int]


class WrappedKey(NamedTuple):
    """The data key of an encrypted segment, and what the header binds it to."""

    key_id: int
    wrapped: bytes
    context: bytes


class SegmentHeader(NamedTuple):
    """What a segment begins with: all that must be known to read it without the segments before it.

    When it was begun, the log ended with (`base_index`, `base_term`), and the segment before it at `previous_end`.
    `key`: of an encrypted segment that was read.
    """

    flags: int
    sequence: int
    salt: bytes
    previous_end: int
    base_index: int
    base_term: int
    term: int
    voted_for: str | None
    commit_index: int
    configuration: Configuration
    key: WrappedKey | None = None


def encode_header(header: SegmentHeader) -> bytes:
    """The whole header region, zeros included; records start behind it."""
    fixed, tail = _header_parts(header, FORMAT_VERSION, 0, 0)
    return _region(fixed + tail)


def encode_sealed_header(header: SegmentHeader, vault: Vault, key_id: int) -> tuple[bytes, Cipher]:
    """The same of an encrypted segment, and the cipher for its groups. The data key is bound to all of the header."""
    fixed, tail = _header_parts(header, ENCRYPTED_VERSION, key_id, WRAPPED_BYTES)
    wrapped, cipher = vault.wrap(key_id, MAGIC + fixed + tail)
    return _region(fixed + wrapped + tail), cipher


def _header_parts(header: SegmentHeader, version: int, key_id: int, more: int) -> tuple[bytes, bytes]:
    tail: bytes = msgpack.packb([header.voted_for, header.configuration.as_wire()])
    length = _PREAMBLE.size + _HEADER.size + more + len(tail)
    start = max(limits.SEGMENT_HEADER_BYTES, (length + 2 * _BLOCK - 1) // _BLOCK * _BLOCK)
    fixed = _HEADER.pack(
        version,
        header.flags,
        key_id,
        start,
        header.sequence,
        header.salt,
        header.previous_end,
        header.base_index,
        header.base_term,
        header.term,
        header.commit_index,
    )
    return fixed, tail


def _region(body: bytes) -> bytes:
    length = _PREAMBLE.size + len(body)
    start = _HEADER.unpack_from(body)[3]
    rest = struct.pack("<I", length) + body
    whole: bytes = MAGIC + _pack_crc(_value(rest)) + rest
    return whole + bytes(start - length)


def decode_header(data: bytes, path: str) -> tuple[SegmentHeader, int]:
    """The header in a segment's bytes, and the offset of its first record. Raises CorruptData."""
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptData(path, 0, "this does not begin like a journal segment", ADVICE)
    if len(data) < _PREAMBLE.size + _HEADER.size:
        raise CorruptData(path, len(data), "the file ends within its header", ADVICE)
    _, crc, length = _PREAMBLE.unpack_from(data)
    if not _PREAMBLE.size + _HEADER.size <= length <= len(data) or _value(data[12:length]) != crc:
        raise CorruptData(path, len(MAGIC), "the segment header has a wrong checksum", ADVICE)
    version, flags, key_id, start, sequence, salt, *numbers = _HEADER.unpack_from(data, _PREAMBLE.size)
    tail_at = _PREAMBLE.size + _HEADER.size
    if version != (ENCRYPTED_VERSION if key_id else FORMAT_VERSION) or flags & ~STARTS_LOG:
        raise CorruptData(path, 16, f"format version {version}, flags {flags}, key {key_id} are not known here", _NEWER)
    key: WrappedKey | None = None
    if key_id:
        fixed, wrapped = data[_PREAMBLE.size : tail_at], data[tail_at : tail_at + WRAPPED_BYTES]
        tail_at += WRAPPED_BYTES
        key = WrappedKey(key_id, wrapped, MAGIC + fixed + data[tail_at:length])
    padding = data[length:start]
    if padding.count(0) != len(padding):
        offset = length + len(padding) - len(padding.lstrip(b"\0"))
        raise CorruptData(path, offset, "the zeros behind the segment header have changed", ADVICE)
    try:
        voted_for, wire = msgpack.unpackb(data[tail_at:length])
        configuration = Configuration.from_wire(wire)
    except (ValueError, TypeError, msgpack.UnpackException) as broken:
        raise CorruptData(path, 16, f"the segment header makes no sense: {broken}", ADVICE) from broken
    previous_end, base_index, base_term, term, commit_index = numbers
    header = SegmentHeader(
        flags, sequence, salt, previous_end, base_index, base_term, term, voted_for, commit_index, configuration, key
    )
    return header, start


def entry_head(command: bytes, index: int, term: int) -> bytes:
    """What stands before `command` in the record of an entry. Head and command together are the record."""
    head = _pack_entry(_ENTRY_FIXED + len(command), KIND_ENTRY, index, term)
    return _pack_crc(_extend(_value(head), command)) + head


def group_record(salt: bytes, offset: int, mark: int) -> bytes:
    """The record that begins a group at `offset`, when all below `mark` is known to be durable."""
    return _record(KIND_GROUP, _GROUP.pack(salt, offset, mark))


def term_record(term: int, voted_for: str | None) -> bytes:
    """Term and vote."""
    name = b"" if voted_for is None else voted_for.encode()
    return _record(KIND_TERM, _TERM.pack(term, voted_for is not None) + name)


def truncate_record(last_index: int, last_term: int) -> bytes:
    """The log ends with this entry now; what came behind it is dropped."""
    return _record(KIND_TRUNCATE, _TWO.pack(last_index, last_term))


def commit_record(index: int) -> bytes:
    """The commit index."""
    return _record(KIND_COMMIT, _ONE.pack(index))


def configuration_record(configuration: Configuration) -> bytes:
    """The configuration in effect."""
    return _record(KIND_CONFIGURATION, msgpack.packb(configuration.as_wire()))


def _record(kind: int, body: bytes) -> bytes:
    rest = _KIND.pack(1 + len(body), kind) + body
    return _pack_crc(_value(rest)) + rest


class LogState:
    """What the journal remembers, built up record by record. `entries[0]` is the base."""

    def __init__(self, header: SegmentHeader) -> None:
        self.entries: list[Entry] = [(NOOP, header.base_index, header.base_term)]
        self.term = header.term
        self.voted_for = header.voted_for
        self.commit_index = header.commit_index
        self.configuration = header.configuration
        self.truncations: list[tuple[int, int]] = []

    def truncate(self, last_index: int, last_term: int) -> bool:
        """Drop what is behind (`last_index`, `last_term`). False if the log does not hold that entry."""
        entries = self.entries
        base = entries[0][1]
        if last_index < base:
            # The segment before this one, which held these entries, was compacted away.
            entries[:] = [(NOOP, last_index, last_term)]
        else:
            del entries[last_index - base + 1 :]
            if entries[-1][1:] != (last_index, last_term):
                return False
        self.truncations.append((last_index, last_term))
        return True


class Records(NamedTuple):
    """What replaying a segment found: where the good records end, the last mark, where the last group begins."""

    end: int
    mark: int
    last_group: int


def replay(data: bytes, start: int, salt: bytes, state: LogState, path: str) -> Records:
    """Apply the records from `start` on to `state`, up to the first that is not whole.

    Raises CorruptData for a record with a good checksum that cannot follow what stands before it.
    """
    position = mark = last_group = start
    size = len(data)
    entries = state.entries
    append = entries.append
    unpack_record, unpack_two, value = _RECORD.unpack_from, _TWO.unpack_from, _value
    fixed, body_at = _ENTRY_FIXED, _RECORD.size
    index = entries[-1][1]
    while position + body_at <= size:
        crc, length, kind = unpack_record(data, position)
        after = position + 8 + length
        if not length or after > size or value(data[position + 4 : after]) != crc:
            break
        if kind == KIND_ENTRY and length >= fixed:
            found, term = unpack_two(data, position + body_at)
            index += 1
            if found != index:
                raise CorruptData(path, position, f"entry {found} stands where entry {index} belongs", ADVICE)
            append((data[position + 25 : after], index, term))
        elif kind == KIND_GROUP:
            last_group = position
            mark = read_group(data[position:after], salt, position, path)
        else:
            problem = _apply(state, kind, data[position + body_at : after])
            if problem:
                raise CorruptData(path, position, problem, ADVICE)
            index = entries[-1][1]
        position = after
    return Records(position, mark, last_group)


def read_group(record: bytes, salt: bytes, position: int, path: str) -> int:
    """The mark in a GROUP record that stands at `position`. Raises CorruptData if it was made for another place."""
    mark = 0
    right = len(record) == GROUP_BYTES
    if right:
        found_salt, offset, mark = _GROUP.unpack_from(record, _RECORD.size)
        right = found_salt == salt and offset == position and mark <= position
    if not right:
        raise CorruptData(path, position, "a group stands here that was written for another place", ADVICE)
    return mark


def _set_term(state: LogState, body: bytes) -> str | None:
    term, voted = _TERM.unpack_from(body)
    state.term, state.voted_for = term, body[_TERM.size :].decode() if voted else None
    return None


def _truncate(state: LogState, body: bytes) -> str | None:
    last_index, last_term = _TWO.unpack(body)
    if state.truncate(last_index, last_term):
        return None
    return f"the log is cut behind entry {last_index} of term {last_term}, which it does not hold"


def _set_commit(state: LogState, body: bytes) -> str | None:
    (state.commit_index,) = _ONE.unpack(body)
    return None


def _set_configuration(state: LogState, body: bytes) -> str | None:
    state.configuration = Configuration.from_wire(msgpack.unpackb(body))
    return None


_APPLY: dict[int, Callable[[LogState, bytes], str | None]] = {
    KIND_TERM: _set_term,
    KIND_TRUNCATE: _truncate,
    KIND_COMMIT: _set_commit,
    KIND_CONFIGURATION: _set_configuration,
}


def _apply(state: LogState, kind: int, body: bytes) -> str | None:
    """Apply one of the rarer records; a problem, or None."""
    apply = _APPLY.get(kind)
    if apply is None:
        return f"a record of kind {kind} is not known here"
    try:
        return apply(state, body)
    except (struct.error, ValueError, TypeError, msgpack.UnpackException) as broken:
        return f"a record of kind {kind} makes no sense: {broken}"


def later_mark(data: bytes, bad: int, salt: bytes) -> int | None:
    """The offset of a group behind `bad` that says `bad` was durable, or None: case 2 above."""
    place = data.find(salt, bad)
    while place >= 0:
        position = place - _RECORD.size
        if position > bad and data[position : position + GROUP_BYTES] == _group_at(data, position, salt):
            _, _, mark = _GROUP.unpack_from(data, place)
            if mark > bad:
                return position
        place = data.find(salt, place + 1)
    return None


def _group_at(data: bytes, position: int, salt: bytes) -> bytes | None:
    """The group record that would stand at `position` with the mark that is found there."""
    body: Any = data[position + _RECORD.size : position + GROUP_BYTES]
    if len(body) < _GROUP.size:
        return None
    return group_record(salt, position, _GROUP.unpack(body)[2])
