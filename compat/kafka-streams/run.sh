#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.3.1 2.8.2)

install() {
    need java javac
    maven_jars "$BUILD/$1" "org.apache.kafka:kafka-streams:$1" org.slf4j:slf4j-simple:1.7.36
}

run() {
    local classes="$BUILD/classes-$1" shared="$HERE/../java-clients/src"
    rm -rf "$classes"
    javac -nowarn -Xlint:none -cp "$BUILD/$1/*" -d "$classes" "$shared/everywhere/Features.java" \
        "$HERE"/src/*.java "$HERE/src-${1%%.*}"*/Windows.java >&2
    java "${JAVA_FLAGS[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classes:$BUILD/$1/*" Streams
}

main "$@"
