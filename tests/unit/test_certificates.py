"""Certificates that `kv cert` makes, and what is said when they cannot be made or used."""

import builtins
import json
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from kvcli.main import run
from kvstore import limits
from kvstore.security import authority
from kvstore.security.authority import CertError
from kvstore.security.certificates import names_of
from kvstore.security.client import Tls
from kvstore.security.reasons import REASONS, is_rejection, reason_of
from tests.support.pki import Pki, made_days_ago


def shown(path: Path) -> dict[str, Any]:
    """What the standard library reads in a certificate."""
    return ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined,no-any-return]


def days(path: Path) -> float:
    told = shown(path)
    return (ssl.cert_time_to_seconds(told["notAfter"]) - ssl.cert_time_to_seconds(told["notBefore"])) / 86_400


def test_keys_are_for_their_owner_alone_and_certificates_for_everybody(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "new")
    pki.node("n1")
    pki.client("alice")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in pki.directory.iterdir()}
    assert modes == {
        f"{stem}{end}": mode
        for stem in ("ca", "node-n1", "client-alice")
        for end, mode in ((".pem", 0o644), ("-key.pem", 0o600))
    }
    assert stat.S_IMODE(pki.directory.stat().st_mode) == 0o700


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    before = pki.ca.read_bytes()
    with pytest.raises(CertError, match=r"ca\.pem and .*ca-key\.pem are there already; --force"):
        authority.make_ca(tmp_path)
    (tmp_path / "client-alice-key.pem").write_text("mine")
    with pytest.raises(CertError, match=r"client-alice-key\.pem are there already"):
        authority.make_client(tmp_path, "alice")
    assert (tmp_path / "client-alice-key.pem").read_text() == "mine"
    assert pki.ca.read_bytes() == before
    authority.make_ca(tmp_path, force=True)
    assert pki.ca.read_bytes() != before


def test_names_uses_and_lifetimes_of_what_is_made(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    node, _ = pki.node("n1")
    client, _ = pki.client("alice")
    assert names_of(shown(node)) == ("n1", "localhost")
    assert ("IP Address", "127.0.0.1") in shown(node)["subjectAltName"]
    assert ("IP Address", "0:0:0:0:0:0:0:1") in shown(node)["subjectAltName"]
    assert names_of(shown(client)) == ()
    assert shown(client)["subject"] == ((("commonName", "alice"),),)
    assert (round(days(pki.ca)), round(days(node)), round(days(client))) == (1_825, 365, 365)
    assert shown(node)["issuer"] == shown(pki.ca)["subject"]


def test_a_certificate_never_outlives_its_ca_and_an_expired_ca_makes_none(tmp_path: Path) -> None:
    with made_days_ago(1_700):
        pki = Pki(tmp_path)
    node, _ = pki.node("n1")
    assert shown(node)["notAfter"] == shown(pki.ca)["notAfter"]
    with made_days_ago(1_900):
        authority.make_ca(tmp_path, force=True)
    with pytest.raises(CertError, match="the CA has expired"):
        pki.node("n1")


def test_what_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CertError, match="kv cert ca --dir"):
        authority.make_node(tmp_path, "n1")
    authority.make_ca(tmp_path)
    for given in (0, limits.CERT_DAYS_MAX + 1):
        with pytest.raises(CertError, match="valid for 1 to"):
            authority.make_node(tmp_path, "n1", days=given)
    with pytest.raises(CertError, match="hosts are given"):
        authority.make_node(tmp_path, "n1", ["h"] * (limits.CERT_HOSTS_MAX + 1))
    with pytest.raises(CertError, match="neither a host name nor an address"):
        authority.make_node(tmp_path, "n1", ["kö.example"])
    other = tmp_path / "other"
    authority.make_ca(other)
    (tmp_path / "ca-key.pem").write_bytes((other / "ca-key.pem").read_bytes())
    with pytest.raises(CertError, match="is not the key of the CA"):
        authority.make_node(tmp_path, "n1")
    (tmp_path / "ca-key.pem").write_text("nonsense")
    with pytest.raises(CertError, match="no CA that can be read"):
        authority.make_node(tmp_path, "n1")


def test_without_the_library_it_says_which_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for make in (
        lambda: authority.make_ca(tmp_path),
        lambda: authority.make_node(tmp_path, "n1"),
        lambda: authority.make_client(tmp_path, "alice"),
    ):
        with pytest.raises(CertError, match=r"pip install 'kvstore\[tls\]'"):
            make()
    assert list(tmp_path.iterdir()) == []


def test_the_commands_tell_what_they_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = ["--dir", str(tmp_path), "-o", "json"]
    assert run(["cert", "ca", *where]) == 0
    assert json.loads(capfd.readouterr().out)["cert"] == str(tmp_path / "ca.pem")
    assert run(["cert", "node", "n1", "--host", "kv1.example", "--host", "10.0.0.1", *where]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["key"] == str(tmp_path / "node-n1-key.pem")
    assert told["hosts"] == ["n1", "kv1.example", "10.0.0.1"]
    assert run(["cert", "client", "alice", "--days", "30", *where]) == 0
    assert round(days(Path(json.loads(capfd.readouterr().out)["cert"]))) == 30
    assert run(["cert", "client", "alice", *where]) == 2
    assert "--force" in capfd.readouterr().err
    assert run(["cert", "client", "../up", *where]) == 2
    assert run(["cert", "node", "N 1", *where]) == 2


def test_a_clients_certificate_and_key_go_together() -> None:
    for given in ({"cert": "c"}, {"key": "k"}):
        with pytest.raises(ValueError, match="both cert and key, or neither"):
            Tls("ca", **given)
    with pytest.raises(ValueError, match="version_min"):
        Tls(version_min="1.1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no_certificate"),
        ("HTTP_REQUEST", "not_tls"),
        ("WRONG_VERSION_NUMBER", "not_tls"),
        ("UNSUPPORTED_PROTOCOL", "version"),
        ("TLSV1_ALERT_UNKNOWN_CA", "rejected"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "rejected"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "rejected"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "version"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "garbled"),
        (None, "garbled"),
    ],
)
def test_every_error_of_the_library_has_one_of_a_few_reasons(name: str | None, reason: str) -> None:
    error = ssl.SSLError(1, "words")
    error.reason = name  # type: ignore[assignment]
    assert reason_of(error) == reason
    assert reason in REASONS
    assert is_rejection(error) == (reason == "rejected")
