"""DuckDB with its Iceberg extension: duckdb_reader.py METADATA DATA_DIR."""

import json
import os
import sys
from pathlib import Path

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg

database = duckdb.connect()
for package, name in ((duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")):
    folder = Path(package.__file__).parent / "extensions" / f"v{duckdb.__version__}"
    database.execute(f"LOAD '{folder / name}.duckdb_extension'")
path = sys.argv[1].removeprefix("file://")
database.execute(f"CREATE VIEW clicks AS SELECT * FROM iceberg_scan('{path}')")


def one(sql):
    return database.execute(sql).fetchone()


count, ids, hits, items, total = one(
    'SELECT count(*), sum(event_id), sum(search.hits), sum("order".items), sum("order".total) FROM clicks'
)
answer = {
    "count": count,
    "ids": int(ids),
    "hits": int(hits),
    "items": int(items),
    "total": round(total, 2),
    "types": dict(database.execute("SELECT event_type, count(*) FROM clicks GROUP BY 1").fetchall()),
    "offsets": one("SELECT count(*) FROM (SELECT DISTINCT kafka_partition, kafka_offset FROM clicks)")[0],
    "sample": list(
        one("SELECT kafka_key, page.url, epoch_ms(kafka_timestamp) FROM clicks WHERE event_id = 123456")
    ),
    "last_hour": one(
        f"SELECT count(*) FROM clicks WHERE kafka_timestamp >= to_timestamp({os.environ['LAST_HOUR_BEGINS']})"
    )[0],
}
print(json.dumps(answer))
