#!/usr/bin/env bash
# The set-up that every script shares: finds a Python, makes .venv, installs the locked versions and this project into it.
#
#   . cluster/setup.sh
#   setup_venv run        what kv needs                   (requirements.lock)
#   setup_venv dev        what the tests need as well     (requirements-dev.lock)
#
# Afterwards $KV_ROOT is the top folder and $KV_VENV the environment, with bin/kv and bin/python in it. Nothing is done
# when a stamp in .venv says that these very locks are installed. Messages go to standard error. PYTHON=/path/to/python
# chooses the interpreter. Run as a program, it does `setup_venv dev`, or what its argument says.

KV_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
KV_VENV=$KV_ROOT/.venv

say() { printf '%s\n' "$*" >&2; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_ensurepip() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Prints the first Python that is new enough, one that can make environments if there is any. The distribution's comes
# first: it is built with all optimisations, while one that somebody compiled often is not, and runs at half its speed.
find_python() {
    local candidate usable=
    for candidate in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.14; do
        is_new_enough "$candidate" || continue
        if has_ensurepip "$candidate"; then
            command -v "$candidate"
            return 0
        fi
        usable=${usable:-$candidate}
    done
    [ -z "$usable" ] || command -v "$usable"
}

# Says which Debian packages are missing and installs them when allowed to.
install_debian() {
    local command="apt-get install -y $*"
    if ! command -v apt-get >/dev/null 2>&1; then
        say "Missing: $*. Install Python 3.11 or newer with its venv module, then run this again."
        return 1
    elif [ "$(id -u)" -ne 0 ]; then
        say "Missing: $*. Run this, then try again:"
        say "    sudo $command"
        return 1
    fi
    say "Missing: $*. Running: $command"
    apt-get update -qq >&2 || say "The package lists could not be refreshed; trying with those at hand."
    DEBIAN_FRONTEND=noninteractive $command >&2
}

make_venv() {
    local python
    python=$(find_python)
    if [ -z "$python" ]; then
        install_debian python3 python3-venv || return 1
        python=$(find_python)
    elif ! has_ensurepip "$python"; then
        install_debian "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || return 1
        python=$(find_python)
    fi
    if [ -z "$python" ] || ! has_ensurepip "$python"; then
        say "No Python 3.11 or newer that can make a virtual environment was found."
        return 1
    fi
    say "Making .venv with $("$python" --version 2>&1), $python (PYTHON=/path/to/python takes another) ..."
    "$python" -m venv --clear "$KV_VENV"
}

# What an installation depends on: the lock, the project's own metadata, the interpreter, and the place.
stamp_of() {
    (cd "$KV_ROOT" && echo "$KV_ROOT" && "$KV_VENV/bin/python" --version && cat "$1" pyproject.toml) | cksum
}

setup_venv() {
    local kind=${1:-dev} lock stamp started=$SECONDS
    case $kind in
        run) lock=requirements.lock ;;
        dev) lock=requirements-dev.lock ;;
        *) say "setup_venv: run or dev, not $kind" && return 2 ;;
    esac
    if ! is_new_enough "$KV_VENV/bin/python" || ! "$KV_VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        make_venv || return 1
    fi
    stamp=$(stamp_of "$lock")
    if [ "$stamp" = "$(cat "$KV_VENV/.installed-$kind" 2>/dev/null)" ]; then
        return 0
    fi
    say "Installing the versions of $lock (once; half a minute or so) ..."
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
    "$KV_VENV/bin/python" -m pip install -qq --require-hashes --no-compile -r "$KV_ROOT/$lock" >&2 || return 1
    # pip would compile one file after the other. What cannot be compiled is for other Pythons, and nobody's loss.
    "$KV_VENV/bin/python" -m compileall -qq -j 0 "$KV_VENV/lib" >&2 || true
    "$KV_VENV/bin/python" -m pip install -qq --no-deps --no-build-isolation -e "$KV_ROOT" >&2 || return 1
    printf '%s\n' "$stamp" >"$KV_VENV/.installed-$kind"
    if [ "$kind" = dev ]; then # the tools' lock contains the other one
        stamp_of requirements.lock >"$KV_VENV/.installed-run"
    fi
    say "Installed in $((SECONDS - started)) s."
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    setup_venv "$@"
fi
