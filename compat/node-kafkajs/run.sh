#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(2.2.4)
SMOKE=(2.2.4)

install() {
    need node npm
    npm_packages
}

run() {
    cp "$HERE"/*.mjs "$HERE/../features.mjs" "$BUILD/"
    node "$BUILD/program.mjs"
}

main "$@"
