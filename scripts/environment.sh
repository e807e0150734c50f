# Read by the scripts beside this file (POSIX sh, so that an old or missing Python gets a sentence, not a traceback).
#
# `prepare run`, `dev` or `fuzz` leaves a Python environment in .venv that holds what the lock files of it say.
# Once it does, finding that out is three file comparisons: no Python is started.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
VENV="$ROOT/.venv"
export DURE_PROGRAM="${0%/*}/dure" # what the hints that users see call the command

prepare() {
    if prepared "$1"; then return; fi
    python=$(find_python) || exit 78
    "$python" -I "$ROOT/scripts/environment.py" "$1" || exit $?
}

# A stamp is a copy of the file that was installed from; the last one names the folder, since an environment cannot move.
prepared() {
    [ -x "$VENV/bin/python" ] && [ -r "$VENV/stamps/root" ] || return 1
    read -r made_in <"$VENV/stamps/root" && [ "$made_in" = "$ROOT" ] || return 1
    cmp -s "$ROOT/requirements.lock" "$VENV/stamps/requirements.lock" || return 1
    cmp -s "$ROOT/pyproject.toml" "$VENV/stamps/pyproject.toml" || return 1
    [ "$1" = run ] || cmp -s "$ROOT/requirements-$1.lock" "$VENV/stamps/requirements-$1.lock"
}

# The lock covers 3.11 to 3.13. A newer Python is tried only where there is none of these.
find_python() {
    for range in '(3, 11) <= v < (3, 14)' '(3, 11) <= v'; do
        for name in python3 python3.13 python3.12 python3.11 python; do
            if "$name" -I -c "import sys; v = sys.version_info; sys.exit(not ($range))" </dev/null >/dev/null 2>&1; then
                command -v "$name"
                return
            fi
        done
    done
    found=$(python3 -c 'import sys; print("python3 is %d.%d" % sys.version_info[:2])' 2>/dev/null) || found="there is no python3"
    echo "Dure needs Python 3.11, 3.12 or 3.13, and here $found. Install one of them, then run this again." >&2
    return 1
}
