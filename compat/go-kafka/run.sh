#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(0.4.51)

install() {
    need go
    (cd "$HERE" && go mod download) >&2
}

run() {
    cp "$HERE"/*.go "$HERE"/go.mod "$HERE"/go.sum "$HERE/../features.go" "$BUILD/"
    (cd "$BUILD" && go build -o program .) >&2
    "$BUILD/program"
}

main "$@"
