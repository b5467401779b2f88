"""The error tree: what went wrong, and what the caller must decide on.

Every error that leaves a node says whether the operation took effect (`outcome`) and whether the very same request
may be sent again without risk (`retry_safe`). The HTTP door writes it as `application/problem+json` (RFC 9457), the
client library raises the same class again, the CLI turns it into an exit code.

    KvError
      BadRequest            400 bad_request           not_applied   exit 7
      Unauthenticated       401 unauthenticated       not_applied   exit 6
      Forbidden             403 forbidden             not_applied   exit 6
      NotFound              404 key_not_found         not_applied   exit 1
      RouteNotFound         404 route_not_found       not_applied   exit 7
      MethodNotAllowed      405 method_not_allowed    not_applied   exit 7
      LeaseNotFound         404 lease_not_found       not_applied   exit 1
      AuthNotFound          404 auth_not_found        not_applied   exit 1
      AuthRefused           409 auth_refused          not_applied   exit 4
      IdempotencyConflict   409 idempotency_conflict  not_applied   exit 7
      IdempotencyExpired    409 idempotency_expired   unknown       exit 5
      MembershipRefused     409 membership_refused    not_applied   exit 4
      Compacted             410 compacted             not_applied   exit 7
      PreconditionFailed    412 precondition_failed   not_applied   exit 1
      TooLarge              413 too_large             not_applied   exit 7
      KeyTooLong            414 too_large             not_applied   exit 7
      Overloaded            429 overloaded            not_applied   exit 4
      TooManyTries          429 too_many_tries        not_applied   exit 6
      InternalError         500 internal              unknown       exit 8
      Divergence            500 divergence            -             exit 8
      Unavailable           503 ...                   not_applied   exit 4
        NoQuorum                no_quorum
        NoLeader                no_leader
        MembersUnreachable      members_unreachable
        Discarded               discarded
        NotAVoter               not_a_voter
        UpgradeIncomplete       upgrade_incomplete
        AuthChanged             auth_changed
      DeadlineExceeded      504 timeout               unknown, or committed for ALL   exit 5
      StorageFull           507 storage_full          not_applied   exit 4
    LocalError (never crosses the wire)
      CannotConnect         exit 3
      ConnectionLost        exit 5, outcome unknown
      LeaseLost             exit 5: a lease, or a lock or an election on it, is held no more
      CorruptData           exit 7: file, offset and what to do
"""

from typing import Any, ClassVar, Literal

Outcome = Literal["not_applied", "unknown", "committed"]

_PROBLEM_TYPE = "urn:kvstore:error:"


