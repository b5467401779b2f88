"""The user that a client certificate names. A connection without TLS has no certificate, so nobody is named by it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kvstore.model.auth_commands import is_name

_ALTERNATIVE: Final = ("DNS", "email")


def user_of(certificate: Mapping[str, Any] | None) -> str | None:
    """The user whom a certificate names that was verified, as `ssl.SSLObject.getpeercert()` gives it; None for none.

    It is the common name. Without one, it is the subject's alternative name (DNS or email), if there is exactly one.
    What cannot be the name of a user names nobody.
    """
    if not certificate:
        return None
    common = [value for name, value in _subject(certificate) if name == "commonName"]
    names = common or [value for kind, value in certificate.get("subjectAltName", ()) if kind in _ALTERNATIVE]
    return str(names[0]) if len(names) == 1 and is_name(names[0]) else None


def _subject(certificate: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in certificate.get("subject", ()):
        yield from part
