#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(0.4.51)

install() {
    need go
    (cd "$HERE" && go mod download) >&2
}

run() {
    (cd "$HERE" && go build -o "$BUILD/program" .) >&2
    "$BUILD/program"
}

main "$@"
