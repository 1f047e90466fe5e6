"""Reads tables through the REST catalog with PyIceberg and DuckDB, both with a credential.

    python catalog.py empty|rows --ready tarn-ready.json

`empty` makes two topics, one with a schema and one without, and reads both tables before their first
record. `rows` writes records to both, waits until the tables have them and reads those. What the
tables should hold is what was written.
"""

import argparse
import json
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

LIMIT = 90
TYPED, BARE = "catalog-typed", "catalog-bare"
SCHEMA = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "what", "type": ["null", "string"], "default": None},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
ROWS = [{"id": n, "what": None if n == 2 else f"reading {n}", "at": 1_700_000_000_000_000 + n} for n in range(5)]
VALUES = [b"one", b"", b"\x00\xff"]


def duckdb_with_credential(ready: dict):
    import duckdb

    site = Path(sysconfig.get_paths()["purelib"])
    connection = duckdb.connect()
    for name in ("httpfs", "avro", "iceberg"):
        package = f"duckdb_extension_{name}"
        connection.execute(f"LOAD '{site / package / 'extensions' / f'v{duckdb.__version__}' / name}.duckdb_extension'")
    connection.execute(
        "CREATE SECRET tarn (TYPE iceberg, CLIENT_ID 'me', CLIENT_SECRET 'it''s secret', "
        f"OAUTH2_SERVER_URI '{ready['catalog']}/v1/oauth/tokens')"
    )
    connection.execute(f"ATTACH 'tarn' AS lake (TYPE iceberg, ENDPOINT '{ready['catalog']}', SECRET tarn)")
    return connection


def pyiceberg_with_credential(ready: dict):
    from pyiceberg.catalog.rest import RestCatalog

    return RestCatalog("tarn", uri=ready["catalog"], credential="me:it's secret")


def read(ready: dict) -> dict:
    """What each engine reads: of the typed table its payload, of the other one its values."""
    catalog = pyiceberg_with_credential(ready)
    listed = {name for _, name in catalog.list_tables("events")}
    assert {TYPED, BARE} <= listed, listed
    assert catalog.table_exists(f"events.{TYPED}") and not catalog.table_exists("events.nope")
    typed = catalog.load_table(("events", TYPED)).scan(selected_fields=("id", "what", "at")).to_arrow().to_pylist()
    bare = catalog.load_table(("events", BARE)).scan(selected_fields=("_value",)).to_arrow().to_pylist()
    answers = {
        "PyIceberg": (
            sorted((row["id"], row["what"], round(row["at"].timestamp() * 1_000_000)) for row in typed),
            sorted(row["_value"] for row in bare),
        )
    }
    duck = duckdb_with_credential(ready)
    answers["DuckDB"] = (
        duck.sql(f'SELECT id, what, epoch_us("at") FROM lake.events."{TYPED}" ORDER BY id').fetchall(),
        sorted(value for (value,) in duck.sql(f'SELECT _value FROM lake.events."{BARE}"').fetchall()),
    )
    # A filter that the files' bounds decide, and one on a table without files.
    duck.sql(f'SELECT count(*) FROM lake.events."{TYPED}" WHERE id > 1000').fetchall()
    return answers


def check(ready: dict, rows: list, values: list) -> None:
    expected = ([(row["id"], row["what"], row["at"]) for row in rows], sorted(values))
    for engine, answer in read(ready).items():
        assert answer == expected, f"{engine}: {answer} instead of {expected}"
        print(f"{engine}: {len(rows)} typed rows, {len(values)} bare ones")


def make(ready: dict) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    registry = SchemaRegistryClient({"url": ready["registry"]})
    registry.register_schema(f"{TYPED}-value", Schema(json.dumps(SCHEMA), "AVRO"))
    admin = AdminClient({"bootstrap.servers": ready["kafka"]})
    for one in admin.create_topics([NewTopic(TYPED, 2, 1), NewTopic(BARE, 1, 1)]).values():
        one.result(LIMIT)


def write(ready: dict) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    serialize = AvroSerializer(SchemaRegistryClient({"url": ready["registry"]}), json.dumps(SCHEMA))
    producer = Producer({"bootstrap.servers": ready["kafka"]})
    for row in ROWS:
        value = serialize({**row}, SerializationContext(TYPED, MessageField.VALUE))
        producer.produce(TYPED, value, key=str(row["id"]))
    for value in VALUES:
        producer.produce(BARE, value)
    assert producer.flush(LIMIT) == 0
    wanted = {f"events.{TYPED}$cold": len(ROWS), f"events.{BARE}$cold": len(VALUES)}
    deadline = time.monotonic() + LIMIT
    while any(count(ready, table) < rows for table, rows in wanted.items()):
        assert time.monotonic() < deadline, "the tables did not get their rows"
        time.sleep(0.1)


def count(ready: dict, table: str) -> int:
    schema, name = table.split(".", 1)
    body = json.dumps({"query": f'SELECT count(*) FROM {schema}."{name}"'}).encode()
    request = urllib.request.Request(f"{ready['http']}/v1/sql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        return json.load(answer)["rows"][0][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["empty", "rows"])
    parser.add_argument("--ready", required=True, type=Path)
    arguments = parser.parse_args()
    ready = json.loads(arguments.ready.read_text())
    if arguments.what == "empty":
        make(ready)
        check(ready, [], [])
    else:
        write(ready)
        check(ready, ROWS, VALUES)


if __name__ == "__main__":
    sys.exit(main())
