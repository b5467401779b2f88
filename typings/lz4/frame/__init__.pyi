from typing import BinaryIO, Literal

from typing_extensions import Buffer

BLOCKSIZE_DEFAULT: int
BLOCKSIZE_MAX64KB: int
BLOCKSIZE_MAX256KB: int
BLOCKSIZE_MAX1MB: int
BLOCKSIZE_MAX4MB: int
COMPRESSIONLEVEL_MIN: int
COMPRESSIONLEVEL_MINHC: int
COMPRESSIONLEVEL_MAX: int

def compress(
    data: Buffer,
    compression_level: int = 0,
    block_size: int = 0,
    content_checksum: bool = False,
    block_linked: bool = True,
    store_size: bool = True,
) -> bytes: ...
def decompress(data: Buffer) -> bytes: ...
def open(filename: BinaryIO, mode: Literal["rb"]) -> BinaryIO: ...
def get_frame_info(frame: Buffer) -> dict[str, int | bool]: ...

class LZ4FrameCompressor:
    def __init__(
        self,
        block_size: int = 0,
        block_linked: bool = True,
        compression_level: int = 0,
        content_checksum: bool = False,
        block_checksum: bool = False,
        auto_flush: bool = False,
        return_bytearray: bool = False,
    ) -> None: ...
    def begin(self, source_size: int = 0) -> bytes: ...
    def compress(self, data: Buffer) -> bytes: ...
    def flush(self) -> bytes: ...

class LZ4FrameDecompressor:
    eof: bool
    needs_input: bool
    unused_data: bytes | None
    def __init__(self, return_bytearray: bool = False) -> None: ...
    def reset(self) -> None: ...
    def decompress(self, data: Buffer, max_length: int = -1) -> bytes: ...
