"""The Redis door of a real cluster, by the clients that people use: redis-py, redis-cli and redis-benchmark."""

import asyncio
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvstore import limits
from kvstore.redis.problems import MEANINGS

NEVER = Retry(NoBackoff(), 0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests; those that break it leave it whole."""
    cluster = bring_up(tmp_path_factory.mktemp("redis") / "cluster", 3, redis=True)
    yield cluster
    for name in cluster.topology.processes:
        cluster.kill(name)


def address(cluster: Cluster, name: str) -> tuple[str, int]:
    host, port = (cluster.topology.node(name).redis or "").split(":")
    return host, int(port)


def connect(cluster: Cluster, name: str, **options: object) -> redis.Redis:
    host, port = address(cluster, name)
    return redis.Redis(host=host, port=port, retry=NEVER, **options)  # type: ignore[arg-type]


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: redis-tools; cluster/install-extras.sh)")
    return found


def test_every_node_takes_every_command_and_all_see_it(cluster: Cluster) -> None:
    clients = [connect(cluster, name) for name in cluster.topology.names]
    for number, client in enumerate(clients):
        assert client.set(f"every:{number}", number)
        assert client.incr("every:count") == number + 1
        for other in clients:
            assert other.get(f"every:{number}") == b"%d" % number
    assert clients[0].wait(3, 5_000) == 3
    assert [client.mget("every:0", "every:1", "absent") for client in clients] == [[b"0", b"1", None]] * 3
    local = connect(cluster, cluster.topology.names[1])
    local.execute_command("READONLY")
    assert local.get("every:2") == b"2"


def test_pipelines_and_transactions_of_redis_py(cluster: Cluster) -> None:
    client = connect(cluster, "n2", protocol=3)
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"pipe:{number % 50}", number)
            pipe.get(f"pipe:{number % 50}")
        found = pipe.execute()
    assert found == [each for number in range(100) for each in (True, b"%d" % number)]
    with client.pipeline() as pipe:
        pipe.set("txn", 1, ex=100).incr("txn").expire("txn", 200).get("txn")
        assert pipe.execute() == [True, 2, True, b"2"]
    assert 195 <= client.ttl("txn") <= 200

    def add_ten(pipe: redis.client.Pipeline) -> None:
        present = int(pipe.get("watched") or 0)  # type: ignore[arg-type]
        pipe.multi()
        pipe.set("watched", present + 10)

    others = [connect(cluster, name) for name in cluster.topology.names]
    threads = [
        threading.Thread(target=lambda c=c: [c.transaction(add_ten, "watched") for _ in range(5)]) for c in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("watched") == b"150"


async def test_counters_are_exact_from_all_nodes_at_once(cluster: Cluster) -> None:
    clients = []
    for name in cluster.topology.names:
        host, port = address(cluster, name)
        clients.append(redis.asyncio.Redis(host=host, port=port, retry=None, protocol=3))  # type: ignore[arg-type]

    async def count(client: redis.asyncio.Redis) -> None:
        for _ in range(15):
            await client.incr("counter")

    await asyncio.gather(*(count(client) for client in clients for _ in range(4)))
    assert await clients[0].get("counter") == b"180"
    for client in clients:
        await client.aclose()


async def test_a_hot_key_of_one_node_is_not_closed_to_the_others(cluster: Cluster) -> None:
    leader = cluster.leader()
    other = next(name for name in cluster.topology.names if name != leader)
    assert leader is not None
    counted = 0

    async def hammer() -> None:
        nonlocal counted
        host, port = address(cluster, leader)
        async with redis.asyncio.Redis(host=host, port=port, retry=None) as client:  # type: ignore[arg-type]
            while not done.is_set():
                await client.incr("hot")
                counted += 1

    done = asyncio.Event()
    hammering = [asyncio.create_task(hammer()) for _ in range(16)]
    host, port = address(cluster, other)
    async with redis.asyncio.Redis(host=host, port=port, retry=None) as client:  # type: ignore[arg-type]
        for _ in range(10):
            await client.incr("hot")
        done.set()
        await asyncio.gather(*hammering)
        assert int(await client.get("hot") or 0) == counted + 10
    assert counted > 10


def test_a_time_to_live_ends(cluster: Cluster) -> None:
    client, other = connect(cluster, "n1"), connect(cluster, "n3")
    listening = other.pubsub()
    listening.subscribe("__keyspace@0__:short")
    assert listening.get_message(timeout=5) is not None
    assert client.set("short", 1, px=100)
    assert 0 < other.pttl("short") <= limits.LEASE_TTL_MS_MIN
    told = [listening.get_message(timeout=10) for _ in range(2)]
    assert [each and each["data"] for each in told] == [b"set", b"del"]
    assert client.get("short") is None
    assert client.ttl("short") == -2
    assert client.set("lock", "a", nx=True, ex=100)
    assert not connect(cluster, "n2").set("lock", "b", nx=True, ex=100)
    listening.close()


def test_changes_at_any_node_are_told_at_any_other(cluster: Cluster) -> None:
    listening = connect(cluster, "n3", protocol=3).pubsub()
    listening.psubscribe("__keyspace@0__:told:*")
    assert listening.get_message(timeout=5) is not None
    writer = connect(cluster, "n1")
    with writer.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.set(f"told:{number}", number)
        pipe.delete("told:0")
        pipe.execute()
    told = [listening.get_message(timeout=5) for _ in range(501)]
    assert [(each["channel"], each["data"]) for each in told if each] == [
        *((f"__keyspace@0__:told:{number}".encode(), b"set") for number in range(500)),
        (b"__keyspace@0__:told:0", b"del"),
    ]
    listening.close()


def test_walking_over_keys(cluster: Cluster) -> None:
    client = connect(cluster, "n1")
    with client.pipeline(transaction=False) as pipe:
        for number in range(300):
            pipe.set(f"walk:{number}", number)
        pipe.execute()
    assert sorted(client.scan_iter(match="walk:*", count=7)) == sorted(
        f"walk:{number}".encode() for number in range(300)
    )
    assert len(client.keys("walk:*")) == 300
    assert client.dbsize() >= 300


def test_redis_cli(cluster: Cluster) -> None:
    host, port = address(cluster, "n1")
    cli = [program("redis-cli"), "-h", host, "-p", str(port)]

    def run(*words: str, text: str = "") -> str:
        return subprocess.run([*cli, *words], input=text, capture_output=True, text=True, timeout=20, check=True).stdout

    assert run("SET", "cli", "a b") == "OK\n"
    assert run("-3", "GET", "cli") == "a b\n"
    assert run(text='multi\nset cli "x y"\nget cli\nexec\n') == "OK\nQUEUED\nQUEUED\nOK\nx y\n"
    assert "kv_leader:" in run("INFO")
    assert run("--scan", "--pattern", "cl?") == "cli\n"
    assert "PONG" in run("PING")
    assert "ERR HSET is not supported" in run("HSET", "a", "b", "c")
    assert run("COMMAND", "DOCS", "GET").split("\n")[:3] == ["get", "summary", "The value of a key."]


def test_redis_benchmark(cluster: Cluster) -> None:
    host, port = address(cluster, "n1")
    tests = "ping_inline,ping_mbulk,set,get,incr,mset"
    options = ["-n", "500", "-c", "20", "-r", "1000", "-P", "4", "--csv"]
    done = subprocess.run(
        [program("redis-benchmark"), "-h", host, "-p", str(port), "-t", tests, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.findall(r'(?m)^"([A-Z_]+)', done.stdout) == ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"]
    assert "rror" not in done.stdout + done.stderr
    assert "CONFIG" not in done.stderr


def test_many_connections_and_half_sent_commands_harm_nobody(cluster: Cluster) -> None:
    where = address(cluster, "n2")
    ends = [socket.create_connection(where) for _ in range(300)]
    for number, end in enumerate(ends):
        end.sendall(
            (b"*2\r\n$3\r\nGET\r\n$100\r\nhalf", b"*1000000000\r\n", b"\x00\xff\r\n", b"*1\r\n$4\r\nPING\r\n")[
                number % 4
            ]
        )
    client = connect(cluster, "n2")
    began = time.monotonic()
    assert client.set("harm", 1)
    assert client.get("harm") == b"1"
    assert time.monotonic() - began < 5
    for end in ends[3::4]:
        end.settimeout(10)
        assert end.recv(100) == b"+PONG\r\n"
    for end in ends[1::4]:
        end.settimeout(10)
        assert end.recv(1_000).startswith(b"-TOOLARGE ")
    for end in ends:
        end.close()


def test_the_door_is_where_the_cluster_says(cluster: Cluster) -> None:
    for node in cluster.describe()["nodes"]:
        host, port = node["redis"].split(":")
        assert redis.Redis(host=host, port=int(port)).ping()


def test_a_restart_of_the_leader_fails_no_write_at_another_node(cluster: Cluster) -> None:
    leader = cluster.leader()
    assert leader is not None
    asked = next(name for name in cluster.topology.names if name != leader)
    stop = threading.Event()
    done = 0
    words: set[str] = set()

    def write() -> None:
        nonlocal done
        client = connect(cluster, asked, socket_timeout=20)
        while not stop.is_set():
            try:
                client.set("rolling", done + 1)
                done += 1
            except redis.RedisError as refused:
                words.add(str(refused).split()[0])

    writer = threading.Thread(target=write)
    writer.start()
    cluster.restart(leader)
    stop.set()
    writer.join()
    assert done > 10
    assert words == set()
    assert int(connect(cluster, leader).get("rolling") or 0) == done  # type: ignore[arg-type]


def test_nothing_acknowledged_is_lost_when_the_leader_is_killed(cluster: Cluster) -> None:
    stop = threading.Event()
    acknowledged: dict[str, int] = {}
    added, unknown = Counter[str](), Counter[str]()
    words: set[str] = set()

    def write(name: str, prefix: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                client = connect(cluster, name, socket_timeout=20)
                while not stop.is_set():
                    client.set(f"{prefix}:{number % 20}", number)
                    acknowledged[f"{prefix}:{number % 20}"] = number
                    number += 1
                    client.incr(f"{prefix}:count")
                    added[prefix] += 1
            except redis.ConnectionError:
                unknown[prefix] += 1  # the node was killed: what was under way is unknown
                stop.wait(0.05)
            except redis.RedisError as refused:
                words.add(str(refused).split()[0])
                unknown[prefix] += str(refused).startswith("UNKNOWNOUTCOME")

    writers = [
        threading.Thread(target=write, args=(name, "abc"[place])) for place, name in enumerate(cluster.topology.names)
    ]
    for writer in writers:
        writer.start()
    stop.wait(1.0)
    leader = cluster.leader()
    assert leader is not None
    cluster.kill(leader)
    stop.wait(2.0)
    cluster.restart(leader)
    stop.set()
    for writer in writers:
        writer.join()
    assert words <= set(MEANINGS)
    assert len(acknowledged) > 20
    client = connect(cluster, "n1")
    for key, number in acknowledged.items():
        # A later write of the same key may have been applied, too, although nobody was told.
        assert int(client.get(key) or 0) >= number, key  # type: ignore[arg-type]
    for prefix in "abc":
        counted = int(client.get(f"{prefix}:count") or 0)  # type: ignore[arg-type]
        assert added[prefix] <= counted <= added[prefix] + unknown[prefix]


def test_without_a_majority_the_first_word_says_so_and_level_one_goes_on(cluster: Cluster) -> None:
    last = connect(cluster, "n1", socket_timeout=20)
    assert last.set("k", 1)
    cluster.kill("n2")
    cluster.kill("n3")
    for call in (lambda: last.set("k", 2), lambda: last.get("k"), lambda: last.incr("k")):
        words = set()
        for _ in range(2):
            with pytest.raises(redis.RedisError) as refused:
                call()
            words.add(str(refused.value).split()[0])
        assert words <= {"NOQUORUM", "NOLEADER", "UNKNOWNOUTCOME", "TIMEOUT"}
    assert "NOQUORUM" in words
    one = connect(cluster, "n1", single_connection_client=True)
    assert one.execute_command("KV.LEVEL", "one") == b"OK"
    assert one.set("k", 3)
    assert one.get("k") == b"3"
    receipt = one.execute_command("KV.RECEIPT")
    assert dict(zip(*[iter(one.execute_command("KV.RECEIPT", receipt))] * 2, strict=True))[b"state"] == b"pending"
    with pytest.raises(redis.ResponseError, match="LEVELONE"):
        one.incr("k")
    cluster.up()
    assert one.wait(3, 10_000) == 3
    assert last.get("k") == b"3"
