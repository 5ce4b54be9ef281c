#!/usr/bin/env bash
# Ask Apache Kafka and Floe the same and compare: ./run.sh [--smoke] [--output json] [--only 'produce/*']
# Ends with 0 (no difference without a reason), 1 (there are), 3 (not run: Java or Maven is missing, which is said).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
make --no-print-directory -s -C "$root" venv >&2
exec env PYTHONPATH="$here:$root" "$root/.venv/bin/python" -m side_by_side "$@"
