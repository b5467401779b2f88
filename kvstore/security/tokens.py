"""Short tokens: what a user gets for a password, good on every node of the cluster for some minutes.

    kvt1.PAYLOAD.MAC      both in base64url without padding
    PAYLOAD               [number of the signing key, user, since, expiry in seconds since 1970] in JSON
    MAC                   HMAC-SHA256 over all that stands before it

The signing keys are random and replicated (`kvstore.state.auth`, rules A6 and A7, which also say what `since` is).
"""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from kvstore import limits

PREFIX: Final = "kvt1."


class BadToken(Exception):
    """A token that is not good; the text says why, and holds nothing of it."""


class ShortToken(NamedTuple):
    """What a token says. `since`: of the password for which it was given."""

    user: str
    since: int
    expires_s: float


def sign(token: ShortToken, keys: Sequence[tuple[int, bytes]]) -> str:
    """`token`, signed with the newest of `keys`, of which there is one at least."""
    number, secret = keys[-1]
    body = PREFIX + _text(json.dumps([number, token.user, token.since, int(token.expires_s)]).encode())
    return f"{body}.{_text(_mac(secret, body))}"


def read(text: str, keys: Sequence[tuple[int, bytes]]) -> ShortToken:
    """What the token says, if one of `keys` has signed it. Raises BadToken. Whether it has expired is not asked."""
    if len(text) > limits.TOKEN_CHARS_MAX or not text.isascii():
        raise BadToken("the token is malformed")
    body, _, mac = text.rpartition(".")
    try:
        number, user, since, expires_s = json.loads(_bytes(body.removeprefix(PREFIX)))
        told = _bytes(mac)
    except (ValueError, binascii.Error, RecursionError, TypeError):
        raise BadToken("the token is malformed") from None
    if not (type(number) is type(since) is type(expires_s) is int and type(user) is str):
        raise BadToken("the token is malformed")
    for known, secret in keys:
        if known == number and hmac.compare_digest(_mac(secret, body), told):
            return ShortToken(user, since, float(expires_s))
    raise BadToken("the token is not signed with a key of this cluster")


def _mac(secret: bytes, body: str) -> bytes:
    return hmac.digest(secret, body.encode(), "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
