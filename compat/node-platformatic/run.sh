#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(2.12.1)

install() {
    need node npm
    npm_packages
}

run() {
    cp "$HERE"/*.mjs "$HERE/../features.mjs" "$BUILD/"
    # package.json pins a Node.js of its own: the client needs 22
    "$BUILD/node_modules/.bin/node" "$BUILD/program.mjs"
}

main "$@"
