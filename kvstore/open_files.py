"""The limit of open files: every connection is one, and the usual soft limit of 1,024 is less than a node can serve."""

import resource


def raise_limit(wanted: int) -> int:
    """Raise this process's soft limit to `wanted`, as far as the hard limit allows; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
        soft = possible
    return wanted if soft == resource.RLIM_INFINITY else soft
