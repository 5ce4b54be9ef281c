"""Spark through its own catalog: pyspark_reader.py KIND URI TABLE ODD. Answers, rewrites TABLE, answers again."""

import json
import os
import sys
from glob import glob

from pyspark.sql import SparkSession

kind, uri, table, odd = sys.argv[1:]
extensions = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", ",".join(glob(f"{os.environ['SPARK_JARS']}/*.jar")))
    .config("spark.driver.memory", "1g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.extensions", extensions)
    .config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.lake.type", kind)
    .config("spark.sql.catalog.lake.uri", uri)
    .config("spark.sql.catalog.lake.cache-enabled", "false")
    .getOrCreate()
)
last_id = int(os.environ["LAST_ID"])


def answer():
    """Of the records up to the last that was there when Spark was started."""
    row = spark.sql(
        "SELECT count(*), sum(id), sum(amount), sum(user.age), count(user.`first_seen`), count(country) "
        f"FROM lake.{table} WHERE id <= {last_id}"
    ).collect()[0]
    return [row[0], row[1], float(row[2]), *row[3:]]


before = answer()
rewritten = spark.sql(
    f"CALL lake.system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))"
).collect()[0]
odd_names = spark.sql(
    f'SELECT count(*), sum(o.`a-b`), sum(o.`price: net`), sum(o.`e<f`), sum(o.`"`) FROM lake.{odd}'
).collect()[0]
print(
    json.dumps(
        {
            "odd": list(odd_names),
            "before": before,
            "after": answer(),
            "rewritten": rewritten["rewritten_data_files_count"],
        }
    )
)
