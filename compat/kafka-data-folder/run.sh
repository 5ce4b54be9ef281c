#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.3.1)

install() {
    need java
    maven_jars "$BUILD/$1" "org.apache.kafka:kafka_2.13:$1" "org.apache.kafka:kafka-tools:$1" org.slf4j:slf4j-simple:1.7.36
}

run() {
    JARS="$BUILD/$1" JAVA_FLAGS="${JAVA_FLAGS[*]}" "$HERE/../../.venv/bin/python" "$HERE/program.py"
}

main "$@"
