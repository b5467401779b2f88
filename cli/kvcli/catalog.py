"""The table of commands: where each is, its line in `kv --help`, and the group that it stands in there.

Help is printed from this table, so that it imports no command.
"""

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A command: the module and the name of it there, its line in `kv --help`, and its group."""

    where: str
    help: str
    group: str


COMMANDS: Final[dict[str, Entry]] = {
    "put": Entry("kvcli.commands.put:put", "Write a value.", "Keys"),
    "get": Entry("kvcli.commands.get:get", "Read a value, or list keys by prefix.", "Keys"),
    "delete": Entry("kvcli.commands.delete:delete", "Remove a key, or a range of keys.", "Keys"),
    "txn": Entry("kvcli.commands.txn:txn", "Compare, then write or read, all at one revision.", "Keys"),
    "watch": Entry("kvcli.commands.watch:watch", "Print every change as it happens.", "Keys"),
    "receipt": Entry("kvcli.commands.receipt:receipt", "Find out what became of a write at level one.", "Keys"),
    "shell": Entry("kvcli.commands.shell:shell", "Type commands without 'kv', on open connections.", "Keys"),
    "lock": Entry("kvcli.commands.lock:lock", "Run a command while holding a lock.", "Together"),
    "elect": Entry("kvcli.commands.elect:elect", "Run a command while leading.", "Together"),
    "lease": Entry("kvcli.commands.lease:lease", "Grant, keep alive, revoke, list and show leases.", "Together"),
    "serve": Entry("kvcli.commands.serve:serve", "Run a node.", "Cluster"),
    "status": Entry("kvcli.commands.status:status", "Show the members of the cluster.", "Cluster"),
    "top": Entry("kvcli.commands.top:top", "Watch members, load and latency live.", "Cluster"),
    "doctor": Entry("kvcli.commands.doctor:doctor", "Look for what is wrong, and say what to do.", "Cluster"),
    "member": Entry("kvcli.commands.member:member", "Add, remove, recover members; hand over leadership.", "Cluster"),
    "settings": Entry("kvcli.commands.settings:settings", "Show and change the replicated settings.", "Cluster"),
    "import": Entry("kvcli.commands.import_:import_", "Write many keys, from ndjson or a directory tree.", "Data"),
    "export": Entry("kvcli.commands.export:export", "Write keys and values out as ndjson.", "Data"),
    "snapshot": Entry("kvcli.commands.snapshot:snapshot", "Save, verify and restore backups.", "Data"),
    "compact": Entry("kvcli.commands.compact:compact", "Forget the history up to a revision.", "Data"),
    "auth": Entry("kvcli.commands.auth:auth", "Enable and disable users and permissions.", "Access"),
    "user": Entry("kvcli.commands.user:user", "Add and remove users, give them roles.", "Access"),
    "role": Entry("kvcli.commands.role:role", "Add and remove roles, give them permissions.", "Access"),
    "token": Entry("kvcli.commands.auth:token", "Get a token for a user and a password.", "Access"),
    "cert": Entry("kvcli.commands.cert:cert", "Make certificates for nodes and clients.", "Access"),
    "cluster": Entry("kvcli.commands.cluster:cluster", "Run a whole cluster on this machine.", "Try out"),
    "bench": Entry("kvcli.commands.bench:bench", "Measure the speed of a running cluster.", "Try out"),
    "chaos": Entry("kvcli.commands.chaos:chaos", "Break things on purpose, and check the promises.", "Try out"),
    "odds": Entry("kvcli.commands.odds:odds", "Tell how likely a cluster of n nodes serves.", "Try out"),
    "completion": Entry("kvcli.commands.completion:completion", "Let bash, zsh or fish complete words.", "This tool"),
    "help": Entry("kvcli.commands.help_:help_", "Explain a command, options, settings, exit codes.", "This tool"),
}
