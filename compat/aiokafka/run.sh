#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(0.14.0 0.8.1)

install() {
    case $1 in
    0.14.*) make_venv "$BUILD/$1" any "aiokafka[lz4,snappy,zstd]==$1" ;;
    0.8.*) make_venv "$BUILD/$1" 3.8 "aiokafka[lz4,snappy,zstd]==$1" kafka-python==2.0.2 ;;
    esac
}

run() {
    PYTHONPATH="$HERE/.." "$BUILD/$1/bin/python" "$HERE/program.py"
}

main "$@"
