"""Changes of keys as Redis tells them, keyspace notifications, on the store's watches.

    __keyspace@0__:KEY      the message is what happened: set, or del
    __keyevent@0__:EVENT    the message is the key

Nothing is left out: a subscriber that is too slow is told LAGGED, and its connection is closed.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from kvstore import limits
from kvstore.errors import KvError
from kvstore.guard.streams import GuardedWatch
from kvstore.model.results import Change
from kvstore.redis.command import Client
from kvstore.redis.glob import Glob
from kvstore.redis.problems import CommandError, told, too_large
from kvstore.redis.replies import Error, Push, error

_log = structlog.get_logger("kvstore.redis")

SPACE: Final = b"__keyspace@0__:"
EVENT: Final = b"__keyevent@0__:"
SET: Final = b"set"
DEL: Final = b"del"

_FORBIDDEN: Final = error("NOPERM", "watch is not allowed any more on what was subscribed to")

Messages = Callable[[Change], Iterator[Push]]


def channels_of(change: Change) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """(channel, message) of both channels on which `change` is told."""
    event = DEL if change.record is None else SET
    return (SPACE + change.key, event), (EVENT + event, change.key)


def watched_by_channel(channel: bytes) -> tuple[bytes, bool]:
    """The key, or the prefix of all keys, that a channel is about. Raises CommandError for what nobody publishes to."""
    if channel.startswith(SPACE) and len(channel) > len(SPACE):
        key = channel[len(SPACE) :]
        if len(key) > limits.KEY_BYTES_MAX:
            raise too_large(f"a key has {limits.KEY_BYTES_MAX:,} bytes at most")
        return key, False
    if channel in (EVENT + SET, EVENT + DEL):
        return b"", True
    raise _strange(channel)


def watched_by_pattern(pattern: bytes) -> bytes:
    """The prefix of all keys that a pattern of channels is about. Raises CommandError."""
    if len(pattern) > len(SPACE) + limits.REDIS_PATTERN_BYTES_MAX:
        raise too_large(f"a pattern has {limits.REDIS_PATTERN_BYTES_MAX:,} bytes at most")
    head = Glob(pattern).prefix
    if head.startswith(SPACE):
        return head[len(SPACE) :]
    # It may begin with a star in the place of more: then all keys are looked at, and the channel decides.
    if any(channel.startswith(head) for channel in (SPACE, EVENT + SET, EVENT + DEL)):
        return b""
    raise _strange(pattern)


def _strange(channel: bytes) -> CommandError:
    shown = channel[:64].decode("ascii", "backslashreplace")
    return CommandError(
        f"nobody publishes to '{shown}': there are {SPACE.decode()}KEY, {EVENT.decode()}set and {EVENT.decode()}del"
    )


def by_channel(channel: bytes) -> Messages:
    """The messages of a channel."""

    def messages(change: Change) -> Iterator[Push]:
        for name, message in channels_of(change):
            if name == channel:
                yield Push([b"message", channel, message])

    return messages


def by_pattern(pattern: bytes) -> Messages:
    """The messages of a pattern."""
    glob = Glob(pattern)

    def messages(change: Change) -> Iterator[Push]:
        for name, message in channels_of(change):
            if glob.matches(name):
                yield Push([b"pmessage", pattern, name, message])

    return messages


class Listener:
    """One subscription of one connection: tells what its watch tells, until one of both ends."""

    def __init__(self, client: Client, watch: GuardedWatch, messages: Messages) -> None:
        self._client = client
        self._watch = watch
        self._messages = messages
        self._task = client.services.loop.create_task(self._tell())

    def end(self) -> None:
        """Nobody listens any more."""
        self._watch.close()
        if self._task is not asyncio.current_task():
            self._task.cancel()

    async def _tell(self) -> None:
        client = self._client
        loop, store = client.services.loop, client.services.store
        try:
            while True:
                changes = await self._watch.changes(loop.time() + limits.WATCH_PROGRESS_S)
                if not isinstance(changes, list):
                    client.end(_FORBIDDEN if self._watch.forbidden else _ended(changes.why))
                    return
                if not changes and store.ready() is not None:
                    # Cut off from the leader, this node would seem to tell for ever that nothing happens.
                    client.end(_ended("closed"))
                    return
                for change in changes:
                    for message in self._messages(change):
                        client.push(message)
                if not await client.writable():
                    return
        except KvError as failed:
            client.end(told(failed))
        except Exception as fault:
            _log.error("redis_subscription_failed", exc_info=fault)
            client.end(error("INTERNAL", "the server failed; its log has more"))
        finally:
            self._watch.close()


def _ended(why: str) -> Error:
    if why == "closed":
        return error("SHUTTINGDOWN", "this node stops, or knows no leader: subscribe at another one")
    return error("LAGGED", "this subscriber was too slow; what it missed cannot be told any more")
