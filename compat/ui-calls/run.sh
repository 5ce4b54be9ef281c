#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.3.1)

install() {
    need java javac
    maven_jars "$BUILD/$1" "org.apache.kafka:kafka-clients:$1" org.slf4j:slf4j-simple:1.7.36
}

run() {
    local classes="$BUILD/classes-$1" shared="$HERE/../java-clients/src"
    rm -rf "$classes"
    javac -nowarn -Xlint:none -cp "$BUILD/$1/*" -d "$classes" "$HERE"/src/*.java \
        "$shared/everywhere/Features.java" "$shared/everywhere/Clients.java" "$shared/poll-duration/Poll.java" >&2
    java "${JAVA_FLAGS[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classes:$BUILD/$1/*" UiCalls
}

main "$@"
