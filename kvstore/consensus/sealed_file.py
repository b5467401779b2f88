"""An encrypted file around another one, which is written once, from its beginning to its end, and read anywhere.

    magic 8 | crc32c u32 | length u32 | version u16, flags u16, key id u32, wrapped data key
    chunk:  crc32c u32 | AES-256-GCM of 64 KiB, fewer in the last one, and its tag 16

All of it is bytes of the file within, whose own form nothing here knows. The last chunk may be empty. The nonce of a
chunk is its number and whether it is the last one; both are in its checksum too. So whoever has no key can tell a file
that is whole from one that was damaged or cut short (`check_stored`), and whoever has it can tell what was changed by
somebody who took care of the checksums.
"""

import struct
from typing import Final, NamedTuple

import google_crc32c

from kvstore import limits
from kvstore.consensus.disk import Disk, File
from kvstore.errors import CorruptData
from kvstore.vault.cipher import TAG_BYTES, BrokenSeal, Cipher
from kvstore.vault.envelope import WRAPPED_BYTES, Vault
from kvstore.vault.keys import PLAIN

MAGIC: Final = b"kvseal\r\n"
FORMAT_VERSION: Final = 1
_ADVICE: Final = (
    "Do not delete it. Put back a good copy of the file; if it is of a node, and the others form a majority, replace "
    "this member by a new one."
)
_NEWER: Final = "Start the version of kvstore that wrote it, or a later one."

_PREAMBLE = struct.Struct("<8sII")
_HEADER = struct.Struct("<HHI")
_CRC = struct.Struct("<I")
_NONCE = struct.Struct("<Q?3x")
_CONTEXT: Final = b"kvstore sealed chunk"
_START: Final = _PREAMBLE.size + _HEADER.size + WRAPPED_BYTES
_CHUNK: Final = limits.ENCRYPTED_CHUNK_BYTES
_STORED: Final = _CRC.size + _CHUNK + TAG_BYTES
_value = google_crc32c.value
_extend = google_crc32c.extend


class _Header(NamedTuple):
    key_id: int
    wrapped: bytes
    context: bytes


def begins_sealed(data: bytes) -> bool:
    """Whether a file with this beginning is an encrypted one."""
    return data[: len(MAGIC)] == MAGIC


def stored_size(size: int) -> int:
    """Bytes that `size` bytes take when they are encrypted."""
    full, rest = divmod(size, _CHUNK)
    # Of a multiple of the chunk's size the last chunk is a full one; of nothing it is an empty one.
    return _START + full * _STORED + (_CRC.size + rest + TAG_BYTES if rest or not full else 0)


def check_stored(file: File, path: str) -> int:
    """Read an encrypted file from end to end, without a key; the number of the key it needs. Raises CorruptData."""
    key_id = _read_header(file, path).key_id
    size = file.size()
    chunks = _chunks(size, path)
    for number in range(chunks):
        _read_chunk(file, path, number, chunks)
    return key_id


def check_if_sealed(disk: Disk, path: str) -> int:
    """The same of the file at `path`; PLAIN if it is not an encrypted one. Raises CorruptData."""
    file = disk.open(path)
    try:
        return check_stored(file, path) if begins_sealed(file.pread(len(MAGIC), 0)) else PLAIN
    finally:
        file.close()


def open_clear(disk: Disk, path: str, vault: Vault) -> tuple[File, int]:
    """The file at `path`, decrypted if it is encrypted, and the number of its key. Raises CorruptData and WrongKey."""
    file = disk.open(path)
    try:
        if not begins_sealed(file.pread(len(MAGIC), 0)):
            return file, PLAIN
        header = _read_header(file, path)
        cipher = vault.unwrap(path, header.key_id, header.wrapped, header.context)
        return _Reader(file, path, cipher), header.key_id
    except BaseException:
        file.close()
        raise


def create_sealed(disk: Disk, path: str, vault: Vault) -> tuple[File, int]:
    """A new file at `path`, and the number of the key by which it is encrypted; PLAIN if the vault wants it in clear.
    Write it in order; `sync` ends it. Raises OSError.
    """
    file = disk.open(path, create=True)
    key_id = vault.active
    if key_id == PLAIN:
        return file, PLAIN
    fixed = _HEADER.pack(FORMAT_VERSION, 0, key_id)
    wrapped, cipher = vault.wrap(key_id, MAGIC + fixed)
    rest = _CRC.pack(_START) + fixed + wrapped
    try:
        file.pwrite(MAGIC + _CRC.pack(_value(rest)) + rest, 0)
    except OSError:
        file.close()
        disk.remove(path)
        raise
    return _Writer(file, cipher), key_id


def _read_header(file: File, path: str) -> _Header:
    data = file.pread(_START, 0)
    if not begins_sealed(data):
        raise CorruptData(path, 0, "this does not begin like an encrypted file", _ADVICE)
    if len(data) < _START:
        raise CorruptData(path, len(data), "the file ends within its header", _ADVICE)
    _, crc, length = _PREAMBLE.unpack_from(data)
    version, flags, key_id = _HEADER.unpack_from(data, _PREAMBLE.size)
    if _value(data[12:]) != crc:
        raise CorruptData(path, len(MAGIC), "the header of the encrypted file has a wrong checksum", _ADVICE)
    if version != FORMAT_VERSION or flags or length != _START or not key_id:
        raise CorruptData(path, 16, f"format version {version}, flags {flags} of an encrypted file", _NEWER)
    fixed_end = _PREAMBLE.size + _HEADER.size
    return _Header(key_id, data[fixed_end:], MAGIC + data[_PREAMBLE.size : fixed_end])


