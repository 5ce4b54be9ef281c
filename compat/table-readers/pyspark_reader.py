"""Spark with the Iceberg runtime, through the embedded catalog: pyspark_reader.py METADATA DATA_DIR."""

import json
import os
import sys
from glob import glob

from pyspark.sql import SparkSession

data = os.path.abspath(sys.argv[2])
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", ",".join(glob(f"{os.environ['SPARK_JARS']}/*.jar")))
    .config("spark.driver.memory", "1g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "4")
    .config("spark.sql.catalog.floe", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.floe.type", "jdbc")
    .config("spark.sql.catalog.floe.uri", f"jdbc:sqlite:{data}/catalog.db")
    .config("spark.sql.catalog.floe.warehouse", f"file://{data}/warehouse")
    .getOrCreate()
)
spark.sql("SELECT * FROM floe.floe.clicks").createOrReplaceTempView("clicks")


def one(sql):
    return spark.sql(sql).collect()[0]


count, ids, hits, items, total = one(
    "SELECT count(*), sum(event_id), sum(search.hits), sum(`order`.items), sum(`order`.total) FROM clicks"
)
answer = {
    "count": count,
    "ids": ids,
    "hits": hits,
    "items": items,
    "total": round(total, 2),
    "types": {
        row[0]: row[1] for row in spark.sql("SELECT event_type, count(*) FROM clicks GROUP BY 1").collect()
    },
    "offsets": one("SELECT count(*) FROM (SELECT DISTINCT kafka_partition, kafka_offset FROM clicks)")[0],
    "sample": list(
        one("SELECT kafka_key, page.url, unix_millis(kafka_timestamp) FROM clicks WHERE event_id = 123456")
    ),
    "last_hour": one(
        f"SELECT count(*) FROM clicks WHERE kafka_timestamp >= timestamp_seconds({os.environ['LAST_HOUR_BEGINS']})"
    )[0],
}
print(json.dumps(answer))
