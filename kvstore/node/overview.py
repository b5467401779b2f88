"""`GET /v1/cluster`: every member as this node sees it now, asked from the members themselves where they answer in
time.

Digests are comparable only at one applied index, so each node keeps those at fixed indices, and the answer shows each
member's at the highest index that all who answered have in common.
"""

import asyncio
from typing import Any, Final

import msgspec

from kvstore.consensus.configuration import Member
from kvstore.errors import KvError
from kvstore.model.results import ClusterView, MemberView
from kvstore.node.alarms import DIVERGENCE, Alarm, Alarms
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.intents import IntentLog
from kvstore.node.site import Site
from kvstore.state.machine import Machine

CALL_STATUS: Final = "status"
ANSWER_S: Final = 0.3
DIGEST_EVERY: Final = 1_024
DIGESTS_KEPT: Final = 8


# role, applied index, last index, URL, (index, digest) of each digest kept, writes at level ONE pending, alarms
_Told = tuple[str, int, int, str, list[tuple[int, int]], int, list[tuple[str, str, str]]]


class Digests:
    """This node's digests at the last few multiples of DIGEST_EVERY."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}

    def note(self, machine: Machine) -> None:
        """To be called after each applied entry."""
        if machine.applied_index % DIGEST_EVERY == 0:
            self._kept[machine.applied_index] = machine.digest
            if len(self._kept) > DIGESTS_KEPT:
                del self._kept[min(self._kept)]

    def clear(self) -> None:
        """A snapshot replaced the state."""
        self._kept.clear()

    def shown(self, machine: Machine) -> dict[int, int]:
        """Index -> digest, the present one included."""
        return {**self._kept, machine.applied_index: machine.digest}


class Overview:
    """Asks the members and puts the answers together."""

    def __init__(self, site: Site, cluster_id: str, intents: IntentLog, alarms: Alarms) -> None:
        self._site = site
        self._cluster_id = cluster_id
        self._engine = site.engine
        self._intents = intents
        self._alarms = alarms
        self.http = ""
        self.digests = Digests()
        self.machine = Machine()
        site.calls.serve(CALL_STATUS, self._serve)

    def _own(self) -> list[Any]:
        status = self._engine.status()
        shown = sorted(self.digests.shown(self.machine).items())
        return [
            status.role,
            status.applied_index,
            status.last_index,
            self.http,
            shown,
            len(self._intents),
            [list(alarm) for alarm in self._alarms],
        ]

    async def _serve(self, _peer: str, _body: list[Any]) -> list[Any]:
        return self._own()

    async def _ask(self, name: str) -> list[Any] | None:
        if name == self._engine.name:
            return self._own()
        try:
            answer = await self._site.calls.call(name, CALL_STATUS, [], self._site.in_s(ANSWER_S))
            return list(msgspec.convert(answer, _Told))
        except (Expired, NotSent, PeerGone, KvError, msgspec.ValidationError):
            return None

    async def view(self) -> ClusterView:
        """The cluster now; takes at most ANSWER_S when a member is silent."""
        status = self._engine.status()
        members = self._engine.configuration.members
        answers = await asyncio.gather(*(self._ask(member.name) for member in members))
        digests = [dict(answer[4]) for answer in answers if answer is not None]
        common = set.intersection(*(set(shown) for shown in digests)) if digests else set()
        self._compare([member.name for member in members], answers)
        at = max(common, default=None)
        return ClusterView(
            self._cluster_id,
            self._engine.name,
            status.leader,
            status.term,
            status.commit_index,
            self.machine.revision,
            [
                self._member(member, answer, status.match.get(member.name), at)
                for member, answer in zip(members, answers, strict=True)
            ],
            self._all_alarms(answers),
        )

    def _compare(self, names: list[str], answers: list[list[Any] | None]) -> None:
        """Two digests of one index that differ: replicas hold different content."""
        seen: dict[int, tuple[str, int]] = {}
        for name, answer in zip(names, answers, strict=True):
            for index, digest in [] if answer is None else answer[4]:
                other, known = seen.setdefault(index, (name, digest))
                if known != digest:
                    detail = f"{other} and {name} hold different content at log index {index}"
                    self._alarms.set(Alarm(DIVERGENCE, name, detail))

    def _all_alarms(self, answers: list[list[Any] | None]) -> list[dict[str, str]]:
        """Those of every node that answered, each once; this node's own last, as they are now."""
        found = {tuple(row[:2]): Alarm(*row) for answer in answers if answer is not None for row in answer[6]}
        found |= {tuple(alarm[:2]): alarm for alarm in self._alarms}
        return [alarm._asdict() for _, alarm in sorted(found.items())]

    def _member(self, member: Member, answer: list[Any] | None, match: int | None, at: int | None) -> MemberView:
        peer = self._engine.peer(member.name)
        http = self.http if member.name == self._engine.name else (peer.http if peer else member.http) or None
        if answer is None:
            role = "follower" if member.voter else "learner"
            return MemberView(member.name, role, member.voter, False, http, member.peer, match, None, 0, None)
        role, applied, last, _, shown, pending, _ = answer
        digest = None if at is None else {"index": at, "value": f"{dict(shown)[at]:016x}"}
        if member.name == self._engine.name:
            match = last
        return MemberView(member.name, role, member.voter, True, http, member.peer, match, applied, pending, digest)
