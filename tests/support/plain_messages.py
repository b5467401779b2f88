"""The peer messages by way of plain msgpack: slower than the codec of the wire, and independent of it."""

from typing import Any

import msgspec

from kvstore.consensus.messages import BadMessage, Message


def to_array(message: Message) -> tuple[Any, ...]:
    """The message as a plain tuple, tag first, ready for msgpack."""
    return (message.__struct_config__.tag, *msgspec.structs.astuple(message))


def from_array(array: Any) -> Message:
    """The reverse of `to_array`, every field checked. Raises BadMessage."""
    try:
        message: Message = msgspec.convert(array, Message, strict=True)
    except msgspec.ValidationError as broken:
        raise BadMessage(str(broken)) from broken
    return message
