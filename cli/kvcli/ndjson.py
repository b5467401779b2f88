"""Lines of import and export: `{"key"|"key_base64", "value"|"value_base64"}`, one JSON object a line."""

import asyncio
import base64
import json
import os
import stat
from collections.abc import AsyncIterator
from typing import BinaryIO

from kvstore import limits
from kvstore.client.results import bytes_field, key_json


class LineTooLong(Exception):
    """A line above IMPORT_LINE_BYTES_MAX: this is no ndjson of ours, and where the next line starts is unknown."""


def encode_line(key: bytes, value: bytes) -> bytes:
    """One line. Text stays readable where that is not longer than base64, which also keeps lines within the bound."""
    encoded = base64.b64encode(value).decode()
    item: dict[str, str] = {**key_json(key)}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        item["value_base64"] = encoded
    else:
        if len(json.dumps(text, ensure_ascii=False).encode()) <= max(len(encoded), 64):
            item["value"] = text
        else:
            item["value_base64"] = encoded
    return json.dumps(item, ensure_ascii=False).encode() + b"\n"


def decode_line(line: bytes) -> tuple[bytes, bytes]:
    """Key and value of one line. Raises ValueError, worded for people."""
    try:
        item = json.loads(line)
    except ValueError as broken:
        raise ValueError(f"not JSON: {broken}") from broken
    if not isinstance(item, dict):
        raise ValueError("not a JSON object")
    return bytes_field(item, "key"), bytes_field(item, "value")


async def read_lines(source: BinaryIO) -> AsyncIterator[bytes]:
    """Lines of a file, or of a pipe without holding up the loop while nothing comes. Raises LineTooLong."""
    if not _is_pipe(source):
        while line := source.readline(limits.IMPORT_LINE_BYTES_MAX + 1):
            if len(line) > limits.IMPORT_LINE_BYTES_MAX:
                raise LineTooLong
            yield line
        return
    reader = asyncio.StreamReader(limit=limits.IMPORT_LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    # The pipe is closed when the reader is done with it; the caller's descriptor stays his.
    own = os.fdopen(os.dup(source.fileno()), "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), own)
    try:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                raise LineTooLong from None
            if not line:
                return
            yield line
    finally:
        transport.close()


def _is_pipe(source: BinaryIO) -> bool:
    try:
        mode = os.fstat(source.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
