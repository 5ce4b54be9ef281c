"""PyIceberg through the embedded catalog: pyiceberg_reader.py METADATA DATA_DIR."""

import json
import os
import sys
from datetime import UTC, datetime

import pyarrow.compute as pc
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import EqualTo, GreaterThanOrEqual

data = os.path.abspath(sys.argv[2])
catalog = load_catalog(
    "floe", type="sql", uri=f"sqlite:///{data}/catalog.db", warehouse=f"file://{data}/warehouse"
)
table = catalog.load_table("floe.clicks")
names = ("event_id", "event_type", "search", "order", "kafka_partition", "kafka_offset")
rows = table.scan(selected_fields=names).to_arrow()
types = rows["event_type"].combine_chunks().value_counts()
begins = datetime.fromtimestamp(int(os.environ["LAST_HOUR_BEGINS"]), UTC)
sample = table.scan(EqualTo("event_id", 123_456), selected_fields=("kafka_key", "page", "kafka_timestamp"))
found = sample.to_arrow().to_pylist()[0]
answer = {
    "count": len(rows),
    "ids": pc.sum(rows["event_id"]).as_py(),
    "hits": pc.sum(pc.struct_field(rows["search"], "hits")).as_py(),
    "items": pc.sum(pc.struct_field(rows["order"], "items")).as_py(),
    "total": round(pc.sum(pc.struct_field(rows["order"], "total")).as_py(), 2),
    "types": {one["values"]: one["counts"] for one in types.to_pylist()},
    "offsets": len(
        rows.select(["kafka_partition", "kafka_offset"])
        .group_by(["kafka_partition", "kafka_offset"])
        .aggregate([])
    ),
    "sample": [found["kafka_key"], found["page"]["url"], round(found["kafka_timestamp"].timestamp() * 1000)],
    "last_hour": len(
        table.scan(
            GreaterThanOrEqual("kafka_timestamp", begins.isoformat()), selected_fields=("kafka_offset",)
        ).to_arrow()
    ),
}
print(json.dumps(answer))
