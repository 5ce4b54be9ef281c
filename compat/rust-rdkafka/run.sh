#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(0.39.0)

# librdkafka is compiled here: two minutes of one core the first time.
install() {
    need cargo make cc
    (cd "$HERE" && CARGO_TARGET_DIR="$BUILD/target" nice cargo build --quiet --locked) >&2
}

run() {
    "$BUILD/target/debug/floe-compat-rdkafka"
}

main "$@"