def _chunks(size: int, path: str) -> int:
    full, rest = divmod(size - _START, _STORED)
    if size <= _START or 0 < rest < _CRC.size + TAG_BYTES:
        raise CorruptData(path, size, "the file ends within a chunk", _ADVICE)
    return full + (rest > 0)


def _read_chunk(file: File, path: str, number: int, chunks: int) -> bytes:
    """What is stored of it, without its checksum, which is right."""
    offset = _START + number * _STORED
    data = file.pread(_STORED, offset)
    sealed = data[_CRC.size :]
    if len(sealed) < TAG_BYTES or _CRC.pack(_checksum(sealed, number, number == chunks - 1)) != data[: _CRC.size]:
        raise CorruptData(
            path, offset, "an encrypted chunk has a wrong checksum, or is not where the file ends", _ADVICE
        )
    return sealed


def _checksum(sealed: bytes, number: int, last: bool) -> int:
    crc: int = _extend(_value(_NONCE.pack(number, last)), sealed)
    return crc


class _Reader:
    """The file within; reads only."""

    def __init__(self, file: File, path: str, cipher: Cipher) -> None:
        self._file = file
        self._path = path
        self._cipher = cipher
        size = file.size()
        self._chunks = _chunks(size, path)
        self._size = size - _START - self._chunks * (_CRC.size + TAG_BYTES)
        self._kept: tuple[int, bytes] = (-1, b"")

    def size(self) -> int:
        return self._size

    def pread(self, size: int, offset: int) -> bytes:
        end = min(offset + size, self._size)
        pieces = []
        while offset < end:
            number, within = divmod(offset, _CHUNK)
            piece = self._chunk(number)[within : within + end - offset]
            pieces.append(piece)
            offset += len(piece)
        if offset >= self._size and not self._size:
            self._chunk(0)
        return b"".join(pieces)

    def _chunk(self, number: int) -> bytes:
        if self._kept[0] != number:
            sealed = _read_chunk(self._file, self._path, number, self._chunks)
            try:
                plain = self._cipher.open(_NONCE.pack(number, number == self._chunks - 1), sealed, _CONTEXT)
            except BrokenSeal:
                offset = _START + number * _STORED
                problem = "an encrypted chunk was changed, or belongs to another place, although its checksum is right"
                raise CorruptData(self._path, offset, problem, _ADVICE) from None
            self._kept = (number, plain)
        return self._kept[1]

    def close(self) -> None:
        self._file.close()

    def pwrite(self, data: bytes, offset: int) -> None:
        raise ValueError("an encrypted file is written once")

    def allocate(self, size: int) -> None:
        raise ValueError("an encrypted file is written once")

    def truncate(self, size: int) -> None:
        raise ValueError("an encrypted file is written once")

    def sync(self) -> None:
        """Nothing was written."""


class _Writer:
    """Writes what comes, in order, a chunk at a time. After a failure it takes nothing any more."""

    def __init__(self, file: File, cipher: Cipher) -> None:
        self._file = file
        self._cipher = cipher
        self._buffer = bytearray()
        self._size = 0
        self._chunks = 0
        self._failed: OSError | None = None
        self._ended = False

    def size(self) -> int:
        return self._size

    def allocate(self, size: int) -> None:
        self._file.allocate(stored_size(size))

    def pwrite(self, data: bytes, offset: int) -> None:
        if self._failed is not None:
            raise OSError(self._failed.errno, str(self._failed))
        if self._ended or offset != self._size:
            raise ValueError(f"{len(data)} bytes at {offset}: an encrypted file is written once and in order")
        self._buffer += data
        self._size += len(data)
        # One byte more than a chunk must be there: only the end tells which one is the last.
        while len(self._buffer) > _CHUNK:
            self._put(last=False)

    def sync(self) -> None:
        if self._failed is not None:
            raise OSError(self._failed.errno, str(self._failed))
        if not self._ended:
            self._put(last=True)
            self._ended = True
        self._file.sync()

    def _put(self, *, last: bool) -> None:
        number = self._chunks
        sealed = self._cipher.seal(_NONCE.pack(number, last), bytes(self._buffer[:_CHUNK]), _CONTEXT)
        try:
            self._file.pwrite(_CRC.pack(_checksum(sealed, number, last)) + sealed, _START + number * _STORED)
        except OSError as error:
            self._failed = error
            raise
        del self._buffer[:_CHUNK]
        self._chunks += 1

    def close(self) -> None:
        self._file.close()

    def pread(self, size: int, offset: int) -> bytes:
        raise ValueError("what is being written cannot be read yet")

    def truncate(self, size: int) -> None:
        raise ValueError("an encrypted file is written in order")
