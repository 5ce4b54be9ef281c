#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.3.1)

install() {
    need java javac
    maven_jars "$BUILD/$1" "org.apache.kafka:kafka-streams:$1" org.slf4j:slf4j-simple:1.7.36
}

run() {
    local classes="$BUILD/classes-$1"
    rm -rf "$classes"
    javac -nowarn -Xlint:none -cp "$BUILD/$1/*" -d "$classes" "$HERE/src/Application.java" >&2
    CLASS_PATH="$classes:$BUILD/$1/*" JAVA_FLAGS="${JAVA_FLAGS[*]}" "$HERE/../../.venv/bin/python" "$HERE/program.py"
}

main "$@"
