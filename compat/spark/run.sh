#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(4.1.0)
# What spark-sql-kafka 4.1.0 needs beside PySpark's jars. Spark's own pom asks a repository for them that not everybody
# reaches, and of the token provider Maven Central's mirrors have 4.0.0 and not 4.1.0: see FINDINGS.md.
JARS=(
    org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0
    org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.0.0
    org.apache.kafka:kafka-clients:3.9.1
    org.apache.commons:commons-pool2:2.12.1
)

install() {
    local jar
    need java mvn
    make_venv "$BUILD/$1" 3.11 "pyspark==$1" confluent-kafka==2.16.1
    [ -f "$BUILD/jars/.complete" ] && return
    for jar in "${JARS[@]}"; do
        mvn -q -B dependency:copy "-Dartifact=$jar" "-DoutputDirectory=$BUILD/jars" >&2
    done
    touch "$BUILD/jars/.complete"
}

run() {
    SPARK_JARS=$BUILD/jars SPARK_LOCAL_DIRS=$SCRATCH JAVA_TOOL_OPTIONS="-Djava.io.tmpdir=$SCRATCH" PYTHONPATH="$HERE/.." "$BUILD/$1/bin/python" "$HERE/program.py"
}

main "$@"
