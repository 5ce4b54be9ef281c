#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.0.0-2.0)
FLINK=2.0.0

install() {
    need java javac
    maven_jars "$BUILD/$1" "org.apache.flink:flink-connector-kafka:$1" "org.apache.flink:flink-connector-base:$FLINK" \
        "org.apache.flink:flink-streaming-java:$FLINK" "org.apache.flink:flink-clients:$FLINK" org.slf4j:slf4j-simple:1.7.36
}

run() {
    local classes="$BUILD/classes-$1" opened=(--add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED)
    rm -rf "$classes"
    javac -nowarn -Xlint:none -cp "$BUILD/$1/*" -d "$classes" "$HERE/../java-clients/src/everywhere/Features.java" \
        "$HERE/src/Jobs.java" >&2
    java "${JAVA_FLAGS[@]}" "${opened[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classes:$BUILD/$1/*" Jobs
}

main "$@"
