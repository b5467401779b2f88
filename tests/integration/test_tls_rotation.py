"""Certificates that change while a node runs, and clients that outlive theirs."""

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kvstore import limits
from kvstore.client import AsyncClient, Tls
from kvstore.errors import CannotConnect
from kvstore.http import HttpServer
from kvstore.security import authority
from kvstore.security.certificates import BadCertificates, ServerFiles
from kvstore.security.keeper import Keeper
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore
from tests.support.pki import Pki, with_passphrase


class Files:
    """The files that a node or a client is given, whose content a test replaces."""

    def __init__(self, directory: Path, pki: Pki, name: str) -> None:
        directory.mkdir()
        self.cert, self.key, self.ca = (directory / name for name in ("cert.pem", "key.pem", "ca.pem"))
        self.trust(pki)
        self.show(*pki.node(name))

    def show(self, cert: Path, key: Path) -> None:
        _replace(self.cert, cert.read_bytes())
        _replace(self.key, key.read_bytes())

    def trust(self, *several: Pki) -> None:
        _replace(self.ca, b"".join(pki.ca.read_bytes() for pki in several))

    @property
    def server(self) -> ServerFiles:
        return ServerFiles(str(self.cert), str(self.key), str(self.ca), "", "required", "1.3")

    @property
    def tls(self) -> Tls:
        return Tls(str(self.ca), str(self.cert), str(self.key))


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.chmod(0o600)
    os.replace(beside, path)


@asynccontextmanager
async def opened(keeper: Keeper) -> AsyncIterator[tuple[str, str]]:
    """A door, its URL and what is shown there."""
    server = HttpServer(MemoryStore(), Metrics(), listen=("127.0.0.1", 0), tls=keeper, shutdown_s=1.0, drain_s=0.05)
    await server.start()
    keeper.start()
    try:
        yield f"https://127.0.0.1:{server.address[1]}", str(server.address[1])
    finally:
        await keeper.close()
        await server.close()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():
            await asyncio.sleep(0.005)


def keeper_of(files: Files) -> Keeper:
    return Keeper(files.server, "n1", check_s=0.03, settle_s=0.02)


