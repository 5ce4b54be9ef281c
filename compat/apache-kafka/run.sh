#!/usr/bin/env bash
# Ask Apache Kafka and Floe the same and compare: ./run.sh [--smoke] [--output json] [--only 'produce/*']
# Ends with 0 (no difference without a reason), 1 (there are), 3 (not run: Java or Maven is missing, which is said).
# The verbs of lib.sh work as well; there, 4.3.1-smoke is the short form, and a feature is an API.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
VERSIONS=(4.3.1)
SMOKE=(4.3.1-smoke)
ROOT=$(cd "$HERE/../.." && pwd)

compare() {
    [ -x "$ROOT/.venv/bin/python" ] || make --no-print-directory -s -C "$ROOT" venv >&2
    env PYTHONPATH="$HERE:$ROOT" "$ROOT/.venv/bin/python" -m side_by_side "$@"
}

install() {
    compare --fetch-only
}

run() {
    case "$1" in
    *-smoke) compare --smoke --output features ;;
    *) compare --output features ;;
    esac
}

case "${1:---}" in
--) compare ;;
--*) compare "$@" ;;
*) main "$@" ;;
esac
