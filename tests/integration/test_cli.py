"""`kv` as a process, against the HTTP door with a store in memory: what people and scripts see."""

import asyncio
import io
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kvcli import main
from kvcli.output import printable
from kvstore.errors import DeadlineExceeded, Divergence, MembersUnreachable, NoQuorum
from kvstore.http.app import HttpServer
from kvstore.model.commands import Op
from kvstore.model.levels import Level
from kvstore.model.results import OpResult
from kvstore.telemetry.metrics import Metrics
from tests.integration.memory_store import MemoryStore
from tests.support.commands import environment

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "cli"
MODES = ("simple", "table", "json", "raw")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: str


class Kv:
    """Runs `kv` with a clean environment and the server's endpoint."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self.env = {**environment(), "COLUMNS": "100", "KV_ENDPOINTS": endpoint, "KV_TIMEOUT": "2"}
        self.directory = directory

    async def __call__(self, *arguments: str | bytes, stdin: bytes = b"") -> Done:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "kvcli.main",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.env,
            cwd=self.directory,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Done(process.returncode, out, err.decode())


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def kv(store: MemoryStore, tmp_path: Path) -> AsyncIterator[Kv]:
    server = HttpServer(store, Metrics(), listen=("127.0.0.1", 0))
    await server.start()
    host, port = server.address
    yield Kv(f"http://{host}:{port}", tmp_path)
    await server.close()


def golden(name: str, text: str) -> None:
    """Compares with tests/golden/cli/NAME.txt; KV_GOLDEN=write writes it instead."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def in_process(arguments: list[str]) -> tuple[int, bytes]:
    """Runs `kv` in this process, which is much quicker than one process each."""
    stdout, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        code = main.run(arguments)
        return code, sys.stdout.buffer.getvalue()
    finally:
        sys.stdout = stdout