class KvError(Exception):
    """Base of all errors that a node answers with. Subclasses set the class attributes; instances may refine them."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 8
    title: ClassVar[str] = "Internal error"
    default_outcome: ClassVar[Outcome | None] = "unknown"
    default_retry_after_s: ClassVar[float | None] = None

    def __init__(
        self,
        detail: str,
        *,
        read: bool = False,
        outcome: Outcome | None = None,
        level: str | None = None,
        required: int | None = None,
        acked: int | None = None,
        missing: tuple[str, ...] = (),
        leader: str | None = None,
        receipt: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """`read=True` marks an error of a read, whose outcome is always None: a read changes nothing."""
        super().__init__(detail)
        self.detail = detail
        self.outcome: Outcome | None = None if read else (outcome or self.default_outcome)
        self.level = level
        self.required = required
        self.acked = acked
        self.missing = missing
        self.leader = leader
        self.receipt = receipt
        self.request_id = request_id
        self.retry_after_s = self.default_retry_after_s if retry_after_s is None else retry_after_s

    @property
    def retry_safe(self) -> bool:
        """True when sending the same request again cannot apply it twice and might succeed."""
        return (self.status in (429, 503, 507) and self.outcome in (None, "not_applied")) or (
            self.status == 504 and self.outcome is None
        )

    def to_problem(self) -> dict[str, Any]:
        """The body of the answer (RFC 9457), with every member that DESIGN 2.5 names, present even when null."""
        return {
            "type": _PROBLEM_TYPE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "outcome": self.outcome,
            "level": self.level,
            "required": self.required,
            "acked": self.acked,
            "missing": list(self.missing),
            "leader": self.leader,
            "receipt": self.receipt,
            "request_id": self.request_id,
            "retry_safe": self.retry_safe,
        }


class BadRequest(KvError):
    """A malformed key, level, body or bound."""

    code, status, exit_code, title = "bad_request", 400, 7, "Bad request"
    default_outcome = "not_applied"


class Unauthenticated(KvError):
    """Who asks is not known: no token, or one that is not good (any more), or a wrong user or password."""

    code, status, exit_code, title = "unauthenticated", 401, 6, "Unauthenticated"
    default_outcome = "not_applied"


class Forbidden(KvError):
    """Who asks is known, and may not do this. Says nothing about what is there."""

    code, status, exit_code, title = "forbidden", 403, 6, "Forbidden"
    default_outcome = "not_applied"


class NotFound(KvError):
    """The key is absent."""

    code, status, exit_code, title = "key_not_found", 404, 1, "Key not found"
    default_outcome = "not_applied"


class RouteNotFound(KvError):
    """No such path in the API."""

    code, status, exit_code, title = "route_not_found", 404, 7, "No such route"
    default_outcome = "not_applied"


class MethodNotAllowed(KvError):
    """The path exists, the method does not."""

    code, status, exit_code, title = "method_not_allowed", 405, 7, "Method not allowed"
    default_outcome = "not_applied"


class AuthNotFound(KvError):
    """No such user, role or permission."""

    code, status, exit_code, title = "auth_not_found", 404, 1, "No such user, role or permission"
    default_outcome = "not_applied"


class AuthRefused(KvError):
    """A change of users or roles, or an enabling of auth, that cannot be made; the detail says why."""

    code, status, exit_code, title = "auth_refused", 409, 4, "Change of users or roles refused"
    default_outcome = "not_applied"


class IdempotencyConflict(KvError):
    """Another request was sent under this idempotency key, or under this sequence of the session."""

    code, status, exit_code, title = "idempotency_conflict", 409, 7, "Idempotency conflict"
    default_outcome = "not_applied"


class IdempotencyExpired(KvError):
    """The session has expired, or its client said that it knew this write's answer: it may or may not have taken effect
    before, and is not executed now.
    """

    code, status, exit_code, title = "idempotency_expired", 409, 5, "Idempotency expired"


class MembershipRefused(KvError):
    """A change of members that cannot or must not be made now; the detail says why."""

    code, status, exit_code, title = "membership_refused", 409, 4, "Change of members refused"
    default_outcome = "not_applied"


class LeaseNotFound(KvError):
    """The lease has expired or was revoked, or never was."""

    code, status, exit_code, title = "lease_not_found", 404, 1, "No such lease"
    default_outcome = "not_applied"


class Compacted(KvError):
    """What is asked for is older than the history that is kept. `revision`: the first one at which a watch can begin,
    if that is known.
    """

    code, status, exit_code, title = "compacted", 410, 7, "Compacted"
    default_outcome = "not_applied"
    revision: int | None = None

    @classmethod
    def at(cls, revision: int, detail: str) -> "Compacted":
        """A read or watch that is refused, and can begin at `revision`."""
        error = cls(detail, read=True)
        error.revision = revision
        return error

    def to_problem(self) -> dict[str, Any]:
        return super().to_problem() | ({} if self.revision is None else {"revision": self.revision})


class PreconditionFailed(KvError):
    """If-Match or If-None-Match did not hold at the moment of the write."""

    code, status, exit_code, title = "precondition_failed", 412, 1, "Precondition failed"
    default_outcome = "not_applied"


class TooLarge(KvError):
    """A value or body above its bound."""

    code, status, exit_code, title = "too_large", 413, 7, "Too large"
    default_outcome = "not_applied"


class KeyTooLong(KvError):
    """A key above its bound; the same code as TooLarge, with the status for a long address."""

    code, status, exit_code, title = "too_large", 414, 7, "Key too long"
    default_outcome = "not_applied"


class Overloaded(KvError):
    """Admission control: a bounded queue is full. Nothing was taken in; come back after `retry_after_s`."""

    code, status, exit_code, title = "overloaded", 429, 4, "Overloaded"
    default_outcome = "not_applied"
    default_retry_after_s = 1.0  # a peer's refusal comes without a time


class TooManyTries(KvError):
    """Passwords were tried too often, for this user or from this address."""

    code, status, exit_code, title = "too_many_tries", 429, 6, "Too many tries"
    default_outcome = "not_applied"
    default_retry_after_s = 5.0

    @property
    def retry_safe(self) -> bool:
        """Nothing happened, but what tries again by itself would only make it worse."""
        return False


class InternalError(KvError):
    """A fault of the server."""


class Divergence(KvError):
    """Replicas hold different content at one revision. An alarm is raised; no answer is given."""

    code, status, exit_code, title = "divergence", 500, 8, "Replicas differ"


class Unavailable(KvError):
    """Refused before anything was proposed, or known to be discarded: nothing was applied."""

    code, status, exit_code, title = "no_leader", 503, 4, "Unavailable"
    default_outcome = "not_applied"


class NoQuorum(Unavailable):
    """A majority of the voters cannot be reached."""

    code, title = "no_quorum", "No quorum"


class NoLeader(Unavailable):
    """A majority is there, but it has no leader yet."""

    code, title = "no_leader", "No leader"


class MembersUnreachable(Unavailable):
    """Level ALL, and a voter is known to be unreachable."""

    code, title = "members_unreachable", "Members unreachable"


class Discarded(Unavailable):
    """An entry of another term was committed where this write had been appended: it can never take effect."""

    code, title = "discarded", "Discarded"


class NotAVoter(Unavailable):
    """Level ONE asks for what only a voter promises, and the node asked is a learner, or was removed."""

    code, title = "not_a_voter", "Not a voter"


class UpgradeIncomplete(Unavailable):
    """A member does not know this operation yet, or cannot be asked whether it does: `missing` names them."""

    code, title = "upgrade_incomplete", "Upgrade incomplete"


class AuthChanged(Unavailable):
    """Users or roles changed again and again while this was under way, or auth was enabled: it was not carried out."""

    code, title = "auth_changed", "Users or roles changed"


class DeadlineExceeded(KvError):
    """The deadline passed. A write may still take effect (`unknown`), or did but missed its level (`committed`)."""

    code, status, exit_code, title = "timeout", 504, 5, "Deadline exceeded"


class StorageFull(KvError):
    """A majority lacks room on disk; reads and deletes go on."""

    code, status, exit_code, title = "storage_full", 507, 4, "Storage full"
    default_outcome = "not_applied"


class LocalError(Exception):
    """An error that a process raises about itself or its connection; it never crosses the wire."""

    exit_code: ClassVar[int] = 8


class CannotConnect(LocalError):
    """No endpoint accepted a connection: nothing was sent, so nothing was applied."""

    exit_code = 3


class ConnectionLost(LocalError):
    """The connection broke after a write had been sent: it may or may not have taken effect."""

    exit_code = 5


class LeaseLost(LocalError):
    """A lease of this process has expired or was revoked, or may have: it could not be kept alive in time. So has what
    was held by it, a lock or an election.
    """

    exit_code = 5


class CorruptData(LocalError):
    """A file of ours cannot be trusted. Says which, where, and what to do; the node refuses to start."""

    exit_code = 7

    def __init__(self, path: str, offset: int, problem: str, advice: str) -> None:
        super().__init__(f"{path}: {problem} at offset {offset}. {advice}")
        self.path = path
        self.offset = offset
        self.problem = problem
        self.advice = advice


def _leaves(cls: type[KvError]) -> list[type[KvError]]:
    return [cls] + [leaf for sub in cls.__subclasses__() for leaf in _leaves(sub)]


_BY_CODE: dict[tuple[str, int], type[KvError]] = {
    (cls.code, cls.status): cls for cls in reversed(_leaves(KvError)) if cls is not Unavailable
} | {("internal", 500): InternalError}


def from_problem(body: dict[str, Any]) -> KvError:
    """The error that `to_problem` wrote, as the same class; an unknown code becomes an InternalError."""
    status = body.get("status")
    cls = _BY_CODE.get((str(body.get("code")), status if isinstance(status, int) else 500), InternalError)
    outcome = body.get("outcome")
    error = cls(
        str(body.get("detail") or body.get("title") or "no detail given"),
        level=body.get("level"),
        required=body.get("required"),
        acked=body.get("acked"),
        missing=tuple(body.get("missing") or ()),
        leader=body.get("leader"),
        receipt=body.get("receipt"),
        request_id=body.get("request_id"),
    )
    error.outcome = outcome if outcome in ("not_applied", "unknown", "committed") else None
    if isinstance(error, Compacted) and isinstance(revision := body.get("revision"), int):
        error.revision = revision
    return error
