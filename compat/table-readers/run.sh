#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(duckdb-1.5.5 pyiceberg-0.12.0 pyspark-4.1.0)
SMOKE=(duckdb-1.5.5)

install() {
    local version=${1#*-}
    case $1 in
    duckdb-*)
        make_venv "$BUILD/$1" 3.11 "duckdb==$version" "duckdb-extension-avro==$version" "duckdb-extension-iceberg==$version"
        ;;
    pyiceberg-*) make_venv "$BUILD/$1" 3.11 "pyiceberg[sql-sqlite,pyarrow]==$version" ;;
    pyspark-*)
        make_venv "$BUILD/$1" 3.11 "pyspark==$version"
        maven_jars "$BUILD/jars" org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0 org.xerial:sqlite-jdbc:3.49.1.0
        ;;
    esac
}

run() {
    SPARK_JARS=$BUILD/jars SPARK_LOCAL_DIRS=$SCRATCH JAVA_TOOL_OPTIONS="-Djava.io.tmpdir=$SCRATCH" "$HERE/../../.venv/bin/python" "$HERE/program.py" "$BUILD/$1/bin/python" "$HERE/${1%%-*}_reader.py"
}

main "$@"
