"""Processes contend for a lock, and are killed and paused: the counter behind it, which takes the lock's guard, never
loses or doubles an increment.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvstore.client import Client
from tests.support.commands import SOURCES

CONTENDERS = 2

# Counts up to a number, one increment for each time that it holds the lock. Every increment is also written down under
# its token, in the same transaction: so a doubled one has two tokens, a lost one none. Every so many turns it stops
# itself where that is worst, between its read and its write, and a child wakes it after its lease is over.
CONTENDER = """
import os, signal, subprocess, sys
from kvstore.client import Client
from kvstore.client.txn import Put
from kvstore.errors import KvError, LeaseLost, LocalError

endpoints, goal, every = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])
turn = 0
with Client(endpoints, timeout_s=30) as client:
    while True:
        lock = client.lock("counter-lock", ttl_seconds=1)
        try:
            with lock:
                count = int(client.get_value(b"counter") or b"0")
                if count >= goal:
                    break
                turn += 1
                if turn % every == 0:
                    waker = subprocess.Popen(["sh", "-c", f"sleep 2.5; kill -CONT {os.getpid()} 2>/dev/null"])
                    os.kill(os.getpid(), signal.SIGSTOP)
                    waker.wait()
                mine = b"%d" % (count + 1)
                done = client.txn([lock.guard], [Put(b"counter", mine), Put(b"by/%d" % lock.token, mine)])
                if not done.succeeded:
                    client.put(b"refused/%d" % lock.token, mine)
        except LeaseLost:
            continue
"""


def contend(endpoints: list[str], goal: int, every: int, hits: int, patience_s: float) -> dict[str, int]:
    """Lets processes count to `goal`, with `hits` kills and pauses; what happened."""
    program = [sys.executable, "-c", CONTENDER, ",".join(endpoints), str(goal), str(every)]
    told = {"killed": 0, "paused": 0}
    chance = random.Random(11)

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(program, env={**os.environ, "PYTHONPATH": SOURCES}, stdout=subprocess.DEVNULL)

    running = [start() for _ in range(CONTENDERS)]
    ends = time.monotonic() + patience_s
    try:
        with Client(endpoints, timeout_s=30) as client:
            for hit in range(hits):
                # At a different count each time, so that the hits are spread over the run.
                wait_for_count(client, (hit + 1) * goal // (hits + 1))
                at = chance.randrange(CONTENDERS)
                if hit % 2:
                    running[at].kill()
                    running[at].wait()
                    running[at] = start()
                    told["killed"] += 1
                else:
                    running[at].send_signal(signal.SIGSTOP)
                    time.sleep(chance.uniform(0.5, 2.0))  # around the time to live of the lease
                    running[at].send_signal(signal.SIGCONT)
                    told["paused"] += 1
        for each in running:
            assert each.wait(max(ends - time.monotonic(), 0.1)) == 0
    finally:
        for each in running:
            each.kill()
            each.wait()
    return told


def wait_for_count(client: Client, count: int) -> None:
    page = client.range(start=b"counter", end=b"counter\0")
    if page.records and int(page.records[0][1].value) >= count:
        return
    with client.watch(b"counter", start=page.revision + 1) as watch:
        for event in watch:
            if int(event.value or b"0") >= count:
                return


def judge(endpoints: list[str], goal: int) -> int:
    """How often the store had to refuse a write of one who had lost the lock."""

    with Client(endpoints, timeout_s=30) as client:
        assert client.get_value(b"counter") == b"%d" % goal
        by = sorted((int(key[3:]), int(record.value)) for key, record in client.scan(prefix=b"by/"))
        refused = client.range(prefix=b"refused/").count
    # In the order of the tokens, every number once.
    assert [number for _, number in by] == list(range(1, goal + 1))
    # Without a refusal nothing was put to the test.
    assert refused > 0
    return refused


def test_no_increment_is_lost_or_doubled(kv_cluster: ClusterFactory) -> None:
    endpoints = kv_cluster(3).topology.endpoints
    told = contend(endpoints, goal=30, every=12, hits=2, patience_s=60)
    judge(endpoints, 30)
    assert told == {"killed": 1, "paused": 1}


@pytest.mark.long
def test_no_increment_is_lost_or_doubled_in_a_thousand_turns(kv_cluster: ClusterFactory) -> None:
    endpoints = kv_cluster(3).topology.endpoints
    told = contend(endpoints, goal=1_000, every=25, hits=40, patience_s=600)
    print(told, "refused:", judge(endpoints, 1_000))
