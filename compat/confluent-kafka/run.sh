#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(2.16.1 1.9.2 0.11.4)
SMOKE=(2.16.1)

install() {
    case $1 in
    2.*) make_venv "$BUILD/$1" any "confluent-kafka==$1" ;;
    1.*) make_venv "$BUILD/$1" 3.8 "confluent-kafka==$1" ;;
    0.*) make_venv "$BUILD/$1" 3.6 "confluent-kafka==$1" ;;
    esac
}

run() {
    PYTHONPATH="$HERE/.." "$BUILD/$1/bin/python" "$HERE/program.py"
}

main "$@"
