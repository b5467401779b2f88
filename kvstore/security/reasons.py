"""Why a TLS connection did not come about: a word from a small set, for metrics, and a sentence for people. Pure.

OpenSSL tells errors as numbers for what is wrong with a certificate, and as names for all else; names that end in ALERT
something were said by the other side.
"""

import ssl
from typing import Final

NOT_TLS: Final = "not_tls"
NO_CERTIFICATE: Final = "no_certificate"
UNKNOWN_CA: Final = "unknown_ca"
EXPIRED: Final = "expired"
NOT_YET_VALID: Final = "not_yet_valid"
WRONG_NAME: Final = "wrong_name"
BAD_CERTIFICATE: Final = "bad_certificate"
REJECTED: Final = "rejected"
VERSION: Final = "version"
GARBLED: Final = "garbled"
TIMEOUT: Final = "timeout"
CROWDED: Final = "crowded"
CLOSED: Final = "closed"

REASONS: Final[dict[str, str]] = {
    NOT_TLS: "what came is not TLS",
    NO_CERTIFICATE: "no certificate was shown, and one is required",
    UNKNOWN_CA: "the certificate is of no CA that is trusted here",
    EXPIRED: "the certificate has expired",
    NOT_YET_VALID: "the certificate is not valid yet",
    WRONG_NAME: "the certificate is for another name",
    BAD_CERTIFICATE: "the certificate cannot be used for this",
    REJECTED: "the other side does not accept the certificate shown to it",
    VERSION: "no version of TLS, or no cipher, that both sides allow",
    GARBLED: "what came is damaged, or stands where it must not",
    TIMEOUT: "the handshake took too long",
    CROWDED: "too many handshakes were under way",
    CLOSED: "the connection ended within the handshake",
}

# X509_V_ERR_*, of x509_vfy.h.
_BY_VERIFY_CODE: Final = {
    2: UNKNOWN_CA,
    7: UNKNOWN_CA,  # a CA of the same name with another key
    9: NOT_YET_VALID,
    10: EXPIRED,
    18: UNKNOWN_CA,
    19: UNKNOWN_CA,
    20: UNKNOWN_CA,
    21: UNKNOWN_CA,
    62: WRONG_NAME,
    64: WRONG_NAME,
}
_BY_NAME: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": NO_CERTIFICATE,
    "HTTP_REQUEST": NOT_TLS,
    "HTTPS_PROXY_REQUEST": NOT_TLS,
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "UNSUPPORTED_PROTOCOL": VERSION,
    "NO_PROTOCOLS_AVAILABLE": VERSION,
    "VERSION_TOO_LOW": VERSION,
    "VERSION_TOO_HIGH": VERSION,
    "NO_SHARED_CIPHER": VERSION,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": VERSION,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": VERSION,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": VERSION,
}
# What the other side says of the certificate that it was shown, or was not.
_REJECTIONS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


def reason_of(wrong: ssl.SSLError) -> str:
    """The word for `wrong`, one of REASONS."""
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(wrong.verify_code, BAD_CERTIFICATE)
    name = wrong.reason or ""
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    if is_rejection(wrong):
        return REJECTED
    return GARBLED


def is_rejection(wrong: BaseException) -> bool:
    """Whether the other side says in `wrong` that it refuses the certificate of this one, or the lack of one.

    In TLS 1.3 this may come when the handshake is over for this side already. Nothing that was sent behind it has been
    read then.
    """
    name = getattr(wrong, "reason", None)
    return isinstance(name, str) and "ALERT" in name and any(word in name for word in _REJECTIONS)


def sentence(wrong: ssl.SSLError) -> str:
    """What is wrong, for people."""
    reason = reason_of(wrong)
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return f"{REASONS[reason]} ({wrong.verify_message})"
    return f"{REASONS[reason]} ({(wrong.reason or str(wrong)).lower().replace('_', ' ')})"
