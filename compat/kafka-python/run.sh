#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(3.0.12 2.0.2 1.4.7)
SMOKE=(3.0.12)

install() {
    case $1 in
    3.*) make_venv "$BUILD/$1" any "kafka-python==$1" lz4 zstandard python-snappy ;;
    2.*) make_venv "$BUILD/$1" 3.8 "kafka-python==$1" lz4 zstandard 'python-snappy<0.7' ;;
    1.*) make_venv "$BUILD/$1" 3.7 "kafka-python==$1" lz4 'python-snappy<0.7' ;;
    esac
}

run() {
    PYTHONPATH="$HERE/.." "$BUILD/$1/bin/python" "$HERE/program.py"
}

main "$@"