async def serial(port: str, context: ssl.SSLContext) -> str:
    """Which certificate a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(port), ssl=context)
    shown = writer.get_extra_info("peercert")["serialNumber"]
    writer.transport.abort()
    return str(shown)


async def test_new_handshakes_use_the_new_certificate_and_old_connections_go_on(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "ca")
    files = Files(tmp_path / "n1", pki, "n1")
    context = pki.context(pki.client())
    keeper = keeper_of(files)
    async with opened(keeper) as (_, port):
        first = await serial(port, context)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port), ssl=context)
        with capture_logs() as logs:
            files.show(*pki.node("n1"))
            await until(lambda: keeper.counts.reloads["ok"] >= 1)
        assert [line["event"] for line in logs if line["log_level"] != "info"] == []
        assert await serial(port, context) != first
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.read(1_000)
        writer.close()
        assert keeper.counts.reloads["failed"] == 0


@pytest.mark.parametrize(
    "damage",
    ["garbage", "key of another", "missing", "expired", "another name", "own CA not trusted"],
)
async def test_what_cannot_be_used_is_said_and_counted_once_and_the_former_ones_stay(
    damage: str, tmp_path: Path
) -> None:
    pki, other = Pki(tmp_path / "ca"), Pki(tmp_path / "other")
    files = Files(tmp_path / "n1", pki, "n1")
    good = tmp_path / "good"
    shutil.copytree(tmp_path / "n1", good)
    context = pki.context(pki.client())
    keeper = keeper_of(files)
    async with opened(keeper) as (_, port):
        first = await serial(port, context)
        with capture_logs() as logs:
            if damage == "garbage":
                _replace(files.cert, b"-----BEGIN CERTIFICATE-----\nnonsense\n")
            elif damage == "key of another":
                _replace(files.key, pki.node("n2")[1].read_bytes())
            elif damage == "missing":
                files.ca.unlink()
            elif damage == "expired":
                files.show(*pki.node("n1", age_days=400))
            elif damage == "another name":
                files.show(*pki.node("n2"))
            else:
                files.trust(other)
            await until(lambda: keeper.counts.reloads["failed"] == 1)
            for _ in range(3):
                await keeper.look()
        said = [line for line in logs if line["event"] == "certificates_not_reloaded"]
        assert len(said) == 1
        assert str(tmp_path / "n1") in said[0]["problem"]
        assert await serial(port, context) == first
        # Once it is put right, it is used.
        for name in ("cert.pem", "key.pem", "ca.pem"):
            _replace(tmp_path / "n1" / name, (good / name).read_bytes())
        files.show(*pki.node("n1"))
        await until(lambda: keeper.counts.reloads["ok"] >= 1)
        assert await serial(port, context) != first


async def test_files_that_are_replaced_one_after_the_other_are_no_complaint(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "ca")
    files = Files(tmp_path / "n1", pki, "n1")
    keeper = Keeper(files.server, "n1", check_s=60.0, settle_s=0.3)
    cert, key = pki.node("n1")
    with capture_logs() as logs:
        _replace(files.cert, cert.read_bytes())
        looking = asyncio.ensure_future(keeper.look())
        await asyncio.sleep(0.1)  # within settle_s
        _replace(files.key, key.read_bytes())
        await looking
    assert keeper.counts.reloads == {"ok": 1, "failed": 0}
    assert all(line["log_level"] == "info" for line in logs)


async def test_asked_to_look_it_looks_at_once(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "ca")
    files = Files(tmp_path / "n1", pki, "n1")
    keeper = Keeper(files.server, "n1", check_s=3_600.0)
    keeper.start()
    files.show(*pki.node("n1"))
    keeper.look_now()
    await until(lambda: keeper.counts.reloads["ok"] == 1)
    await keeper.close()


async def test_a_client_outlives_a_change_of_the_ca_by_way_of_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TLS_FILES_CHECK_S", 0.0)
    old, new = Pki(tmp_path / "old"), Pki(tmp_path / "new")
    files, mine = Files(tmp_path / "n1", old, "n1"), Files(tmp_path / "me", old, "me")
    mine.show(*old.client())
    keeper = keeper_of(files)
    async with opened(keeper) as (endpoint, _), AsyncClient([endpoint], tls=mine.tls) as client:

        async def served() -> None:
            await client.put(b"k", b"v")
            async with AsyncClient([endpoint], tls=mine.tls) as another:
                await another.put(b"k", b"v")

        async def stepped(step: int) -> None:
            await until(lambda: keeper.counts.reloads["ok"] >= step)
            await served()

        await served()
        files.trust(old, new)
        await stepped(1)
        mine.trust(old, new)
        await served()
        files.show(*new.node("n1"))
        await stepped(2)
        mine.show(*new.client())
        await served()
        files.trust(new)
        await stepped(3)
        mine.trust(new)
        await served()
        assert client.retries == 0
        # What is of the old CA alone is out now.
        with pytest.raises(CannotConnect, match="does not accept the certificate"):
            async with AsyncClient([endpoint], tls=Tls(str(new.ca), *map(str, old.client())), timeout_s=1.0) as late:
                await late.put(b"k", b"v")


async def test_a_client_says_of_every_refusal_that_nothing_was_sent(tmp_path: Path) -> None:
    pki, stranger = Pki(tmp_path / "ca"), Pki(tmp_path / "stranger")
    files = Files(tmp_path / "n1", pki, "n1")
    async with opened(keeper_of(files)) as (endpoint, _):
        cases = {
            "of no CA that is trusted here": stranger.tls("eve"),
            "does not accept the certificate shown": pki.tls(),  # none
            "certificate shown to it": Tls(str(pki.ca), *map(str, stranger.client())),
        }
        for words, tls in cases.items():
            async with AsyncClient([endpoint], tls=tls, timeout_s=0.3) as client:
                with pytest.raises(CannotConnect, match=words):
                    await client.put(b"k", b"v")
    made = authority.make_node(pki.directory, "n1", ["kv.example"], force=True)
    files.show(made.cert, made.key)
    async with (
        opened(keeper_of(files)) as (endpoint, _),
        AsyncClient([endpoint], tls=pki.tls("alice"), timeout_s=0.5) as client,
    ):
        with pytest.raises(CannotConnect, match="for another name"):
            await client.put(b"k", b"v")


def test_a_node_does_not_start_with_files_that_are_of_no_use(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "ca")
    files = Files(tmp_path / "n1", pki, "n1")
    with pytest.raises(BadCertificates, match="this node is n2"):
        Keeper(files.server, "n2")
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(with_passphrase(files.key))
    with pytest.raises(BadCertificates, match="without a passphrase"):
        Keeper(files.server._replace(key=str(encrypted)), "n1")
    _replace(files.ca, files.cert.read_bytes())
    with pytest.raises(BadCertificates, match="none of a CA"):
        Keeper(files.server, "n1")
    with pytest.raises(BadCertificates, match="No such file"):
        Keeper(files.server._replace(cert=str(tmp_path / "none.pem")), "n1")
