"""Transactions, history, leases, watches, locks and elections through both clients, with leaders killed under them."""

import asyncio
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvstore.client import AsyncClient, Client, Leader, WatchEvent, txn
from kvstore.client.txn import Delete, DeleteRange, Get, Put, Range, Txn, exists, mod_revision, value, version
from kvstore.errors import Compacted, KvError, LeaseLost, LeaseNotFound

PATIENCE_S = 30.0


async def kill_leader(cluster: Cluster) -> None:
    leader = cluster.leader()
    assert leader is not None
    await asyncio.to_thread(cluster.kill, leader)
    await asyncio.to_thread(cluster.restart, leader)


def test_everything_through_the_blocking_client(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    with Client(cluster.topology.endpoints, timeout_s=PATIENCE_S, balance="round_robin") as client:
        first = client.put(b"k/\xff", b"\x80", if_absent=True)
        assert first.revision
        done = client.txn(
            [value(b"k/\xff") == b"\x80", ~exists(b"k/2"), version(b"k/\xff") < 2, mod_revision(b"none") == 0],
            [Put(b"k/2", b"two"), Get(b"k/\xff"), Range(prefix=b"l"), Delete(b"m"), Txn(then=[DeleteRange(b"n")])],
            [Get(b"k/2")],
        )
        assert done.succeeded
        assert done.revision == first.revision + 1
        put, got, ranged, deleted, nested = done.results
        assert isinstance(put, txn.PutDone)
        assert put.version == 1
        assert isinstance(got, txn.GetDone)
        assert got.record
        assert got.record.value == b"\x80"
        assert isinstance(ranged, txn.RangeDone)
        assert (ranged.count, ranged.more, ranged.records) == (0, False, [])
        assert deleted == txn.DeleteDone(0)
        assert nested == txn.TxnDone(True, [txn.DeleteDone(0)])
        refused = client.txn([exists(b"none")], [Put(b"k/2", b"three")], [Get(b"k/2")])
        assert not refused.succeeded
        assert isinstance(refused.results[0], txn.GetDone)
        assert client.get_value(b"k/2") == b"two"

        old = client.range(prefix=b"k/", revision=first.revision)
        assert [key for key, _ in old.records] == [b"k/\xff"]
        assert client.get(b"k/2", revision=first.revision) is None
        assert client.delete_range(prefix=b"k/", dry_run=True).deleted == 2
        gone = client.delete_range(start=b"k/", end=b"k0")
        assert (gone.deleted, gone.revision) == (2, done.revision + 1)

        with client.watch(prefix=b"k/", start=first.revision, previous=True) as watch:
            events = [next(watch) for _ in range(4)]
        assert [(each.kind, each.key, each.value, each.revision - first.revision) for each in events] == [
            ("put", b"k/\xff", b"\x80", 0),
            ("put", b"k/2", b"two", 1),
            ("delete", b"k/2", None, 2),
            ("delete", b"k/\xff", None, 2),
        ]
        assert [None if each.previous is None else each.previous.value for each in events] == [
            None,
            None,
            b"two",
            b"\x80",
        ]
        assert client.compact(done.revision) == done.revision
        with pytest.raises(Compacted) as compacted:
            client.get(b"k/2", revision=first.revision)
        assert compacted.value.revision == done.revision + 1
        with pytest.raises(Compacted) as compacted, client.watch(prefix=b"", start=1):
            pass
        assert compacted.value.revision == done.revision + 1

        lease = client.grant(30)
        client.put(b"leased", b"v", lease=lease)
        status = client.lease_status(lease)
        assert (status.ttl_seconds, status.keys) == (30.0, [b"leased"])
        assert lease in client.leases()
        assert client.keep_alive([lease, 10**9]) == ({lease: 30.0}, [10**9])
        assert client.revoke(lease) == 1
        with pytest.raises(LeaseNotFound):
            client.revoke(lease)
        with pytest.raises(LeaseNotFound):
            client.put(b"leased", b"v", lease=lease)
        assert client.get(b"leased") is None


def test_the_blocking_locks_and_elections(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(1)
    with Client(cluster.topology.endpoints, timeout_s=PATIENCE_S) as client:
        with client.lock("l", ttl_seconds=3) as lock:
            assert not lock.lost
            assert client.txn([lock.guard], [Put(b"guarded", b"%d" % lock.token)]).succeeded
            waiting = client.lock("l", ttl_seconds=3)
            with pytest.raises(TimeoutError):
                waiting.acquire(wait_s=0.1)
            guard, token = lock.guard, lock.token
        assert not client.txn([guard], [Put(b"guarded", b"late")]).succeeded
        with client.elect("e", b"one") as leading:
            assert client.elect("e").leader() == Leader(b"one", leading.key, leading.token)
            leading.proclaim(b"uno")
            observed = client.elect("e").observe()
            assert next(observed) == Leader(b"uno", leading.key, leading.token)
            assert leading.token > token
        assert next(observed) is None
        assert client.leases() == []
        lease = client.lease(ttl_seconds=2)
        lease.begin()
        client.revoke(lease.id)
        assert lease.wait_lost(5)
        with pytest.raises(LeaseLost):
            lease.__exit__(None, None, None)
        # A watch that waits is ended from another thread.
        watch = client.watch(prefix=b"")
        with watch, ThreadPoolExecutor(1) as pool:
            nothing = pool.submit(list, watch)
            watch.close()
            assert nothing.result(10) == []


async def test_a_watch_a_lease_and_a_lock_outlive_leaders(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    async with AsyncClient(cluster.topology.endpoints, timeout_s=PATIENCE_S, balance="round_robin") as client:
        seen: list[WatchEvent] = []

        async def follow(watch: AsyncClient) -> None:
            async with watch.watch(prefix=b"w/") as events:
                began.set()
                async for event in events:
                    seen.append(event)
                    if event.key == b"w/end":
                        return

        began = asyncio.Event()
        following = asyncio.create_task(follow(client))
        await began.wait()
        revisions = []
        async with client.lease(ttl_seconds=2) as lease, client.lock("busy", ttl_seconds=3) as lock:
            await client.put(b"leased", b"v", lease=lease.id)
            for turn in range(2):
                killing = asyncio.create_task(kill_leader(cluster))
                revisions += [(await client.put(b"w/%d" % (n % 7), b"%d" % turn)).revision for n in range(100)]
                await killing
                assert not lease.lost
                assert not lock.lost
                assert (await client.txn([lock.guard], [Put(b"count", b"%d" % turn)])).succeeded
                assert await client.get_value(b"leased") == b"v"
        assert await client.get_value(b"leased") is None
        revisions.append((await client.put(b"w/end", b"")).revision)
        await asyncio.wait_for(following, PATIENCE_S)
        assert [event.revision for event in seen] == revisions


async def test_a_stream_of_keepalives_goes_on_over_the_end_of_leaders(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    node = next(node for node in cluster.topology.nodes if node.name != cluster.leader())
    async with AsyncClient([node.http], timeout_s=PATIENCE_S) as client:
        lease = await client.grant(2)
        await client.put(b"leased", b"v", lease=lease)
        host, port = node.http.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/leases/keepalive HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        line = b'{"ids":[%d]}\n' % lease
        began = asyncio.get_running_loop().time()
        killing = None
        while (now := asyncio.get_running_loop().time()) < began + 5.0:
            if killing is None and now > began + 1.0 and cluster.leader() not in (None, node.name):
                killing = asyncio.create_task(kill_leader(cluster))
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            size = int(await asyncio.wait_for(reader.readline(), PATIENCE_S), 16)
            answer = json.loads((await reader.readexactly(size + 2))[:-2])
            assert answer.get("gone", []) == []  # kept, or a problem: never gone
            await asyncio.sleep(0.2)  # as a client paces itself
        assert killing is not None
        await killing
        assert await client.get_value(b"leased") == b"v"
        writer.close()


async def test_a_watch_that_is_not_read_is_told_so_and_goes_on_where_it_was(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    node = cluster.topology.nodes[0]
    async with AsyncClient([node.http], timeout_s=PATIENCE_S) as client, client.watch(prefix=b"w/") as watch:
        with urllib.request.urlopen(f"{node.http}/v1/watch?prefix=w/", timeout=PATIENCE_S) as raw:
            # More than the buffers of two sockets and of one watch hold.
            value = bytes(256 << 10)
            revisions = [(await client.put(b"w/%d" % (n % 9), value)).revision for n in range(100)]
            told = await asyncio.to_thread(raw.read)  # it ends by itself
        *_, last = told.decode().strip().split("\n\n")
        event, data = last.split("\n")
        assert event == "event: lagged"
        seen = [int(line[4:]) for line in told.decode().splitlines() if line.startswith("id: ")]
        assert seen == revisions[: len(seen)]
        assert json.loads(data.removeprefix("data: ")) == {"revision": revisions[len(seen)]}
        # The watch of the client library has waited as long, and goes on by itself.
        found = [(await asyncio.wait_for(anext(watch), PATIENCE_S)).revision for _ in revisions]
        assert found == revisions
        metrics = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{node.http}/metrics").read().decode())
        lagged = next(line for line in metrics.splitlines() if line.startswith("kv_watches_lagged"))
        assert float(lagged.split()[1]) == 2


async def test_a_lock_goes_round_in_the_order_of_coming_and_past_one_who_died(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    endpoints = cluster.topology.endpoints
    order: list[int] = []
    tokens: list[int] = []
    async with AsyncClient(endpoints, timeout_s=PATIENCE_S) as client:
        dying = AsyncClient(endpoints, timeout_s=PATIENCE_S)
        dead = dying.lock("queue", ttl_seconds=1)
        await dead.acquire()

        async def wants(number: int) -> None:
            async with client.lock("queue", ttl_seconds=5) as lock:
                order.append(number)
                tokens.append(lock.token)

        waiting = []
        for number in range(5):
            # What joins the queue may be faster than a watch from now on is open.
            before = (await client.range(prefix=b"queue/", limit=1)).revision
            waiting.append(asyncio.create_task(wants(number)))
            async with client.watch(prefix=b"queue/", start=before + 1) as watch:
                await asyncio.wait_for(anext(watch), PATIENCE_S)
        assert not order
        # As if its process had died: its lease is not kept alive any more.
        assert dead._lease._keeping is not None
        dead._lease._keeping.cancel()
        await kill_leader(cluster)
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)
        await dying.close()
    assert order == [0, 1, 2, 3, 4]
    assert tokens == sorted(tokens)
    assert tokens[0] > dead.token


async def test_a_lost_majority_loses_the_lease_in_time(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    async with AsyncClient(cluster.topology.endpoints, timeout_s=2) as client:
        lock = client.lock("l", ttl_seconds=1)
        await lock.acquire()
        for name in ("n1", "n2"):
            cluster.kill(name)
        assert await lock.wait_lost(10)
        with pytest.raises(LeaseLost):
            lock.check()
        await lock.release()
        with pytest.raises(KvError):
            await client.get(b"k")
