#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.3.1 3.9.1 2.8.2 1.1.1 0.10.2.2)
SMOKE=(4.3.1)

install() {
    need java javac
    maven_jars "$BUILD/$1" "org.apache.kafka:kafka-clients:$1" org.slf4j:slf4j-simple:1.7.36
}

# The parts of the program that a version can compile: each folder under src/ is named by the release its API came with.
sources() {
    local all="everywhere poll-duration since-0.11 since-1.1 since-2.8"
    case $1 in
    0.10.*) echo everywhere poll-long ;;
    1.1.*) echo everywhere poll-long poll-long-0.11 since-0.11 since-1.1 before-2.8 before-3.1 before-4.0 ;;
    2.8.*) echo "$all before-3.1 before-4.0" ;;
    3.9.*) echo "$all since-3.1 since-3.9 before-4.0" ;;
    4.*) echo "$all since-3.1 since-3.9 since-4.3" ;;
    esac
}

run() {
    local classes="$BUILD/classes-$1" folder folders=()
    for folder in $(sources "$1"); do folders+=("$HERE/src/$folder"); done
    rm -rf "$classes"
    # shellcheck disable=SC2046
    javac -nowarn -Xlint:none -cp "$BUILD/$1/*" -d "$classes" $(find "${folders[@]}" -name '*.java') >&2
    java "${JAVA_FLAGS[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classes:$BUILD/$1/*" Program
}

main "$@"
