"""The key file, the key command, and what of them is taken while a node runs."""

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from kvstore import limits
from kvstore.errors import CorruptData
from kvstore.vault.cipher import BrokenSeal, Cipher
from kvstore.vault.envelope import NO_KEYS, WrongKey
from kvstore.vault.keeper import KeyKeeper, open_vault
from kvstore.vault.keys import BadKeys, KeyRing, KeySource
from tests.support.vaults import key, line, ring, vault


def key_file(directory: Path, content: str | bytes, mode: int = 0o600) -> str:
    path = directory / "keys"
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def load(directory: Path, content: str | bytes) -> KeyRing:
    return KeySource(key_file(directory, content)).load()


def test_the_first_line_is_the_active_key(tmp_path: Path) -> None:
    found = load(tmp_path, f"# since November\n\n{line(7)}  {line(3).strip()}  # old\n")
    assert found.active == 7
    assert dict(found.keys) == {7: key(7), 3: key(3)}


def test_plain_in_the_first_place_writes_in_clear_with_keys_at_hand(tmp_path: Path) -> None:
    found = load(tmp_path, "plain\n" + line(3))
    assert (found.active, list(found.keys)) == (0, [3])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "no key"),
        ("plain\n", "no key"),
        (line(1) + "plain\n", "first place"),
        (line(1) + line(1), "twice"),
        (line(1) + line(1).replace("1 ", "2 ", 1), "twice"),
        (line(1).replace("1 ", "0 ", 1), "not a number"),
        (line(1).replace("1 ", "4294967296 ", 1), "not a number"),
        (line(1).replace("1 ", "-1 ", 1), "not a number"),
        (line(1)[:-3] + "\n", "not 32 bytes"),
        ("5 " + "A" * 43 + "=\n", "not 32 random bytes"),
        ("5\n", "not a number"),
        (b"\xff\xfe\n", "not a number"),
        ("".join(line(number) for number in range(1, limits.ENCRYPTION_KEYS_MAX + 2)), "more than"),
        ("#" * (limits.ENCRYPTION_KEYS_BYTES_MAX + 1), "longer than"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused_without_showing_what_is_in_it(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    with pytest.raises(BadKeys, match=problem) as raised:
        load(tmp_path, content)
    assert raised.value.exit_code == 7
    assert line(1).split()[1][:20] not in str(raised.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadKeys, match="chmod 600"):
        KeySource(key_file(tmp_path, line(1), mode)).load()


def test_a_key_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match="cannot be read"):
        KeySource(str(tmp_path / "none")).load()
    with pytest.raises(BadKeys):
        KeySource(str(tmp_path)).load()


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.vault.keys.installed", lambda: False)
    with pytest.raises(BadKeys, match=r"kvstore\[encryption\]"):
        load(tmp_path, line(1))


def test_no_text_of_a_ring_has_a_key_in_it() -> None:
    assert str(key(1)) not in repr(ring(1)) + str(ring(1))
    assert repr(ring(2, 1)) == "KeyRing(active=2, numbers=[1, 2])"


def test_a_command_prints_keys_and_gets_its_arguments_without_a_shell(tmp_path: Path) -> None:
    program = "import sys; assert sys.argv[1:] == ['a b', '$HOME;']; print(open(sys.argv[0] and 'KEYS').read())"
    program = program.replace("KEYS", key_file(tmp_path, line(4)))
    found = KeySource(command=f'{sys.executable} -c "{program}" "a b" "$HOME;"').load()
    assert found.active == 4


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise SystemExit(3)", "status 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("while True: print('#' * 1000)", "printed more than"),
        ("import time; time.sleep(60)", "signal 9"),
    ],
)
def test_a_command_that_fails_or_never_ends_is_given_up(
    program: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in program:
        monkeypatch.setattr(limits, "ENCRYPTION_KEY_COMMAND_S_MAX", 0.5)
    with pytest.raises(BadKeys, match=problem):
        KeySource(command=f'{sys.executable} -c "{program}"').load()
    with pytest.raises(BadKeys, match="cannot be started"):
        KeySource(command="/no/such/command").load()


def test_a_data_key_opens_only_with_its_master_key_and_its_context() -> None:
    wrapped, cipher = vault(1).wrap(1, b"context")
    sealed = cipher.seal(bytes(12), b"text", b"")
    assert vault(2, 1).unwrap("f", 1, wrapped, b"context").open(bytes(12), sealed, b"") == b"text"
    with pytest.raises(CorruptData):
        vault(1).unwrap("f", 1, wrapped, b"other context")
    with pytest.raises(CorruptData):
        vault(1).unwrap("f", 1, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"context")
    with pytest.raises(WrongKey, match="no keys were given") as raised:
        NO_KEYS.unwrap("f", 1, wrapped, b"context")
    assert raised.value.key_id == 1
    with pytest.raises(WrongKey, match="another key 1"):
        vault(2).__class__(KeyRing(1, {1: key(2)})).unwrap("f", 1, wrapped, b"context")


def test_no_two_files_have_the_same_data_key() -> None:
    keys = vault(1)
    found = {keys.wrap(1, b"")[0] for _ in range(100)}
    assert len(found) == 100
    with pytest.raises(BrokenSeal):
        keys.wrap(1, b"")[1].open(bytes(12), keys.wrap(1, b"")[1].seal(bytes(12), b"text", b""), b"")


def test_cipher_agrees_with_a_published_vector() -> None:
    """Test case 16 of McGrew and Viega, The Galois/Counter Mode of Operation, appendix B."""
    secret = bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    context = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = Cipher(secret).seal(bytes.fromhex("cafebabefacedbaddecaf888"), plain, context)
    assert sealed[-16:].hex() == "76fc6ece0f4e1768cddf8853bb2d551b"


class Watched:
    """A keeper of a key file, and how often it said that another key is active."""

    def __init__(self, directory: Path, *lines: str) -> None:
        self.directory = directory
        self.path = key_file(directory, "".join(lines))
        self.rotations = 0
        self.problem: str | None = None
        self.in_use = {1: 3}
        self.vault, digest = open_vault(KeySource(self.path))
        self.keeper = KeyKeeper(
            KeySource(self.path), self.vault, digest, lambda: self.in_use, self._rotated, self._told
        )

    def _told(self, problem: str | None) -> None:
        self.problem = problem

    def _rotated(self) -> None:
        self.rotations += 1

    async def now(self, *lines: str) -> dict[str, int]:
        key_file(self.directory, "".join(lines))
        await self.keeper.look()
        return self.keeper.reloads


async def test_another_active_key_is_taken_while_the_node_runs(tmp_path: Path) -> None:
    watched = Watched(tmp_path, line(1))
    assert await watched.now(line(1)) == {"ok": 0, "failed": 0}
    assert await watched.now(line(1), line(2)) == {"ok": 1, "failed": 0}
    assert (watched.vault.active, watched.rotations) == (1, 0)
    assert await watched.now(line(2), line(1)) == {"ok": 2, "failed": 0}
    assert (watched.vault.active, watched.rotations) == (2, 1)


async def test_keys_that_files_still_need_are_kept_whatever_the_file_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    watched = Watched(tmp_path, line(2), line(1))
    for _ in range(2):  # said once
        assert await watched.now(line(2)) == {"ok": 0, "failed": 1}
    assert watched.vault.numbers == (1, 2)
    assert "a start would be refused: files of this node still need what is not there any more: key 1" in str(
        watched.problem
    )
    await watched.now(line(2), line(1))
    assert watched.problem is None
    assert await watched.now("nonsense") == {"ok": 0, "failed": 2}
    assert await watched.now(line(2), line(3).replace("3 ", "1 ", 1)) == {"ok": 0, "failed": 3}
    os.unlink(watched.path)
    await watched.keeper.look()
    assert watched.keeper.reloads["failed"] == 4
    watched.in_use = {2: 3, 1: 0}
    assert await watched.now(line(2)) == {"ok": 1, "failed": 4}
    assert watched.vault.numbers == (2,)


async def test_a_file_is_looked_at_by_itself(tmp_path: Path) -> None:
    watched = Watched(tmp_path, line(1))
    keeper = KeyKeeper(
        KeySource(watched.path), watched.vault, b"", lambda: watched.in_use, watched._rotated, print, check_s=0.01
    )
    keeper.start()
    key_file(tmp_path, line(2) + line(1))
    async with asyncio.timeout(10):
        while not watched.rotations:
            await asyncio.sleep(0.005)
    await keeper.close()
