#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(hive-2.3.10 rest-1.11.0)
# PySpark's jars hold a whole Hive metastore and its database; both are those that table-readers has.
SPARK=$BUILD/../table-readers
PYSPARK=4.1.0
JETTY=12.1.5

install() {
    need java javac mvn
    make_venv "$SPARK/pyspark-$PYSPARK" 3.11 "pyspark==$PYSPARK"
    maven_jars "$SPARK/jars" org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0 org.xerial:sqlite-jdbc:3.49.1.0
    case $1 in
    hive-*) make_metastore "$BUILD/$1" ;;
    rest-*) rest_server_jars "$BUILD/$1" "${1#*-}" ;;
    esac
}

make_metastore() { # make_metastore FOLDER: its program, and a database as schematool leaves it
    cmp -s "$HERE/src/Metastore.java" "$1/Metastore.java" && [ -f "$1/.complete" ] && return
    rm -rf "$1"
    mkdir -p "$1/conf"
    cp "$HERE/src/Metastore.java" "$1/"
    javac -nowarn -Xlint:none -cp "$(spark_jars)" -d "$1" "$1/Metastore.java" >&2
    "$HERE/../../.venv/bin/python" "$HERE/servers.py" "$1/conf/hive-site.xml" "$1/database"
    java "${JAVA_FLAGS[@]}" "-Dderby.stream.error.file=$1/derby.log" -cp "$1/conf:$1:$(spark_jars)" Metastore make >&2
    touch "$1/.complete"
}

spark_jars() { echo "$(echo "$SPARK/pyspark-$PYSPARK"/lib/python3*/site-packages/pyspark/jars)/*"; }

rest_server_jars() { # rest_server_jars FOLDER VERSION: the server that Iceberg tests REST clients against
    [ -f "$1/.complete" ] && return
    rm -rf "$1"
    mkdir -p "$1"
    local artifact
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>compat</groupId><artifactId>compat</artifactId><version>1</version><dependencies>'
        for artifact in iceberg-open-api:test-fixtures iceberg-core:tests; do
            echo "<dependency><groupId>org.apache.iceberg</groupId><artifactId>${artifact%:*}</artifactId>"
            echo "<version>$2</version><classifier>${artifact#*:}</classifier></dependency>"
        done
        echo '</dependencies></project>'
    } >"$1/pom.xml"
    mvn -q -B -f "$1/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1/jars" >&2
    maven_jars "$1/more" "org.apache.iceberg:iceberg-core:$2" org.xerial:sqlite-jdbc:3.49.1.0 org.slf4j:slf4j-simple:2.0.17 \
        org.apache.hadoop:hadoop-client-api:3.4.1 org.apache.hadoop:hadoop-client-runtime:3.4.1 \
        "org.eclipse.jetty.ee10:jetty-ee10-servlet:$JETTY" \
        "org.eclipse.jetty.compression:jetty-compression-server:$JETTY" \
        "org.eclipse.jetty.compression:jetty-compression-gzip:$JETTY"
    touch "$1/.complete"
}

run() {
    local class_path
    case $1 in
    hive-*) class_path="$SCRATCH/conf:$BUILD/$1:$(spark_jars)" ;;
    rest-*) class_path="$BUILD/$1/jars/*:$BUILD/$1/more/*" ;;
    esac
    CLASS_PATH=$class_path DATABASE=$BUILD/$1/database JAVA_FLAGS="${JAVA_FLAGS[*]}" \
        SPARK_PYTHON=$SPARK/pyspark-$PYSPARK/bin/python SPARK_JARS=$SPARK/jars SPARK_LOCAL_DIRS=$SCRATCH \
        JAVA_TOOL_OPTIONS="-Djava.io.tmpdir=$SCRATCH" \
        "$HERE/../../.venv/bin/python" "$HERE/program.py" "${1%%-*}"
}

main "$@"
