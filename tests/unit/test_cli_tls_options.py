"""`--cacert`, `--cert`, `--key`: from a flag, a variable or the file, and what they must fit."""

from pathlib import Path

import click
import pytest

from kvcli import profile
from kvcli.options import Settings, given_endpoints, global_options, settings
from kvstore.client import Tls

NAMES = ("ENDPOINTS", "OUTPUT", "TIMEOUT", "CACERT", "CERT", "KEY", "CONFIG")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"KV_{name}", raising=False)
    profile._read.cache_clear()


def chosen(*arguments: str) -> Settings:
    seen: list[Settings] = []

    @click.command()
    @click.argument("key")
    @global_options
    def command(key: str) -> None:
        assert key == "the-key"  # which the flag of the same name leaves alone
        seen.append(settings())

    command.main(["the-key", *arguments], standalone_mode=False)
    return seen[0]


def test_a_flag_goes_before_a_variable_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kv.toml"
    file.write_text(
        '[serve]\nname = "n1"\n[client]\nendpoints = ["https://a:1", "https://b:2"]\n'
        'cacert = "file.pem"\ntimeout = 7\noutput = "json"\n'
    )
    assert chosen().tls is None
    monkeypatch.setenv("KV_CONFIG", str(file))
    from_file = chosen()
    assert from_file.endpoints == ("https://a:1", "https://b:2")
    assert (from_file.tls, from_file.timeout_s, from_file.output) == (Tls("file.pem"), 7.0, "json")
    monkeypatch.setenv("KV_CACERT", "variable.pem")
    assert chosen().tls == Tls("variable.pem")
    assert chosen("--cacert", "flag.pem", "--cert", "c", "--key", "k").tls == Tls("flag.pem", "c", "k")
    assert chosen("--endpoints", "https://c:3").endpoints == ("https://c:3",)


def test_endpoints_of_the_file_are_given_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kv.toml"
    file.write_text('[client]\nendpoints = ["https://a:1"]\n')
    with click.Context(click.Command("x")):
        assert given_endpoints() == ()
        monkeypatch.setenv("KV_CONFIG", str(file))
        assert given_endpoints() == ("https://a:1",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[client]\nendpoint = 1\n", "no such setting: client.endpoint"),
        ("client = 1\n", "not a table"),
        ("[client\n", "not TOML"),
        (None, "No such file"),
        ('[client]\ntimeout = "soon"\n', "client.timeout: 'soon' is not a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    text: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kv.toml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("KV_CONFIG", str(file))
    with pytest.raises(click.UsageError, match="kv.toml") as wrong:
        chosen()
    assert says in str(wrong.value)


def test_with_certificates_the_default_endpoint_is_tls_and_a_plain_one_is_refused() -> None:
    assert chosen("--cacert", "ca").endpoints == ("https://127.0.0.1:8480",)
    chosen("--cacert", "ca").check()
    chosen().check()
    with pytest.raises(click.UsageError, match="http://a:1 is not TLS: write https://"):
        chosen("--cacert", "ca", "--endpoints", "a:1").check()


@pytest.mark.parametrize("alone", ["--cert", "--key"])
def test_a_certificate_without_its_key_is_wrong_usage(alone: str) -> None:
    with pytest.raises(click.UsageError, match="both cert and key"):
        chosen(alone, "x")
