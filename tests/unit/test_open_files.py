"""The limit of open files is raised in a process of its own: this one keeps what it has."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from kvstore.open_files import raise_limit
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
told = raise_limit(wanted)
print(told, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "told"), [(64, 200, 100, 100), (64, 80, 100, 80), (150, 200, 100, 150)]
)
def test_it_is_raised_as_far_as_allowed_and_never_lowered(soft: int, hard: int, wanted: int, told: int) -> None:
    command = [sys.executable, "-c", CODE, *map(str, (soft, hard, wanted))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(told), str(told), str(hard)]
