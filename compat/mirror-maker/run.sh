#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.3.1)

install() {
    need java python3
    maven_jars "$BUILD/$1" "org.apache.kafka:kafka_2.13:$1" "org.apache.kafka:kafka-tools:$1" \
        "org.apache.kafka:connect-mirror:$1" org.slf4j:slf4j-simple:1.7.36
}

run() {
    JARS="$BUILD/$1" JAVA_FLAGS="${JAVA_FLAGS[*]}" PYTHONPATH="$HERE/.." python3 "$HERE/program.py"
}

main "$@"
