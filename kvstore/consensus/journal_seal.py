"""The groups of an encrypted segment.

A GROUP record in clear, as in any segment, and behind it, if the group has any records, one SEALED record with all of
them:

    crc32c u32 | length u32 | kind 7 | nonce 12 | AES-256-GCM of the records, and its tag 16

The checksums and the marks are outside. So what is torn, what is damaged, and where, is told by the rules of
`journal_format` as for a plain segment, before any key is used; only that a torn group counts as a whole or not at
all, which is one of the states that a torn group may leave. What passes those rules and does not open was changed by
somebody who took care of the checksums: `CorruptData`.

The seal is bound to the GROUP record before it: to the segment's salt, to the offset and to the mark. The data key, and
with it the segment's header, is bound by the header (`kvstore.vault`). No record in clear but GROUP is taken here.
"""

import struct
from typing import Final

import google_crc32c

from kvstore.consensus import journal_format as form
from kvstore.errors import CorruptData
from kvstore.vault.cipher import NONCE_BYTES, TAG_BYTES, BrokenSeal, Cipher

_RECORD = struct.Struct("<IIB")
_CRC = struct.Struct("<I")
_KIND = struct.Struct("<IB")
SEAL_BYTES: Final = _RECORD.size + NONCE_BYTES + TAG_BYTES
_NO_SALT: Final = b""
_value = google_crc32c.value
_extend = google_crc32c.extend


def sealed_group(cipher: Cipher, nonce: bytes, group: bytes, records: bytes) -> bytes:
    """`group`, the GROUP record, and `records` behind it, sealed by `nonce`, which is used only once."""
    if not records:
        return group
    sealed = cipher.seal(nonce, records, group)
    head = _KIND.pack(1 + NONCE_BYTES + len(sealed), form.KIND_SEALED) + nonce
    # Joined once: a group may be large.
    return b"".join((group, _CRC.pack(_extend(_value(head), sealed)), head, sealed))


def replay_sealed(
    data: bytes, start: int, salt: bytes, state: form.LogState, path: str, cipher: Cipher
) -> form.Records:
    """As `journal_format.replay`, for an encrypted segment."""
    position = mark = last_group = start
    size = len(data)
    group = b""
    while position + _RECORD.size <= size:
        crc, length, kind = _RECORD.unpack_from(data, position)
        after = position + 8 + length
        if not length or after > size or _value(data[position + 4 : after]) != crc:
            break
        if kind == form.KIND_GROUP:
            group, last_group = data[position:after], position
            mark = form.read_group(group, salt, position, path)
        elif kind == form.KIND_SEALED and group:
            _apply(cipher, data[position + _RECORD.size : after], group, state, path, position)
            group = b""
        else:
            raise CorruptData(
                path, position, f"a record of kind {kind} has no place here: all are encrypted", form.ADVICE
            )
        position = after
    return form.Records(position, mark, last_group)


def _apply(cipher: Cipher, body: bytes, group: bytes, state: form.LogState, path: str, position: int) -> None:
    try:
        records = cipher.open(body[:NONCE_BYTES], body[NONCE_BYTES:], group)
    except BrokenSeal:
        problem = "an encrypted group was changed, or belongs to another place, although its checksum is right"
        raise CorruptData(path, position, problem, form.ADVICE) from None
    try:
        found = form.replay(records, 0, _NO_SALT, state, path)
    except CorruptData as broken:
        raise CorruptData(path, position, f"within an encrypted group: {broken.problem}", form.ADVICE) from broken
    if found.end != len(records):
        raise CorruptData(path, position, "an encrypted group does not end with a record", form.ADVICE)