async def test_what_each_command_prints_in_each_mode(
    kv: Kv, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KV_ENDPOINTS", "KV_TIMEOUT", "COLUMNS"):
        monkeypatch.setenv(name, kv.env[name])
    monkeypatch.delenv("KV_OUTPUT", raising=False)
    commands: list[list[str | bytes]] = [
        ["put", "greeting", "hello"],
        ["put", b"\xff/odd", "line\nline"],
        ["get", "greeting"],
        ["get", "", "--prefix"],
        ["get", "", "--prefix", "--keys-only"],
        ["status"],
        ["doctor"],
    ]
    once: list[list[str | bytes]] = [
        ["get", "", "--prefix", "--limit", "1", "-o", "json"],
        ["export"],
        ["delete", "greeting", "-o", "json"],
    ]
    at_level_one: list[list[str | bytes]] = [
        ["put", "greeting", "soon", "--level", "one"],
        ["get", "greeting", "--level", "one"],
        ["delete", "gone", "--level", "one"],
        ["receipt", "n1.e1.1"],
    ]
    shown = [await transcript(command) for command in in_each_mode(commands) + once]
    shown += [await transcript(command) for command in in_each_mode(at_level_one)]
    store.alarms.append({"code": "clock_drift", "node": "n1", "detail": "the clock of n1 is +2500 ms from the median"})
    for command in ["status"], ["doctor"]:
        shown.append(await transcript(command, code=1 if command == ["doctor"] else 0))
    store.hand_over()
    for command in in_each_mode([["receipt", "n1.e1.1"]]):
        shown.append(await transcript(command))
    shown.append(await transcript(["receipt", "n1.e1.99"], code=5))
    golden("outputs", "".join(shown))


def in_each_mode(commands: list[list[str | bytes]]) -> list[list[str | bytes]]:
    return [[*command, "-o", mode] for mode in MODES for command in commands]


async def transcript(command: list[str | bytes], code: int = 0) -> str:
    """The command, and what it wrote to standard output; it has to end with `code`."""
    ended, out = await asyncio.to_thread(in_process, [os.fsdecode(word) for word in command])
    assert ended == code, command
    words = " ".join(printable(os.fsencode(word)) or "''" for word in command)
    # How many files this process has open, and may open, is its own affair.
    text = re.sub(r"n1 [\d,]+ of [\d,]+ *", "n1 some of many", out.decode("utf-8", "backslashreplace"))
    return f"$ kv {words}\n{text}\n"


async def test_options_before_the_command_count_too(kv: Kv) -> None:
    await kv("put", "k", "v")
    before, after = await kv("-o", "json", "get", "k"), await kv("get", "k", "-o", "json")
    assert before == after
    assert json.loads(before.out)["value_base64"] == "dg=="


async def test_absent_keys_and_conditions_end_with_one(kv: Kv) -> None:
    for arguments in (["get", "nothing"], ["delete", "nothing"], ["put", "k", "v", "--if-revision", "9"]):
        done = await kv(*arguments)
        assert (done.code, done.out) == (1, b""), arguments
        assert done.err.startswith("kv: ")
    assert (await kv("put", "k", "v", "--if-absent")).code == 0
    assert (await kv("put", "k", "w", "--if-absent")).code == 1
    assert (await kv("get", "k")).out == b"v"


async def test_values_come_from_standard_input_byte_for_byte(kv: Kv, store: MemoryStore) -> None:
    value = bytes(range(256)) + b"\n"
    assert (await kv("put", "k", "-", stdin=value)).code == 0
    assert store.records[b"k"].value == value
    assert (await kv("get", "k", "-o", "raw")).out == value
    assert (await kv("get", "k")).out == value


async def test_a_refusal_and_an_unknown_outcome_can_be_told_apart(kv: Kv, store: MemoryStore) -> None:
    store.fail = NoQuorum("1 of 3 voters is reachable")
    refused = await kv("put", "k", "v")
    store.fail = DeadlineExceeded("the write was appended but not committed in time")
    unknown = await kv("put", "k", "v")
    assert (refused.code, refused.out) == (4, b"")
    assert "Nothing was applied." in refused.err
    assert (unknown.code, unknown.out) == (5, b"")
    assert "kv get k; or repeat the command with --idempotency-key " in unknown.err


async def test_an_unknown_outcome_is_found_out_under_the_key_that_is_named(kv: Kv, store: MemoryStore) -> None:
    """What the message says is what has to be typed."""
    judged = store._judged

    def lost(op: Op) -> OpResult:
        judged(op)
        raise DeadlineExceeded("the connection to the leader ended before its answer came")

    store._judged = lost  # type: ignore[method-assign]
    unknown = await kv("put", "k", "v", "--if-absent")
    key = re.search(r"--idempotency-key (\w+)", unknown.err)
    assert unknown.code == 5
    assert key is not None
    store._judged = judged  # type: ignore[method-assign]
    assert (await kv("get", "k")).out == b"v"
    again = await kv("put", "k", "v", "--if-absent", "--idempotency-key", key[1])
    assert (again.code, again.out) == (0, b"revision 1, level quorum, acknowledged by 1 (1 needed)\n")
    other = await kv("put", "k", "w", "--idempotency-key", key[1])
    assert (other.code, other.out) == (7, b"")
    assert store.revision == 1
    assert all(call[0] == "put" for call in store.calls if call[0] != "get")


async def test_level_one_prints_a_receipt_and_says_how_to_go_on(kv: Kv, store: MemoryStore) -> None:
    written = await kv("put", "k", "v", "--level", "one")
    assert (written.code, written.out) == (0, b"pending, receipt n1.e1.1\n")
    assert written.err.endswith("to find out what becomes of it: kv receipt n1.e1.1 --wait\n")
    waiting = await kv("receipt", "n1.e1.1", "--wait", "--timeout", "0.2")
    assert (waiting.code, waiting.out) == (0, b"pending\n")
    assert "waits for a leader" in waiting.err
    await kv("put", "k", "newer")
    superseded = asyncio.create_task(kv("receipt", "n1.e1.1", "--wait", "--timeout", "20"))
    while ("receipt", "n1.e1.1") not in [call[:2] for call in store.calls[-2:]]:
        await asyncio.sleep(0.01)
    store.hand_over()
    ended = await superseded
    assert (ended.code, ended.out) == (1, b"superseded\n")
    assert "it changed nothing" in ended.err
    assert (await kv("get", "k", "--level", "all")).out == b"newer"
    lost = await kv("receipt", "n1.e1.9")
    assert (lost.code, lost.out) == (5, b"unknown, lost\n")
    assert "read the key" in lost.err
    assert (await kv("receipt", "n1")).code == 7
    store.fail = MembersUnreachable("only n1 can tell", read=True, missing=("n1",))
    assert (await kv("receipt", "n1.e1.1")).code == 4


async def test_options_of_reads_reach_the_store(kv: Kv, store: MemoryStore) -> None:
    await kv("get", "k", "--level", "one", "--max-staleness-ms", "300", "--min-revision", "0")
    assert store.calls[-1][:5] == ("get", b"k", Level.ONE, 0, 0.3)


async def test_replicas_that_differ_end_a_read_with_eight(kv: Kv, store: MemoryStore) -> None:
    store.fail = Divergence("n1 and n2 hold different values", level="all", read=True)
    done = await kv("get", "k", "--level", "all")
    assert (done.code, done.out) == (8, b"")
    assert "kv doctor" in done.err


async def test_a_tree_goes_in_and_comes_out(kv: Kv, store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "a.py").write_bytes(b"print()\n")
    (tmp_path / "tree" / "sub" / "b.bin").write_bytes(b"\xff\x00")
    (tmp_path / "tree" / "link").symlink_to("a.py")
    done = await kv("import", "--tree", "tree", "--prefix", "src/", "-o", "json")
    summary = json.loads(done.out)
    assert done.code == 0
    assert (summary["keys"], summary["bytes"], summary["retries"], summary["complete"]) == (2, 10, 0, True)
    assert [Path(skipped["where"]).name for skipped in summary["skipped"]] == ["link"]
    assert {key: record.value for key, record in store.records.items()} == {
        b"src/a.py": b"print()\n",
        b"src/sub/b.bin": b"\xff\x00",
    }

    exported = await kv("export", "out.ndjson")
    assert (exported.code, exported.out, exported.err) == (0, b"", "kv: exported 2 keys to out.ndjson\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ndjson", "tree"]
    before = dict(store.records)
    store.clear()
    lines = (tmp_path / "out.ndjson").read_bytes()
    for arguments, stdin in ((["out.ndjson"], b""), (["-"], lines)):
        store.clear()
        done = await kv("import", *arguments, stdin=stdin)
        assert (done.code, done.out) == (0, b"")
        assert done.err.startswith("kv: imported 2 keys, 10 B in ")
        assert {k: r.value for k, r in store.records.items()} == {k: r.value for k, r in before.items()}


async def test_an_import_with_bad_lines_says_which(kv: Kv, store: MemoryStore) -> None:
    done = await kv("import", "-", stdin=b'{"key":"a","value":"1"}\nnonsense\n{"key":"b","value":"2"}\n')
    assert done.code == 7
    assert "not imported: -:2: not JSON" in done.err
    assert list(store.records) == [b"a", b"b"]


async def test_an_import_outlives_a_cluster_without_quorum(kv: Kv, store: MemoryStore) -> None:
    store.fail = NoQuorum("1 of 3 voters is reachable")
    importing = asyncio.create_task(kv("import", "-", "-o", "json", stdin=b'{"key":"a","value":"1"}\n'))
    while len(store.calls) < 12:
        await store.entered.wait()
        await asyncio.sleep(0.01)
    store.fail = None
    done = await importing
    assert done.code == 0
    assert json.loads(done.out)["retries"] >= 11
    assert store.records[b"a"].value == b"1"


async def test_an_import_that_gives_up_says_what_to_do(kv: Kv, store: MemoryStore) -> None:
    store.fail = NoQuorum("1 of 3 voters is reachable")
    done = await kv("import", "-", "--give-up", "0", stdin=b'{"key":"a","value":"1"}\n')
    assert done.code == 4
    assert "gave up: 1 of 3 voters is reachable. Nothing was applied." in done.err
    assert "may be run again" in done.err


async def test_an_export_that_fails_leaves_no_file(kv: Kv, store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "out.ndjson").write_bytes(b"older")
    store.fail = NoQuorum("1 of 3 voters is reachable")
    done = await kv("export", "out.ndjson")
    assert done.code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.ndjson"]
    assert (tmp_path / "out.ndjson").read_bytes() == b"older"


async def test_a_reader_that_leaves_an_export_ends_it_quietly(kv: Kv) -> None:
    await kv("put", "k", "-", stdin=b"x" * 1_000_000)
    read, write = os.pipe()
    os.close(read)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kvcli.main", "export", stdout=write, stderr=asyncio.subprocess.PIPE, env=kv.env
    )
    os.close(write)
    _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


