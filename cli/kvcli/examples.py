"""Commands to copy, by the command that they show. A test reads each as `kv` would."""

from typing import Final, NamedTuple


class Example(NamedTuple):
    """What to type, and what it does."""

    command: str
    comment: str = ""


EXAMPLES: Final[dict[str, tuple[Example, ...]]] = {
    path: tuple(Example(*each) for each in examples)
    for path, examples in {
        "": (
            ("kv cluster up --nodes 3", "a cluster on this machine, to try things out"),
            ("kv put greeting hello", "write a value"),
            ("kv get greeting", "read it, from any node"),
        ),
        # -- keys
        "put": (
            ("kv put greeting hello", "wait for a majority"),
            ("kv put config/app - < app.toml", "the value from standard input"),
            ("kv put greeting bye --if-revision 7", "only if nobody wrote it since"),
        ),
        "get": (
            ("kv get greeting", ""),
            ("kv get greeting --level one", "no majority needed, perhaps from the past"),
            ("kv get config/ --prefix -o json", "all keys that begin with it"),
        ),
        "delete": (
            ("kv delete greeting", ""),
            ("kv delete --prefix config/ --dry-run", "count what would go"),
        ),
        "txn": (("kv txn < change.txt", ""), ("kv txn --level all < change.json", "")),
        "watch": (
            ("kv watch greeting", ""),
            ("kv watch --prefix config/ -o json", "a document for each change"),
            ("kv watch --prefix '' --from 100", "all keys, beginning with revision 100"),
        ),
        "receipt": (("kv receipt n1.7f3a.12 --wait", "until it is no longer pending"),),
        "shell": (
            ("kv shell", "then: put greeting hello"),
            ("kv shell --level one", "reads and writes at level one unless told otherwise"),
            ("kv shell < commands.txt", "stops at the first line that fails"),
        ),
        # -- together
        "lock": (
            ("kv lock nightly -- ./backup.sh", "one at a time, wherever it runs"),
            ("kv lock nightly --wait 0 -- ./backup.sh", "or not at all"),
        ),
        "elect": (("kv elect scheduler $HOSTNAME -- ./scheduler", ""),),
        "lease": (
            ("kv lease grant 30", "prints its id"),
            ("kv put services/a 10.0.0.7 --lease 12", "the key ends with the lease"),
            ("kv lease keep-alive 12", ""),
        ),
        "lease grant": (("kv lease grant 30", "ends after 30 s unless it is kept alive"),),
        "lease revoke": (("kv lease revoke 12", ""),),
        "lease keep-alive": (("kv lease keep-alive 12", ""), ("kv lease keep-alive 12 --once", "")),
        "lease list": (("kv lease list", ""),),
        "lease show": (("kv lease show 12", ""),),
        # -- cluster
        "serve": (
            ("kv serve", "a cluster of one, its data in ./kv-data"),
            ("kv serve --name n1 --peer n2=127.0.0.1:9481 --peer n3=127.0.0.1:9581", ""),
            ("kv serve --config /etc/kv.toml", ""),
        ),
        "status": (
            ("kv status", ""),
            ("kv status -o json", ""),
            ("kv status --watch", "again and again, until Ctrl-C"),
        ),
        "top": (
            ("kv top", "q ends it"),
            ("kv top --once", "one frame"),
            ("kv top --interval 5 -o json", "a JSON line every 5 s"),
        ),
        "doctor": (
            ("kv doctor", ""),
            ("kv doctor --all", "with the checks that found nothing wrong"),
            ("kv doctor -o json", "for a program; the exit code tells too"),
        ),
        "member": (
            ("kv member list", ""),
            ("kv member add n4 10.0.0.4:8481", ""),
            ("kv member remove n4", ""),
        ),
        "member list": (("kv member list", ""),),
        "member add": (("kv member add n4 10.0.0.4:8481", ""),),
        "member remove": (("kv member remove n4", ""), ("kv member remove n4 --force", "it is dead for good")),
        "member transfer": (("kv member transfer", "to whoever is most current"), ("kv member transfer n2", "")),
        "member recover": (("kv member recover old/n1 --name n1 --data-dir new/n1", ""),),
        "settings": (("kv settings list", ""), ("kv settings set history_revisions_max 200000", "")),
        "settings list": (("kv settings list", ""),),
        "settings set": (("kv settings set history_revisions_max 200000", ""),),
        # -- data
        "import": (
            ("kv import data.ndjson", ""),
            ("kv export | kv import - --endpoints new:8480", "from one cluster to another"),
            ("kv import --tree conf --prefix config/", "each file below conf"),
        ),
        "export": (("kv export all.ndjson", ""), ("kv export --prefix config/ | gzip > config.gz", "")),
        "snapshot": (
            ("kv snapshot save backup.kvsnap", ""),
            ("kv snapshot verify backup.kvsnap", ""),
            ("kv snapshot restore backup.kvsnap --name n1 --data-dir new/n1", ""),
        ),
        "snapshot save": (("kv snapshot save backup.kvsnap", ""),),
        "snapshot verify": (("kv snapshot verify backup.kvsnap", ""),),
        "snapshot restore": (("kv snapshot restore backup.kvsnap --name n1 --data-dir new/n1", ""),),
        "compact": (("kv compact 100000", ""),),
        # -- access
        "auth": (("kv auth enable", "asks for root's password"), ("kv --user root auth status", "")),
        "auth enable": (("kv auth enable", "asks for root's password"),),
        "auth disable": (("kv --user root auth disable", ""),),
        "auth status": (("kv auth status", ""),),
        "auth rotate": (("kv --user root auth rotate", ""), ("kv --user root auth rotate --forget", "")),
        "user": (("kv user add alice", "asks for a password"), ("kv user grant alice readers", "")),
        "user add": (("kv user add alice", "asks for a password"), ("kv user add robot --no-password", "")),
        "user delete": (("kv user delete alice", ""),),
        "user list": (("kv user list", ""),),
        "user passwd": (("kv --user alice user passwd alice", "one's own"),),
        "user grant": (("kv user grant alice readers", ""),),
        "user revoke": (("kv user revoke alice readers", ""),),
        "role": (("kv role add readers", ""), ("kv role grant readers read,watch --prefix config/", "")),
        "role add": (("kv role add readers", ""),),
        "role delete": (("kv role delete readers", ""),),
        "role list": (("kv role list", ""),),
        "role show": (("kv role show readers", ""),),
        "role grant": (
            ("kv role grant readers read,watch --prefix config/", ""),
            ("kv role grant admins admin --prefix ''", "on everything"),
        ),
        "role revoke": (("kv role revoke readers watch --prefix config/", ""),),
        "token": (("export KV_TOKEN=$(kv --user alice token)", ""),),
        "cert": (
            ("kv cert ca", "once: kv-certs/ca.pem"),
            ("kv cert node n1 --host kv1.example", "for each node"),
            ("kv cert client alice", ""),
        ),
        "cert ca": (("kv cert ca", ""),),
        "cert node": (("kv cert node n1 --host kv1.example --host 10.0.0.1", ""),),
        "cert client": (("kv cert client alice", ""),),
        # -- try out
        "cluster": (
            ("kv cluster up --nodes 3", ""),
            ("kv cluster kill leader", ""),
            ("kv cluster down --purge", ""),
        ),
        "cluster up": (
            ("kv cluster up --nodes 3", ""),
            ("kv cluster up --nodes 5 --dir five --proxy", "with links that can be cut"),
        ),
        "cluster env": (('eval "$(kv cluster env)"', "and kv put a b needs no --endpoints"),),
        "cluster status": (("kv cluster status", ""),),
        "cluster kill": (("kv cluster kill leader", ""), ("kv cluster kill n2 n3", "")),
        "cluster pause": (("kv cluster pause n2", ""),),
        "cluster resume": (("kv cluster resume n2", ""),),
        "cluster restart": (("kv cluster restart n1 n2 n3", "one after the other"),),
        "cluster partition": (("kv cluster partition 'n1,n2|n3'", ""),),
        "cluster heal": (("kv cluster heal", ""),),
        "cluster down": (("kv cluster down", ""), ("kv cluster down --purge", "delete the data too")),
        "bench": (("kv bench put --seconds 10", ""), ("kv bench mixed --reads 90 --clients 64", "")),
        "bench put": (("kv bench put --seconds 10 --size 1000", ""), ("kv bench put --level one", "")),
        "bench get": (("kv bench get --level one --clients 64", ""),),
        "bench mixed": (("kv bench mixed --reads 90", ""),),
        "bench batch": (("kv bench batch --batch 1000", ""),),
        "bench watch": (("kv bench watch --watches 100", ""),),
        "bench failover": (("kv bench failover --kills 5 --pauses 0", ""),),
        "chaos": (
            ("kv chaos run --time 60", "a real cluster, load, faults, a verdict"),
            ("kv chaos simulate --seeds 200", "simulated clusters on virtual time"),
        ),
        "chaos run": (
            ("kv chaos run --time 60 --nemesis kill,halves", ""),
            ("kv chaos run --workload help", "what there is"),
        ),
        "chaos suite": (("kv chaos suite", ""),),
        "chaos report": (("kv chaos report chaos-1 --open", ""),),
        "chaos simulate": (("kv chaos simulate --seeds 200 --jobs 2", ""),),
        "chaos check": (("kv chaos check history.jsonl", ""),),
        "chaos odds": (("kv chaos odds --simulate --trials 1000", ""),),
        "odds": (("kv odds", ""), ("kv odds --nodes 3,5 --p 1%", ""), ("kv odds --target 99.99%", "the fewest nodes")),
        # -- this tool
        "completion": (
            ('eval "$(kv completion bash)"', "in ~/.bashrc"),
            ('eval "$(kv completion zsh)"', "in ~/.zshrc"),
            ("kv completion fish | source", "in ~/.config/fish/config.fish"),
        ),
        "help": (
            ("kv help put", "the same as kv put --help"),
            ("kv help options", "what every command takes"),
            ("kv help settings", "what kv serve takes, in full"),
        ),
    }.items()
}
