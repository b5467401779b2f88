"""Settings: where they come from, what is refused, and that one table is the source of all of it."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from kvstore import limits
from kvstore.config import (
    SETTINGS,
    Address,
    ConfigError,
    ServerConfig,
    load,
    parse_address,
    parse_name,
    render_markdown,
)

TLS = {"tls_cert": "cert.pem", "tls_key": "key.pem", "tls_ca": "ca.pem"}


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "kv.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_with_nothing_given_a_single_node_on_loopback():
    config = load()
    assert (config.name, config.data_dir, config.cluster_token) == ("n1", "./kv-data", "")
    assert (str(config.listen), str(config.listen_peer)) == ("127.0.0.1:8480", "127.0.0.1:8481")
    assert (dict(config.peers), config.insecure_bind) == ({}, False)
    assert (config.heartbeat_ms, config.election_ms_min, config.election_ms_max) == (50, 300, 500)
    assert (config.snapshot_log_bytes, config.log_keep_bytes) == (32 << 20, 8 << 20)
    assert (config.log_level, config.log_format) == ("info", "auto")


def test_every_row_of_the_table_is_a_field_and_every_field_a_row():
    assert [row.name for row in SETTINGS] == [each.name for each in dataclasses.fields(ServerConfig)]


def test_flags_and_variables_are_unique():
    assert len({row.flag for row in SETTINGS}) == len({row.env for row in SETTINGS}) == len(SETTINGS)


def test_flag_wins_over_variable_over_file_over_default(file):
    path = file('[serve]\nname = "in-file"\nheartbeat_ms = 60\nelection_ms_min = 400\n')
    env = {"KV_NAME": "in-env", "KV_HEARTBEAT_MS": "70"}
    config = load({"name": "in-flag"}, env, path)
    assert (config.name, config.heartbeat_ms, config.election_ms_min, config.election_ms_max) == (
        "in-flag",
        70,
        400,
        500,
    )


def test_what_was_not_given_on_the_command_line_does_not_hide_the_variable():
    config = load({"name": None, "peers": ()}, {"KV_NAME": "n7", "KV_PEERS": "n2=127.0.0.1:1"})
    assert (config.name, dict(config.peers)) == ("n7", {"n2": Address("127.0.0.1", 1)})


def test_an_empty_variable_counts_as_absent():
    assert load(env={"KV_NAME": "", "KV_CONFIG": ""}).name == "n1"


def test_the_variable_kv_config_names_the_file_and_the_flag_overrules_it(file, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('[serve]\nname = "other"\n')
    path = file('[serve]\nname = "first"\n')
    assert load(env={"KV_CONFIG": path}).name == "first"
    assert load({}, {"KV_CONFIG": path}, str(other)).name == "other"


def test_other_tables_of_the_file_are_left_alone(file):
    assert load(path=file('[profile.home]\nendpoints = "x"\n[serve]\nname = "n3"\n')).name == "n3"


@pytest.mark.parametrize(
    "given", [("n3=[::1]:7", "n2=10.0.0.2:8481"), "n3=[::1]:7, n2=10.0.0.2:8481", ["n2=10.0.0.2:8481", "n3=[::1]:7"]]
)
def test_peers_are_read_from_a_repeated_flag_a_comma_list_and_a_toml_list(given):
    config = load({"peers": given})
    assert list(config.peers.items()) == [("n2", Address("10.0.0.2", 8481)), ("n3", Address("::1", 7))]


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64KiB", 65536), ("64 kib", 65536), ("1GiB", 1 << 30), (4096, 4096)]
)
def test_sizes_are_bytes_or_have_a_binary_unit(text, size):
    assert load({"snapshot_log_bytes": text}).snapshot_log_bytes == size


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8480", "127.0.0.1", 8480),
        ("[::1]:1", "::1", 1),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ("db-1.example.org:80", "db-1.example.org", 80),
        ("my_container:80", "my_container", 80),
    ],
)
def test_an_address_survives_reading_and_writing(text, host, port):
    assert parse_address(text) == (host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "localhost", ":80", "h:", "h:0", "h:65536", "h:+1", "h:\u0661", "::1:80", "[::1]", "[h]:80", "[]:80", "a b:80",
     "1.2.3:80", "256.1.1.1:80", "-h:80", "h..x:80", "h:80/", "http://h:80", "h" * 254 + ":80"],
)  # fmt: skip
def test_what_is_not_an_address_is_refused(text):
    with pytest.raises(ValueError, match=r"is not|has"):
        parse_address(text)


@pytest.mark.parametrize("text", ["n", "0", "n1", "a.b_c-d", "x" * limits.NAME_CHARS_MAX])
def test_node_names(text):
    assert parse_name(text) == text


@pytest.mark.parametrize(
    "text", ["", "N1", "-a", ".a", "_a", "a b", "a/b", "a=b", "ä", "n1\n", "x" * (limits.NAME_CHARS_MAX + 1)]
)
def test_what_is_not_a_node_name_is_refused(text):
    with pytest.raises(ValueError, match="is not a node name"):
        parse_name(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
     ("LOCALHOST", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False),
     ("example.org", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_can_reach(host, loopback):
    assert Address(host, 1).is_loopback is loopback


@pytest.mark.parametrize("setting", ["listen", "listen_redis", "listen_peer"])
def test_an_address_that_others_can_reach_needs_insecure_bind(setting):
    with pytest.raises(ConfigError, match=rf"^{setting}: 0\.0\.0\.0:9 can be reached .* without TLS .*insecure_bind"):
        load({setting: "0.0.0.0:9"})
    assert getattr(load({setting: "0.0.0.0:9", "insecure_bind": True}), setting) == ("0.0.0.0", 9)
    assert getattr(load({setting: "0.0.0.0:9", **TLS}), setting) == ("0.0.0.0", 9)


def test_the_refusal_of_an_open_address_says_why_and_all_that_can_be_done():
    with pytest.raises(ConfigError) as refused:
        load({"listen": "0.0.0.0:9"})
    for word in ("read and change every key", "loopback", "tls_cert", "kv cert", "--insecure-bind"):
        assert word in str(refused.value)


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key", "tls_ca"])
def test_tls_takes_certificate_key_and_ca_together(missing):
    assert load(TLS).tls
    assert not load().tls
    with pytest.raises(ConfigError, match=f"^{missing}: is missing"):
        load({name: path for name, path in TLS.items() if name != missing})


def test_settings_of_tls_that_say_nothing_or_contradict_are_refused():
    with pytest.raises(ConfigError, match="^tls_client_ca: says nothing without"):
        load({"tls_client_ca": "ca.pem"})
    with pytest.raises(ConfigError, match="^join: http://a:1 is not TLS"):
        load({**TLS, "join": "http://a:1"})
    with pytest.raises(ConfigError, match="tls_client_auth"):
        load({**TLS, "tls_client_auth": "maybe"})
    with pytest.raises(ConfigError, match="tls_version_min"):
        load({**TLS, "tls_version_min": "1.1"})
    assert load(TLS).tls_version_min == "1.3"


@pytest.mark.parametrize(
    ("given", "open_to_all"),
    [
        ({}, False),
        ({"listen": "0.0.0.0:9"}, True),
        ({"listen_redis": "0.0.0.0:9"}, True),
        ({"listen_peer": "0.0.0.0:9"}, False),
        ({"listen": "0.0.0.0:9", "tls_client_auth": "none"}, True),
        ({"listen": "0.0.0.0:9", "tls_client_auth": "required"}, False),
    ],
)
def test_when_clients_of_other_machines_get_in_without_a_certificate(given, open_to_all):
    assert load({**TLS, **given}).open_to_all is open_to_all


def test_there_is_no_redis_door_unless_it_is_asked_for():
    assert load().listen_redis is None
    assert load({"listen_redis": ""}).listen_redis is None
    assert str(load({}, {"KV_LISTEN_REDIS": "[::1]:0"}).listen_redis) == "[::1]:0"


def test_peers_may_be_anywhere_because_they_are_only_dialled():
    assert load({"peers": ["n2=10.0.0.2:1"]}).peers["n2"].host == "10.0.0.2"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"heartbeat_ms": "100"}, r"election_ms_min: 300 ms is not more than three heartbeats \(3 \* 100 ms\)"),
        ({"election_ms_max": "300"}, r"election_ms_max: 300 ms is not above election_ms_min \(300 ms\)"),
        ({"heartbeat_ms": "abc"}, r"heartbeat_ms \(from --heartbeat-ms\): 'abc' is not a whole number of milliseconds"),
        ({"heartbeat_ms": "1KiB"}, r"heartbeat_ms .*'1KiB' is not a whole number of milliseconds"),
        ({"heartbeat_ms": "0"}, r"heartbeat_ms .*0 is outside 5\.\.10000 milliseconds"),
        ({"snapshot_log_bytes": "1.5MiB"}, r"snapshot_log_bytes .*'1\.5MiB' is not a whole number of bytes"),
        ({"snapshot_log_bytes": "9" * 18 + "GiB"}, r"snapshot_log_bytes .*is outside"),
        ({"name": "N1"}, r"name \(from --name\): 'N1' is not a node name"),
        ({"data_dir": ""}, r"data_dir .*is not a directory"),
        ({"listen_peer": "127.0.0.1:0"}, r"listen_peer .*port outside 1\.\.65535"),
        ({"listen_redis": "6379"}, r"listen_redis .*'6379' is not HOST:PORT"),
        ({"listen_redis": "127.0.0.1:8480"}, r"listen_redis: 127\.0\.0\.1:8480 is the address of the HTTP API"),
        (
            {"listen_redis": "127.0.0.1:1", "peers": ["n2=127.0.0.1:1"]},
            r"listen_redis: 127\.0\.0\.1:1 is the peer address of n2",
        ),
        ({"log_level": "loud"}, r"log_level .*'loud' is none of debug, info, warning, error"),
        ({"log_format": "xml"}, r"log_format .*'xml' is none of auto, json, console"),
        ({"peers": ["127.0.0.1:1"]}, r"peers \(from --peer\): '127\.0\.0\.1:1' is not NAME=HOST:PORT"),
        ({"peers": ["n2=127.0.0.1:1", "n2=127.0.0.1:2"]}, r"peers .*n2 is named twice"),
        ({"peers": ["n2=127.0.0.1:1", "n3=127.0.0.1:1"]}, r"peers: n3 has the peer address 127\.0\.0\.1:1 of n2"),
        ({"peers": ["n1=127.0.0.1:1"]}, r"peers: n1 is this node; name only the others"),
        ({"peers": ["n2=127.0.0.1:8481"]}, r"peers: n2 has the peer address 127\.0\.0\.1:8481 of this node \(n1\)"),
        ({"peers": ["n2=127.0.0.1:1"], "listen": "127.0.0.1:8481"}, r"listen: .* is the peer address of this node"),
        ({"peers": [f"p{i}=127.0.0.1:{i}" for i in range(1, 16)]}, r"peers: 15 others, but .* at most 15 members"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_source(flags, message):
    with pytest.raises(ConfigError, match="^" + message) as caught:
        load(flags)
    assert caught.value.exit_code == 2


def test_a_bad_variable_and_a_bad_file_are_named(file):
    with pytest.raises(
        ConfigError, match=r"^insecure_bind \(from KV_INSECURE_BIND\): 'maybe' is neither true nor false"
    ):
        load(env={"KV_INSECURE_BIND": "maybe"})
    path = file("[serve]\nlisten = 80\n")
    with pytest.raises(ConfigError, match=r"^listen \(from .*kv\.toml\): 80 is not text"):
        load(path=path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serve]\nheartbeat = 5\n", "no such setting: heartbeat. Did you mean heartbeat_ms?"),
        ("[serve]\nzzz = 5\n", "no such setting: zzz$"),
        ('name = "n1"\n', r"name stands outside of the table \[serve\]"),
        ("[[serve]]\n", "serve is not a table"),
        ("serve", "not TOML"),
        ("[serve]\nheartbeat_ms = true\n", "True is not a whole number"),
        ("[serve]\nheartbeat_ms = 5.0\n", "5.0 is not a whole number"),
        ("[serve]\npeers = {n2 = 1}\n", "is not a list of NAME=HOST:PORT"),
        ("[serve]\npeers = [2]\n", "2 is not text"),
    ],
)
def test_a_file_with_a_mistake_is_refused(file, text, message):
    with pytest.raises(ConfigError, match=message):
        load(path=file(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load(path=str(tmp_path / "none.toml"))


def test_the_token_is_never_shown():
    assert "hush" not in repr(load({"cluster_token": "hush"}))
    with pytest.raises(ConfigError) as caught:
        load({"cluster_token": "hush\x07"})
    assert "hush" not in str(caught.value)


def test_a_config_cannot_be_changed():
    config = load({"peers": ["n2=127.0.0.1:1"]})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "n2"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.peers["n3"] = Address("h", 1)  # type: ignore[index]


def test_the_example_file_of_the_page_is_accepted_and_holds_the_defaults(file):
    example = render_markdown().split("```toml\n")[1].split("```")[0]
    assert set(tomllib.loads(example)["serve"]) == {row.name for row in SETTINGS}
    assert dataclasses.replace(load(path=file(example)), peers={}) == load()


def test_the_page_names_every_flag_and_variable():
    page = render_markdown()
    assert [row.name for row in SETTINGS if f"`{row.flag}" not in page or f"`{row.env}`" not in page] == []
