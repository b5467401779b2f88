"""The sum of several test runs must not lose a failure."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("add_closings", Path(__file__).resolve().parents[1] / "add_closings.py")
add_closings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(add_closings)


def test_counts_and_seconds_are_added():
    total = add_closings.add(
        ["=== 3 passed, 1 skipped in 1.20s ===", "=== 4 passed, 2 deselected in 65.30s (0:01:05) ==="]
    )
    assert total.strip("= ") == "7 passed, 1 skipped, 2 deselected in 66.50s"


def test_failures_errors_and_warnings_are_kept_whatever_their_number():
    total = add_closings.add(["= 1 failed, 1 error, 1 warning in 1s =", "= 2 failed, 2 errors, 2 warnings in 1s ="])
    assert total.strip("= ") == "3 failed, 3 warnings, 3 errors in 2.00s"


def test_colours_do_not_hide_a_count():
    coloured = (
        "\x1b[31m== \x1b[31m\x1b[1m1 failed\x1b[0m, \x1b[32m2 passed\x1b[0m\x1b[31m in 0.01s\x1b[0m\x1b[31m ==\x1b[0m"
    )
    assert add_closings.add([coloured]).strip("= ") == "1 failed, 2 passed in 0.01s"


def test_a_run_without_tests_counts_nothing():
    assert add_closings.add(["=== no tests ran in 0.01s ==="]).strip("= ") == "no tests ran in 0.01s"
