"""Who somebody is: tokens of others, their keys, tries of passwords, certificates, and what is remembered."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kvstore import limits
from kvstore.errors import TooManyTries, Unauthenticated
from kvstore.guard import Gate
from kvstore.model import commands
from kvstore.model.auth_commands import AUTH_ENABLE, USER_ADD, USER_DELETE, USER_PASSWORD
from kvstore.model.commands import checked
from kvstore.security import jwt_tokens, tokens
from kvstore.security.key_file import BadKeyFile, KeyFile, parse
from kvstore.security.peer_names import user_of
from kvstore.security.tokens import BadToken, ShortToken
from kvstore.security.tries import Tries
from tests.integration.memory_store import MemoryStore

SECRET = b"MARKER-secret-of-at-least-32-bytes-xx"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def oct_key(kid: str, secret: bytes = SECRET) -> dict[str, Any]:
    return {"kid": kid, "alg": "HS256", "kty": "oct", "k": b64(secret)}


def okp_key(kid: str, key: Ed25519PrivateKey = PRIVATE) -> dict[str, Any]:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kid": kid, "alg": "EdDSA", "kty": "OKP", "crv": "Ed25519", "x": b64(public)}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


KEYS = parse(key_set(oct_key("h"), okp_key("e")))


def made(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = "h", **claims: Any) -> str:
    told = {"sub": "app", "aud": "kvstore", "exp": time.time() + 60} | claims
    told = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(told, key, algorithm, headers={} if kid is None else {"kid": kid})


def unsigned(header: dict[str, Any]) -> str:
    claims = {"sub": "app", "aud": "kvstore", "exp": time.time() + 60}
    return ".".join([b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), ""])


def test_both_kinds_of_signatures_are_good() -> None:
    assert jwt_tokens.read(made(), KEYS, "kvstore").user == "app"
    assert jwt_tokens.read(made(PRIVATE, "EdDSA", "e"), KEYS, "kvstore").user == "app"
    assert jwt_tokens.read(made(aud=["other", "kvstore"], nbf=time.time() - 5), KEYS, "kvstore").user == "app"


PUBLIC_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "token",
    [
        made(exp=None),
        made(exp=time.time() - limits.TOKEN_CLOCK_S_MAX - 5),
        made(nbf=time.time() + 3_600),
        made(aud=None),
        made(aud="other"),
        made(sub=None),
        made(kid=None),
        made(kid="unknown"),
        made(b"another secret of at least 32 bytes"),
        made(OTHER, "EdDSA", "e"),
        # The algorithm is the key's, whatever the token says.
        made(PRIVATE, "EdDSA", "h"),
        made(SECRET, "HS256", "e"),
        made(SECRET, "HS384", "h"),
        unsigned({"alg": "none", "kid": "h"}),
        unsigned({"alg": "none", "kid": "e"}),
        unsigned({"alg": "HS256", "kid": "h"}),
        "a.b.c",
        "",
        "x" * (limits.TOKEN_CHARS_MAX + 1),
    ],
)
def test_a_token_that_is_not_good_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(BadToken) as refused:
        jwt_tokens.read(token, KEYS, "kvstore")
    assert not token or token not in str(refused.value)
    assert "MARKER" not in str(refused.value)


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """The classic confusion: HMAC with the public key as its secret."""
    import hashlib
    import hmac

    header = b64(json.dumps({"alg": "HS256", "kid": "e"}).encode())
    claims = b64(json.dumps({"sub": "app", "aud": "kvstore", "exp": time.time() + 60}).encode())
    signature = hmac.new(PUBLIC_PEM, f"{header}.{claims}".encode(), hashlib.sha256).digest()
    with pytest.raises(BadToken):
        jwt_tokens.read(f"{header}.{claims}.{b64(signature)}", KEYS, "kvstore")


def private_half() -> dict[str, Any]:
    raw = PRIVATE.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return okp_key("e") | {"d": b64(raw)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"keys": 1}',
        b'{"keys": [1]}',
        key_set(oct_key("a"), oct_key("a")),
        key_set(oct_key("")),
        key_set({name: value for name, value in oct_key("a").items() if name != "alg"}),
        key_set(oct_key("a") | {"alg": "none"}),
        key_set(oct_key("a") | {"alg": "EdDSA"}),
        key_set(oct_key("a", b"MARKER short")),
        key_set(private_half()),
        key_set(okp_key("a") | {"crv": "Ed448"}),
        key_set(okp_key("a") | {"x": "MARKER"}),
        key_set(*(oct_key(f"k{number}") for number in range(limits.TOKEN_KEYS_MAX + 1))),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_not_shown(data: bytes) -> None:
    with pytest.raises(BadKeyFile) as refused:
        parse(data)
    assert "MARKER" not in str(refused.value)
    assert "MARKER" not in repr(KEYS)


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def monotonic(self) -> float:
        return self.s

    def wall_ms(self) -> int:
        return int((time.time() + self.s - 1_000.0) * 1000)


def test_keys_come_and_go_with_their_file(tmp_path: Path) -> None:
    path, clocks = tmp_path / "keys.json", Clocks()
    path.write_bytes(key_set(oct_key("h")))
    keys = KeyFile(str(path), clocks.monotonic)
    path.write_bytes(key_set(oct_key("h"), okp_key("e")))
    assert (keys.look(), set(keys.keys)) == (0, {"h"})  # looked at within the last second
    clocks.s += 1
    assert (keys.look(), set(keys.keys)) == (1, {"h", "e"})
    for broken in (lambda: path.write_bytes(b"junk"), path.unlink):
        broken()
        clocks.s += 1
        assert (keys.look(), set(keys.keys)) == (1, {"h", "e"})
    path.write_bytes(key_set(okp_key("e")))
    os.utime(path, ns=(1, 1))
    clocks.s += 1
    assert (keys.look(), set(keys.keys)) == (2, {"e"})
    with pytest.raises(BadKeyFile):
        KeyFile(str(tmp_path / "absent"), clocks.monotonic)


class Guarded:
    """A gate with a user `app`, and keys of others in a file."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(key_set(oct_key("h")))
        self.path = path
        self.clocks = Clocks()
        self.store = MemoryStore()
        self.gate = Gate(self.store, keys=KeyFile(str(path), self.clocks.monotonic), clock=self.clocks)
        self.change(USER_ADD, "app", b"record")
        self.change(AUTH_ENABLE, bytes(32), b"record")

    def change(self, action: int, *arguments: Any) -> None:
        op = checked(commands.auth(action, *arguments), self.store.auth.revision)
        assert self.store._apply(op).status == 0

    def short(self, lasts_s: float = 60.0) -> str:
        token = ShortToken("app", self.store.auth.users["app"].since, self.gate.now_s() + lasts_s)
        return "Bearer " + tokens.sign(token, self.store.auth.keys)


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path / "keys.json")


