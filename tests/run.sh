#!/usr/bin/env bash
# Everything that must hold before a change goes in: style, types, layers, then the tests from quick to slow.
#
#   ./tests/run.sh            without the tests marked `long`
#   ./tests/run.sh --long     all of them, and the measurements
#
# Needs git, Python 3.11+ with venv, nothing else; makes .venv and installs the locked versions if they are not there.
# Stops at the first stage that fails, with a status other than zero. Temporary files are removed unless a stage failed.
set -uo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }

long=no
for argument in "$@"; do
    case $argument in
        --long) long=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

. "$(dirname "${BASH_SOURCE[0]}")/../cluster/setup.sh"
cd "$KV_ROOT" || exit 1

scratch=$(mktemp -d)
export TMPDIR=$scratch
# As people have it: what a terminal or a build machine sets must decide nothing.
unset PYTHONPATH PYTHONUNBUFFERED
# Hundreds of processes are started: what one has compiled, the others need not.
unset PYTHONDONTWRITEBYTECODE
stages=() seconds=() closings=()

# The closing lines of all pytest runs, added up into one of the same form.
total() {
    [ ${#closings[@]} -gt 0 ] || return 0
    printf '%s\n' "${closings[@]}" | "$KV_VENV/bin/python" "$KV_ROOT/tests/add_closings.py"
}

finish() {
    local status=$1 i
    trap - EXIT
    echo
    for i in "${!stages[@]}"; do
        printf '%5d s  %s\n' "${seconds[$i]}" "${stages[$i]}"
    done
    printf '%5d s  in all\n' "$SECONDS"
    if [ "$status" -eq 0 ] || rmdir "$scratch" 2>/dev/null; then
        rm -rf "$scratch"
    else
        echo "Failed. Temporary files are kept in $scratch"
    fi
    total
    exit "$status"
}
trap 'finish $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stage() {
    local name=$1 started=$SECONDS status=0
    shift
    printf '\n== %s\n' "$name"
    "$@" || status=$?
    stages+=("$name$([ "$status" -eq 0 ] || echo ": FAILED")")
    seconds+=($((SECONDS - started)))
    [ "$status" -eq 0 ] || exit "$status"
}

# Folders of one tier, without those that do not exist; a tier without a single test is a failure of pytest's (status 5).
# All are in tests/, but for the regressions, which belong to the harness. Two processes share the tests, three those that
# wait for sockets or clusters part of their time; but for those that use both cores by themselves: the tier `campaigns`.
tier() {
    local name=$1 folders=() folder path wanted="not both_cores" processes=(-n 2 --dist worksteal) status=0 log=$scratch/closing
    case $name in
        campaigns) set -- sim && wanted="both_cores" processes=(-n 0) ;;
        integration | e2e) processes=(-n 3 --dist worksteal) ;;
        browser) processes=(-n 0) ;; # they share one browser and one cluster
    esac
    for folder in "$@"; do
        path=tests/$folder
        [ "$folder" != regressions ] || path=jepsen-like/regressions
        [ ! -d "$path" ] || folders+=("$path")
    done
    [ "$long" = yes ] || wanted="$wanted and not long"
    "$KV_VENV/bin/python" -m pytest --basetemp="$scratch/pytest-$name" --durations=5 --durations-min=1 \
        "${processes[@]}" -m "$wanted" "${folders[@]}" 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
    closings+=("$(tail -n 1 "$log")")
    return "$status"
}

# A process that still names our scratch folder was started by a test and not stopped.
nothing_left_behind() {
    local process line left=0
    for process in /proc/[0-9]*; do
        [ "${process#/proc/}" != "$$" ] || continue
        line=$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) || continue
        case $line in
            *"$scratch"*) echo "left behind: ${process#/proc/} $line" && left=1 ;;
        esac
    done
    return "$left"
}

# Known vulnerabilities of the locked versions. What could not be audited is told as skipped, and is no failure of ours.
audited="locked versions audited"
audit() {
    local status=0
    "$KV_VENV/bin/python" -m tests.lock_audit || status=$?
    [ "$status" -ne 3 ] || { audited="locked versions: SKIPPED, at least in part (see above)" && return 0; }
    return "$status"
}

# Damaged frames, requests and commands against a live cluster; what happened stays in the folder if it fails.
fuzz() {
    "$KV_VENV/bin/python" -m tests.fuzz --out "$scratch/fuzz" >/dev/null || return
    "$KV_VENV/bin/python" -m tests.fuzz --out "$scratch/fuzz-tls" --tls --frames 20000 --requests 5000 \
        --api-requests 0 --commands 5000 >/dev/null || return
    rm -rf "$scratch/fuzz" "$scratch/fuzz-tls"
}

stage "set-up" setup_venv dev
# No test asks a public authority for anything, and to load all of them takes a tenth of each process's start.
export SSL_CERT_FILE=/nonexistent SSL_CERT_DIR=/nonexistent
stage "ruff check" "$KV_VENV/bin/ruff" check .
stage "ruff format" "$KV_VENV/bin/ruff" format --check .
stage "mypy --strict" "$KV_VENV/bin/mypy"
stage "import layers" "$KV_VENV/bin/lint-imports"
stage "tests: unit, property" tier unit property golden docs
stage "tests: regressions of the engine" tier regressions
stage "tests: simulated campaigns" tier campaigns
stage "tests: simulation" tier sim
stage "tests: integration" tier integration
stage "tests: e2e" tier e2e
stage "tests: browser" tier browser
[ "$long" = no ] || [ ! -d tests/bench ] || [ -z "$(find tests/bench -name 'test_*.py')" ] || stage "tests: bench" tier bench
[ "$long" = no ] || stage "fuzzing" fuzz
[ "$long" = no ] || { stage "audit of locked versions" audit && stages[-1]=$audited; }
stage "nothing left behind" nothing_left_behind
