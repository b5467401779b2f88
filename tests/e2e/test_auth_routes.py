"""Every route with every role on a real cluster of three, at its leader and at its followers; and when a revocation
takes effect: on each node with the very entry of the log that carries it.
"""

import asyncio
import http.client
import json
from typing import Any

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST, NodeSpec
from kvstore.client import AsyncClient, Client
from kvstore.errors import Forbidden
from kvstore.http.routes import ROUTES
from kvstore.model.permissions import VERBS
from tests.integration.test_auth_door import ASKED

PASSWORD = "password of nobody"


class Asker:
    """One connection to one node, opened anew where the node has ended it."""

    def __init__(self, node: NodeSpec) -> None:
        self._port = node.http_port
        self._line = http.client.HTTPConnection(HOST, self._port, timeout=20)

    def ask(self, method: str, target: str, token: str | None, data: bytes | None) -> tuple[int, dict[str, Any]]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._line.request(method, target, body=data, headers=headers)
        answer = self._line.getresponse()
        if answer.status == 200 and ("watch" in target or "snapshot" in target):
            self._line.close()  # it has no end, or is long
            self._line = http.client.HTTPConnection(HOST, self._port, timeout=20)
            return answer.status, {}
        told = answer.read()
        return answer.status, json.loads(told) if told.startswith(b"{") else {}


def users(cluster: Cluster) -> dict[str, str]:
    """A user for each verb, who has it on the keys below a/, and one without a role: name -> token."""
    with Client(cluster.endpoints) as client:
        client.put(b"a/1", b"mine")
        client.enable_auth(PASSWORD)
    tokens = {}
    with Client(cluster.endpoints, user="root", password=PASSWORD) as root:
        for name in ("nobody", *VERBS):
            root.add_user(name, PASSWORD)
            if name in VERBS:
                root.add_role(name)
                root.grant_permission(name, [name], prefix=b"a/")
                root.grant_role(name, name)
            tokens[name], _ = root.get_token(name, PASSWORD)
    return tokens


# Ends what the walk stands on if it is allowed: who may do it is shown without it being done.
REFUSED_ONLY = {("POST", "/v1/cluster/leader"), ("POST", "/v1/auth/keys"), ("POST", "/v1/cluster/members")}


def test_every_role_gets_exactly_what_it_may_at_every_node(kv_cluster: ClusterFactory) -> None:
    cluster = kv_cluster(3)
    tokens = users(cluster)
    walked = 0
    for node in cluster.topology.nodes:
        asker = Asker(node)
        for route in ROUTES:
            if (route.method, route.path) not in ASKED:
                continue
            target, data = ASKED[route.method, route.path]
            for user, token in (*tokens.items(), (None, None)):
                allowed = user is not None and (
                    route.permission.of == "known" or route.permission.verb == VERBS.get(user)
                )
                if allowed and (route.method, route.path) in REFUSED_ONLY:
                    continue
                status, told = asker.ask(route.method, target, token, data)
                where = (node.name, route.method, route.path, user, status, told)
                if allowed:
                    assert status not in (401, 403), where
                elif user is None:
                    assert (status, told["code"]) == (401, "unauthenticated"), where
                else:
                    assert (status, told["code"]) == (403, "forbidden"), where
                    assert told["outcome"] == (None if route.read else "not_applied"), where
                walked += 1
    assert walked > 700


@pytest.mark.long
async def test_a_revocation_takes_effect_on_each_node_with_the_entry_that_carries_it(
    kv_cluster: ClusterFactory,
) -> None:
    """A read at level ONE is judged by what its node has applied: at the first moment at which a node has applied the
    index of the revocation it is refused there, also where the node was far behind.
    """
    cluster = kv_cluster(3, proxy=True)
    tokens = await asyncio.to_thread(users, cluster)
    async with AsyncClient(cluster.endpoints, user="root", password=PASSWORD, timeout_s=20.0) as root:
        for turn in range(10):
            await root.revoke_role("read", "read")
            index = (await root.cluster()).commit_index
            for node in cluster.topology.nodes:
                async with (
                    AsyncClient([node.http], user="root", password=PASSWORD, timeout_s=20.0) as known,
                    AsyncClient([node.http], token=tokens["read"], timeout_s=20.0) as reader,
                ):
                    # Nothing tells from outside that an index is applied; a member's own digest says how far it is.
                    async with asyncio.timeout(20):
                        while not await applied(known, node.name, index):
                            await asyncio.sleep(0.01)
                    with pytest.raises(Forbidden):
                        await reader.get(b"a/1", level="one")
            await root.grant_role("read", "read")
            mark = await root.put(b"mark", b"%d" % turn, level="all")
            for node in cluster.topology.nodes:
                async with AsyncClient([node.http], token=tokens["read"], timeout_s=20.0) as reader:
                    found = await reader.get(b"a/1", level="one", min_revision=mark.revision)
                    assert found is not None


async def applied(client: AsyncClient, name: str, index: int) -> bool:
    view = await client.cluster()
    own = next(member for member in view.members if member.name == name)
    return own.digest is not None and int(own.digest["index"]) >= index