def test_what_was_verified_is_not_verified_again(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for module in (tokens, jwt_tokens):
        real = module.read
        monkeypatch.setattr(module, "read", lambda *asked, real=real: calls.append(asked[0]) or real(*asked))
    for header in (guarded.short(), f"Bearer {made()}"):
        for _ in range(5):
            assert guarded.gate.caller(header).user == "app"
    assert len(calls) == 2


def test_what_is_remembered_is_bounded_and_ends_with_time_key_password_and_user(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKENS_CACHED_MAX", 3)
    headers = [guarded.short(60 + number) for number in range(9)]
    for header in headers:
        guarded.gate.caller(header)
    assert len(guarded.gate._known) == 3
    expiring, lasting, foreign = guarded.short(5), guarded.short(500), f"Bearer {made()}"
    for header in (expiring, lasting, foreign):
        guarded.gate.caller(header)
    guarded.clocks.s += 6
    with pytest.raises(Unauthenticated, match="expired"):
        guarded.gate.caller(expiring)
    guarded.path.write_bytes(key_set(oct_key("other")))
    os.utime(guarded.path, ns=(1, 1))
    guarded.clocks.s += 1
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            guarded.gate.caller(foreign)
    assert guarded.gate.caller(lasting).user == "app"
    guarded.change(USER_PASSWORD, "app", b"another")
    with pytest.raises(Unauthenticated):
        guarded.gate.caller(lasting)
    renewed = guarded.short()
    guarded.gate.caller(renewed)
    guarded.change(USER_DELETE, "app")
    with pytest.raises(Unauthenticated):
        guarded.gate.caller(renewed)


def test_a_certificate_is_somebody_if_there_is_such_a_user(guarded: Guarded) -> None:
    named = {"subject": ((("commonName", "app"),),)}
    assert guarded.gate.caller(None, named) == ("app", "certificate", float("inf"), None, None)
    for certificate in (None, {}, {"subject": ((("commonName", "stranger"),),)}):
        with pytest.raises(Unauthenticated):
            guarded.gate.caller(None, certificate)
    # A token says more exactly who asks.
    with pytest.raises(Unauthenticated):
        guarded.gate.caller("Bearer junk", named)


@pytest.mark.parametrize(
    ("certificate", "user"),
    [
        (None, None),
        ({}, None),
        ({"subject": ((("countryName", "DE"),), (("commonName", "app-1"),))}, "app-1"),
        ({"subject": ((("commonName", "a"),), (("commonName", "b"),))}, None),
        ({"subject": ((("commonName", "with space"),),)}, None),
        ({"subject": (), "subjectAltName": (("DNS", "app.example"),)}, "app.example"),
        ({"subjectAltName": (("email", "me@example.org"), ("URI", "x:y"))}, "me@example.org"),
        ({"subjectAltName": (("DNS", "a"), ("DNS", "b"))}, None),
        ({"subjectAltName": (("DNS", "*.example"),)}, None),
        ({"subject": ((("commonName", "cn"),),), "subjectAltName": (("DNS", "san"),)}, "cn"),
    ],
)
def test_the_user_of_a_certificate(certificate: Any, user: str | None) -> None:
    assert user_of(certificate) == user


def test_tries_come_back_with_time_and_are_given_back_by_success() -> None:
    clocks = Clocks()
    tries = Tries(clocks.monotonic)
    for _ in range(limits.LOGIN_TRIES_MAX):
        tries.take("u", "1.2.3.4")
    with pytest.raises(TooManyTries) as refused:
        tries.take("u", "1.2.3.4")
    assert refused.value.retry_after_s == pytest.approx(limits.LOGIN_TRY_EVERY_S)
    assert not refused.value.retry_safe
    tries.take("u", "5.6.7.8")  # nobody locks a user out from elsewhere
    tries.take("v", "1.2.3.4")
    clocks.s += limits.LOGIN_TRY_EVERY_S
    tries.take("u", "1.2.3.4")
    with pytest.raises(TooManyTries):
        tries.take("u", "1.2.3.4")
    tries.give_back("u", "1.2.3.4")
    tries.take("u", "1.2.3.4")


def test_one_address_cannot_try_all_users(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks()
    tries = Tries(clocks.monotonic)
    for number in range(limits.LOGIN_ADDRESS_TRIES_MAX):
        tries.take(f"u{number}", "1.2.3.4")
    with pytest.raises(TooManyTries):
        tries.take("another", "1.2.3.4")
    monkeypatch.setattr(limits, "LOGIN_TRIES_KEPT_MAX", 10)
    tries.take("u", "5.6.7.8")
    assert len(tries) == 10