BRIEFLY = ("--seconds", "0.3", "--warmup", "0.1", "--clients", "4", "--keys", "20", "-o", "json")


async def test_bench_at_level_one_needs_no_majority(kv: Kv, store: MemoryStore) -> None:
    done = await kv("bench", "put", "--level", "one", *BRIEFLY)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["operations"] > 0
    assert {call[2] for call in store.calls if call[0] not in ("cluster", "batch")} == {Level.ONE}
    store.hand_over()
    assert not store.records


@pytest.mark.parametrize("door", ["http", "batch"])
@pytest.mark.parametrize("operation", ["put", "get", "mixed"])
async def test_bench_measures_and_cleans_up(kv: Kv, store: MemoryStore, operation: str, door: str) -> None:
    done = await kv("bench", operation, "--door", door, *BRIEFLY)
    result = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert result["operations"] > 0
    assert set(result["by_operation"]) == ({"put", "get"} if operation == "mixed" else {operation})
    assert all(each["operations"] > 0 for each in result["by_operation"].values())
    assert result["errors"] == []
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["worst"]
    assert not store.records


async def test_bench_counts_each_operation_of_a_batch_and_times_the_call(kv: Kv, store: MemoryStore) -> None:
    done = await kv("bench", "batch", "--batch", "50", "--count", "6", "--keep", *BRIEFLY)
    result = json.loads(done.out)
    assert (result["operations"], result["by_operation"]["batch"]["operations"]) == (300, 300)
    assert set(store.records) <= {f"{result['keys_left']}{number}".encode() for number in range(20)}
    assert store.records
    assert f"kv delete --prefix {result['keys_left']}" in done.err


