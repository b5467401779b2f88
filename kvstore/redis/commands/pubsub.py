"""Subscribing to changes of keys (`kvstore.redis.subscriptions`)."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from kvstore import limits
from kvstore.guard import rules
from kvstore.guard.streams import GuardedWatch
from kvstore.redis import subscriptions
from kvstore.redis.command import Client, Command
from kvstore.redis.problems import CommandError, too_large
from kvstore.redis.replies import NO_REPLY, Push, Reply
from kvstore.redis.subscriptions import Listener, Messages

_CHANNEL: Final = "subscribe"
_PATTERN: Final = "psubscribe"


async def _subscribe(
    client: Client,
    kind: str,
    names: Iterable[bytes],
    watched: Callable[[bytes], tuple[bytes, bool]],
    messages: Callable[[bytes], Messages],
) -> Reply:
    session, store = client.session, client.services.store
    wanted = [(name, watched(name)) for name in dict.fromkeys(names)]  # all are looked at before one begins
    new = [name for name, _ in wanted if (kind, name) not in session.subscriptions]
    if len(session.subscriptions) + len(new) > limits.REDIS_SUBSCRIPTIONS_MAX:
        raise too_large(f"a connection has {limits.REDIS_SUBSCRIPTIONS_MAX} subscriptions at most")
    needs = [rules.watched(key, prefix=prefix) for _, (key, prefix) in wanted]
    client.permit(rules.both(*needs))
    for (name, (key, prefix)), need in zip(wanted, needs, strict=True):
        if name in new:
            watch = await store.watch(key, prefix=prefix, start=None, timeout_s=limits.REDIS_COMMAND_S_MAX)
            # The listener runs once this is done: behind the confirmation.
            guarded = GuardedWatch(watch, client.services.gate, partial(client.permit, need))
            session.subscriptions[kind, name] = Listener(client, guarded, messages(name))
        session.settle()
        client.push(Push([kind.encode(), name, len(session.subscriptions)]))
    return NO_REPLY


async def subscribe(client: Client, arguments: list[bytes]) -> Reply:
    """SUBSCRIBE channel..."""
    channels = arguments[1:]
    return await _subscribe(client, _CHANNEL, channels, subscriptions.watched_by_channel, subscriptions.by_channel)


async def psubscribe(client: Client, arguments: list[bytes]) -> Reply:
    """PSUBSCRIBE pattern..."""

    def watched(pattern: bytes) -> tuple[bytes, bool]:
        return subscriptions.watched_by_pattern(pattern), True

    return await _subscribe(client, _PATTERN, arguments[1:], watched, subscriptions.by_pattern)


def _unsubscribe(client: Client, kind: str, names: list[bytes]) -> Reply:
    session = client.session
    told: list[bytes | None] = list(names) or [name for of_kind, name in session.subscriptions if of_kind == kind]
    for name in told or [None]:
        listener = None if name is None else session.subscriptions.pop((kind, name), None)
        if listener is not None:
            listener.end()
        word = b"unsubscribe" if kind == _CHANNEL else b"punsubscribe"
        client.push(Push([word, name, len(session.subscriptions)]))
    session.settle()
    return NO_REPLY


def unsubscribe(client: Client, arguments: list[bytes]) -> Reply:
    """UNSUBSCRIBE [channel...]"""
    return _unsubscribe(client, _CHANNEL, arguments[1:])


def punsubscribe(client: Client, arguments: list[bytes]) -> Reply:
    """PUNSUBSCRIBE [pattern...]"""
    return _unsubscribe(client, _PATTERN, arguments[1:])


def publish(client: Client, arguments: list[bytes]) -> Reply:
    """PUBLISH channel message"""
    raise CommandError("PUBLISH is not supported: only changes of keys are told, and a SET tells one")


_NONE: Final = (0, 0, 0)
_FLAGS: Final = ("pubsub", "noscript", "loading", "stale")
_DIFFERS: Final = "Only the channels of changes of keys: see below."

COMMANDS: Final = (
    Command(
        "SUBSCRIBE",
        -2,
        _NONE,
        _FLAGS,
        "pubsub",
        "2.0.0",
        "Tells the messages of channels.",
        _DIFFERS,
        None,
        None,
        subscribe,
        True,
        needs="channels",
    ),
    Command(
        "PSUBSCRIBE",
        -2,
        _NONE,
        _FLAGS,
        "pubsub",
        "2.0.0",
        "Those of all channels that match.",
        _DIFFERS,
        None,
        None,
        psubscribe,
        True,
        needs="channels",
    ),
    Command(
        "UNSUBSCRIBE",
        -1,
        _NONE,
        _FLAGS,
        "pubsub",
        "2.0.0",
        "Ends it.",
        "",
        None,
        unsubscribe,
        None,
        True,
        needs="known",
    ),
    Command(
        "PUNSUBSCRIBE",
        -1,
        _NONE,
        _FLAGS,
        "pubsub",
        "2.0.0",
        "Ends it.",
        "",
        None,
        punsubscribe,
        None,
        True,
        needs="known",
    ),
    Command("PUBLISH", 3, _NONE, _FLAGS, "pubsub", "2.0.0", "Refused.", "Refused.", local=publish, needs="known"),
)
