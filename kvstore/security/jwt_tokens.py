"""Tokens of somebody else's making: JWT (RFC 7519). The one file that knows PyJWT; the extra `auth` has it.

A token names its key (`kid`), its user (`sub`), for whom it is (`aud`) and when it ends (`exp`); `nbf` holds if it is
there. By which algorithm it is checked is the key's business, never the token's: of each key it is known beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kvstore import limits
from kvstore.security.tokens import BadToken

ALGORITHMS: Final = ("HS256", "EdDSA")
_SECRET_BYTES_MIN: Final = 32


class BadKey(ValueError):
    """A key that cannot be used; the text says why, and holds nothing of it."""


class Key(NamedTuple):
    """A key to check signatures with."""

    algorithm: str
    value: Any

    def __repr__(self) -> str:
        return f"Key({self.algorithm})"


class Claims(NamedTuple):
    """What a token says."""

    user: str
    expires_s: float


def installed() -> bool:
    """Whether the extra is there."""
    try:
        import jwt  # noqa: F401
    except ImportError:
        return False
    return True


def key_of(described: Mapping[str, Any]) -> Key:
    """A key out of its JSON form (RFC 7517): `oct` for HS256, the public half of `OKP` Ed25519 for EdDSA. Raises
    BadKey.
    """
    import jwt

    algorithm, kind = described.get("alg"), described.get("kty")
    if (algorithm, kind) not in (("HS256", "oct"), ("EdDSA", "OKP")):
        raise BadKey("alg and kty are HS256 and oct, or EdDSA and OKP")
    if kind == "OKP" and ("d" in described or described.get("crv") != "Ed25519"):
        raise BadKey("an EdDSA key is of the curve Ed25519, and without its private half (d), which no node needs")
    try:
        value = jwt.PyJWK(dict(described), algorithm=algorithm).key
    except Exception as wrong:  # whatever the library makes of it, its text may show the key
        raise BadKey(f"the key cannot be read ({type(wrong).__name__})") from None
    if kind == "oct" and len(value) < _SECRET_BYTES_MIN:
        raise BadKey(f"a secret for HS256 has {_SECRET_BYTES_MIN} bytes at least")
    return Key(str(algorithm), value)


def read(text: str, keys: Mapping[str, Key], audience: str) -> Claims:
    """What the token says. Raises BadToken unless it is good now, signed by one of `keys`, and for `audience`."""
    import jwt

    if len(text) > limits.TOKEN_CHARS_MAX:
        raise BadToken("the token is too long")
    try:
        kid = jwt.get_unverified_header(text).get("kid")
        key = keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise BadToken("the token names no key that is known here")
        claims = jwt.decode(
            text,
            key.value,
            algorithms=[key.algorithm],
            audience=audience,
            leeway=limits.TOKEN_CLOCK_S_MAX,
            options={"require": ["exp", "aud", "sub"]},
        )
    except jwt.PyJWTError as wrong:
        raise BadToken(f"the token is not good ({type(wrong).__name__})") from None
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise BadToken("the token is malformed") from None
    return Claims(str(claims["sub"]), float(claims["exp"]))