async def test_bench_watch_counts_every_event_at_every_watch(kv: Kv, store: MemoryStore) -> None:
    result = json.loads((await kv("bench", "watch", "--watches", "3", *BRIEFLY)).out)
    assert result["errors"] == []
    assert result["operations"] == 3 * result["by_operation"]["put"]["operations"] > 0
    assert not store.records


async def test_bench_tells_errors_by_code_and_outcome_and_ends_as_the_last_one(kv: Kv, store: MemoryStore) -> None:
    store.fail = NoQuorum("1 of 3 voters is reachable")
    done = await kv("bench", "put", "--door", "batch", *BRIEFLY)
    result = json.loads(done.out)
    assert (done.code, result["operations"], result["latency_ms"]["p50"]) == (4, 0, None)
    (error,) = result["errors"]
    assert (error["code"], error["outcome"]) == ("no_quorum", "not_applied")
    assert error["count"] > 0
    assert result["keys_left"] in done.err


async def test_the_same_seed_asks_the_same(kv: Kv, store: MemoryStore) -> None:
    asked = []
    for seed in ("1", "1", "2"):
        before = len(store.calls)
        await kv("bench", "mixed", "--seed", seed, "--clients", "1", "--count", "40", "--warmup", "0", "--keys", "9")
        done = [call for call in store.calls[before:] if call[0] in ("put", "get")]
        asked.append([(call[0], bytes(call[1]).rsplit(b"/")[-1]) for call in done])
    assert asked[0] == asked[1] != asked[2]
