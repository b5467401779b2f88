"""The tables of docs/redis.md, made from the table of commands and that of prefixes: `python -m kvstore.redis`."""

from kvstore.redis.commands import COMMANDS
from kvstore.redis.commands.unsupported import UNSUPPORTED
from kvstore.redis.problems import MEANINGS


def commands_table() -> str:
    """What there is."""
    rows = [
        f"| `{each.name}` | {each.summary} | {'no' if each.pure is None else 'yes'} | {each.needs} | {each.differs} |"
        for each in COMMANDS
    ]
    return "\n".join(
        ["| command | meaning | in `MULTI` | needs | differs from Redis |", "|---|---|---|---|---|", *rows]
    )


def unsupported_table() -> str:
    """What there is not, and why."""
    reasons: dict[str, list[str]] = {}
    for name, reason in UNSUPPORTED.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    rows = [f"| {reason} | {' '.join(names)} |" for reason, names in reasons.items()]
    return "\n".join(["| why | commands |", "|---|---|", *rows])


def errors_table() -> str:
    """The first word of every error."""
    rows = [f"| `{prefix}` | {meaning} |" for prefix, meaning in MEANINGS.items()]
    return "\n".join(["| first word | means |", "|---|---|", *rows])
