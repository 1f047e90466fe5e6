"""Every column type with every odd value, and the same rows from every engine's filters.

    python matrix.py produce            --ready tarn-ready.json
    python matrix.py check tarn duckdb pyiceberg spark --ready tarn-ready.json [--whole]

Each day holds one value of each column beside a null, so that a file's bounds are that value's; one
more day holds them all, over several row groups. What is right comes from comparing the values here.
`--whole` asks for every comparison with every value, else for equality with each and for the rest at
the ends, of Spark at the ends alone. `--slice 0/4` asks of a quarter of the columns. Spark is told by
`--spark-jar`, and by the `python` that runs this, which has pyspark then. A time of day is a long to all
but Tarn: microseconds since midnight.
"""

import argparse
import decimal
import json
import math
import os
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import uuid
from datetime import date, datetime, timedelta, timezone
from datetime import time as clock
from pathlib import Path

TOPIC = "matrix"
LIMIT = 60
NAN, INF = math.nan, math.inf
UTC = timezone.utc

# A row group ends at 16 MiB: this many rows of noise fill one.
NOISE_ROWS, NOISE_BYTES = 19, 900_000


def logical(kind: str, name: str, **more) -> dict:
    return {"type": kind, "logicalType": name, **more}


decimal.getcontext().prec = 60


def decimals(precision: int, scale: int) -> tuple:
    most = decimal.Decimal(10**precision - 1).scaleb(-scale)
    least = decimal.Decimal(1).scaleb(-scale)
    kind = logical("bytes", "decimal", precision=precision, scale=scale)
    return kind, [-most, -least, decimal.Decimal(0).scaleb(-scale), least, most], f"decimal({precision},{scale})"


def fixed(length: int) -> tuple:
    kind = {"type": "fixed", "name": f"fixed{length}", "size": length}
    return kind, [bytes([byte]) * length for byte in (0, 1, 127, 128, 255)], "bytes"


TEXTS = [
    "", "a", "~", "0123456789abcdef", "0123456789abcdefg", "z" * 65, "é" * 15 + "🦊x", "é" * 40,
    "m" * 63 + "étail", "m" * 62 + "🦊tail", "\ud7ff" * 17, "\uffff" * 17, "\U0010ffff" * 17, "\U0010ffff" * 70,
]
BYTES = [
    b"", b"a", b"0123456789abcdef", b"0123456789abcdefg", b"z" * 65, b"\xff" * 16, b"\xff" * 17, b"\xff" * 70,
    b"m" * 15 + b"\xe2\x28\xa1", b"m" * 63 + b"\xff\xff\xff", b"\x00" * 17,
]
MOMENTS = [
    datetime(1, 1, 1), datetime(1600, 2, 29, 12, 30), datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(1970, 1, 1),
    datetime(2024, 2, 29, 1, 2, 3, 4567), datetime(9999, 12, 31, 23, 59, 59, 999999),
]
# name: Avro type, values, SQL type
COLUMNS = {
    "c_bool": ("boolean", [False, True], "boolean"),
    "c_int": ("int", [-(2**31), -1, 0, 1, 2**31 - 1], "int"),
    "c_long": ("long", [-(2**63), -1, 0, 1, 2**63 - 1], "bigint"),
    "c_float": ("float", [-INF, -1.5, -0.0, 0.0, 1.5, INF, NAN], "real"),
    "c_double": ("double", [-INF, -1.5, -0.0, 0.0, 1.5, INF, NAN], "double"),
    "c_dec9": decimals(9, 2),
    "c_dec18": decimals(18, 3),
    "c_dec38": decimals(38, 10),
    "c_date": (logical("int", "date"), [date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)], "date"),
    "c_time": (logical("long", "time-micros"), [clock(0), clock(0, 0, 0, 1), clock(23, 59, 59, 999999)], "time"),
    "c_ts": (logical("long", "local-timestamp-micros"), MOMENTS, "timestamp"),
    "c_tstz": (logical("long", "timestamp-micros"), [m.replace(tzinfo=UTC) for m in MOMENTS], "timestamptz"),
    "c_text": ("string", TEXTS, "text"),
    "c_uuid": (
        logical("string", "uuid"),
        [uuid.UUID(int=0), uuid.UUID(int=2**127 - 1), uuid.UUID(int=2**127), uuid.UUID(int=2**128 - 1)],
        "uuid",
    ),
    "c_fixed5": fixed(5),
    "c_fixed20": fixed(20),
    "c_bytes": ("bytes", BYTES, "bytes"),
}
# Those that this run asks about.
ASKED: list[str] = []
DAYS = max(len(values) for _, values, _ in COLUMNS.values())
NESTED = [
    {"name": "c_struct", "type": ["null", {"type": "record", "name": "Inner", "fields": [
        {"name": "s", "type": ["null", "string"], "default": None},
        {"name": "d", "type": ["null", "double"], "default": None},
    ]}], "default": None},
    {"name": "c_list", "type": ["null", {"type": "array", "items": ["null", "double"]}], "default": None},
    {"name": "c_map", "type": ["null", {"type": "map", "values": ["null", "string"]}], "default": None},
]


def schema() -> dict:
    fields = [{"name": name, "type": ["null", kind], "default": None} for name, (kind, _, _) in COLUMNS.items()]
    noise = {"name": "noise", "type": ["null", "bytes"], "default": None}
    return {"type": "record", "name": "Matrix", "fields": [*fields, *NESTED, noise]}


def rows() -> list[tuple[int, dict]]:
    """Each with its day: the first days one value each, the last all of them with noise between."""
    made = []
    for day in range(DAYS):
        row = {name: values[day] if day < len(values) else None for name, (_, values, _) in COLUMNS.items()}
        made += [(day, row | nested(row)), (day, dict.fromkeys(row))]
    for at in (0, 1, 2):
        for day in range(at, DAYS, 3):
            row = {name: values[day] if day < len(values) else None for name, (_, values, _) in COLUMNS.items()}
            made.append((DAYS, row | nested(row)))
        if at < 2:
            made += [(DAYS, {"noise": os.urandom(NOISE_BYTES)}) for _ in range(NOISE_ROWS)]
    return made


def nested(row: dict) -> dict:
    inner = {"s": row["c_text"], "d": row["c_double"]}
    return {"c_struct": inner, "c_list": [row["c_double"], None], "c_map": {"k": row["c_text"]}}


def values_of(name: str) -> list:
    """What the rows hold in a column."""
    return [row.get(name) for _, row in rows_without_noise()]


def rows_without_noise() -> list[tuple[int, dict]]:
    made = []
    for day in range(DAYS):
        row = {name: values[day] if day < len(values) else None for name, (_, values, _) in COLUMNS.items()}
        made += [(day, row), (day, {}), (DAYS, row)]
    return made + [(DAYS, {})] * (2 * NOISE_ROWS)


def produce(ready: dict) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    admin = AdminClient({"bootstrap.servers": ready["kafka"]})
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(LIMIT)
    serialize = AvroSerializer(SchemaRegistryClient({"url": ready["registry"]}), json.dumps(schema()))
    context = SerializationContext(TOPIC, MessageField.VALUE)
    producer = Producer({"bootstrap.servers": ready["kafka"], "enable.idempotence": True})
    errors = []
    start = datetime.now(UTC) - timedelta(days=DAYS + 30)
    for day, row in rows():
        moment = int((start + timedelta(days=day)).timestamp() * 1000)
        report = lambda error, _: errors.append(error) if error else None
        full = {field["name"]: row.get(field["name"]) for field in schema()["fields"]}
        producer.produce(TOPIC, serialize(full, context), timestamp=moment, on_delivery=report)
        producer.poll(0)
    assert producer.flush(LIMIT) == 0 and not errors, errors[:3]
    deadline = time.monotonic() + LIMIT
    total = len(rows_without_noise())
    while sql(ready, f'SELECT count(*) FROM events."{TOPIC}$cold"')[0][0] != total:
        assert time.monotonic() < deadline, "the rows never become a table"
        time.sleep(0.2)


def sql(ready: dict, query: str) -> list:
    request = urllib.request.Request(
        ready["http"] + "/v1/sql", data=json.dumps({"query": query}).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            return json.load(response)["rows"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code}: {error.read().decode()}\n{query[:2000]}") from None


def key(value):
    """Orders values as SQL does: NaN is the greatest number, −0.0 is 0.0, text by its bytes."""
    if isinstance(value, float):
        return (1, 0.0) if math.isnan(value) else (0, value + 0.0)
    if isinstance(value, str):
        return value.encode()
    return value.int if isinstance(value, uuid.UUID) else value


OPERATORS = {
    "=": lambda a, b: key(a) == key(b),
    "<": lambda a, b: key(a) < key(b),
    "<=": lambda a, b: key(a) <= key(b),
    ">": lambda a, b: key(a) > key(b),
    ">=": lambda a, b: key(a) >= key(b),
}


def is_nan(value) -> bool:
    return isinstance(value, float) and math.isnan(value)


def questions(name: str, whole: bool) -> list[tuple]:
    """(operator, value) pairs, None for IS NULL."""
    values = COLUMNS[name][1]
    asked = [("IS NULL", None), ("IS NOT NULL", None)]
    for value in values:
        at_end = value is values[0] or value is values[-1] or whole
        asked += [(operator, value) for operator in OPERATORS if operator == "=" or at_end]
    return asked


def expected(name: str, operator: str, value, nan_is_number: bool = True) -> int:
    held = values_of(name)
    if operator == "IS NULL":
        return sum(one is None for one in held)
    if operator == "IS NOT NULL":
        return sum(one is not None for one in held)
    present = [one for one in held if one is not None and (nan_is_number or not is_nan(one))]
    return sum(OPERATORS[operator](one, value) for one in present)


def text_of(value) -> str:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "Infinity" if value == INF else "-Infinity" if value == -INF else repr(value)
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return text + ("+00" if value.tzinfo else "")
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return str(value)


def micros(time: clock) -> int:
    """Since midnight."""
    return ((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + time.microsecond


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def literal(name: str, value, dialect: str) -> str:
    kind = COLUMNS[name][2]
    if isinstance(value, clock) and dialect != "tarn":
        return str(micros(value))
    if isinstance(value, bytes):
        return {
            "tarn": f"'\\x{value.hex()}'::bytea",
            "duckdb": "'" + "".join(f"\\x{byte:02x}" for byte in value) + "'::BLOB",
            "spark": f"X'{value.hex()}'",
        }[dialect]
    if kind in ("boolean", "int"):
        return str(value).lower()
    if kind == "text":
        return quoted(value)
    names = {
        "real": {"spark": "float"}, "double": {"tarn": "double precision"},
        "timestamp": {"spark": "timestamp_ntz"}, "timestamptz": {"spark": "timestamp"}, "uuid": {"spark": "string"},
    }
    return f"CAST({quoted(text_of(value))} AS {names.get(kind, {}).get(dialect, kind)})"


def condition(name: str, operator: str, value, dialect: str) -> str:
    if value is None:
        return f"{name} {operator}"
    return f"{name} {operator} {literal(name, value, dialect)}"


def by_sql(dialect: str, run, table: str, whole: bool) -> int:
    """Asks by SQL, one statement per column; its parts are planned apart from each other."""
    wrong = 0
    for name in ASKED:
        asked = questions(name, whole)
        if dialect == "spark" and not whole:
            ends = {id(COLUMNS[name][1][at]) for at in (0, -1)}
            asked = [one for one in asked if one[1] is None or id(one[1]) in ends]
        parts = [
            f"SELECT {n} AS n, count(*) AS found FROM {table} WHERE {condition(name, operator, value, dialect)}"
            for n, (operator, value) in enumerate(asked)
        ]
        found = dict(run(" UNION ALL ".join(parts)))
        for n, (operator, value) in enumerate(asked):
            if found[n] != expected(name, operator, value):
                wrong += 1
                print(f"{dialect}: {condition(name, operator, value, dialect)[:200]}: {found[n]}, not {expected(name, operator, value)}")
    return wrong


def check_tarn(ready: dict, whole: bool) -> int:
    return by_sql("tarn", lambda query: sql(ready, query), f"events.{TOPIC}", whole)


def check_duckdb(ready: dict, whole: bool) -> int:
    import duckdb

    site = Path(sysconfig.get_paths()["purelib"])
    connection = duckdb.connect()
    for name in ("httpfs", "avro", "iceberg"):
        package = site / f"duckdb_extension_{name}" / "extensions" / f"v{duckdb.__version__}"
        connection.execute(f"LOAD '{package / name}.duckdb_extension'")
    connection.execute(f"ATTACH 'tarn' AS lake (TYPE iceberg, ENDPOINT '{ready['catalog']}', AUTHORIZATION_TYPE 'none')")
    connection.execute("SET TimeZone = 'UTC'")
    total = connection.execute(f"SELECT * FROM lake.events.{TOPIC}").fetchall()
    assert len(total) == len(rows_without_noise()), len(total)
    return by_sql("duckdb", lambda query: connection.execute(query).fetchall(), f"lake.events.{TOPIC}", whole)


def check_pyiceberg(ready: dict, whole: bool) -> int:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.expressions import (
        EqualTo, GreaterThan, GreaterThanOrEqual, IsNull, LessThan, LessThanOrEqual, NotNull,
    )

    makers = {"=": EqualTo, "<": LessThan, "<=": LessThanOrEqual, ">": GreaterThan, ">=": GreaterThanOrEqual}
    table = load_catalog("tarn", type="rest", uri=ready["catalog"]).load_table(f"events.{TOPIC}")
    assert table.scan().to_arrow().num_rows == len(rows_without_noise())
    starts = [task.file.split_offsets or [] for task in table.scan().plan_files()]
    assert max(map(len, starts)) >= 3, "no file has several row groups"
    wrong = 0
    for name in ASKED:
        for operator, value in questions(name, whole):
            if is_nan(value) or (name == "c_float" and value in (INF, -INF)):
                # There it is IS NAN, which is not this question; and an infinite literal for a float
                # column counts as beyond its range, so that the filter becomes a constant.
                continue
            if value is None:
                filter = IsNull(name) if operator == "IS NULL" else NotNull(name)
            else:
                given = micros(value) if isinstance(value, clock) else value
                given = given.isoformat() if isinstance(given, date) else given
                filter = makers[operator](name, given)
            # Arrow compares as IEEE 754 does: NaN is no greater than anything.
            right = expected(name, operator, value, nan_is_number=False)
            found = table.scan(row_filter=filter, selected_fields=("_offset",)).to_arrow().num_rows
            if found != right:
                wrong += 1
                print(f"pyiceberg: {str(filter)[:200]}: {found}, not {right}")
    return wrong


def check_spark(ready: dict, whole: bool, jar: str) -> int:
    from pyspark.sql import SparkSession

    catalog = "spark.sql.catalog.lake"
    settings = {
        "spark.jars": jar,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "rest",
        f"{catalog}.uri": ready["catalog"],
        f"{catalog}.io-impl": "org.apache.iceberg.hadoop.HadoopFileIO",
    }
    builder = SparkSession.builder.master("local[2]").appName("matrix")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    table = f"lake.events.{TOPIC}"
    # To the JVM's end, not into Python, whose dates begin later than some of these.
    read = session.sql(f"SELECT * FROM {table}")._jdf.collectAsList().size()
    assert read == len(rows_without_noise()), read
    names = [row[0] for row in session.sql("SHOW TABLES IN lake.events").select("tableName").collect()]
    assert TOPIC in names, names
    wrong = by_sql("spark", lambda query: [tuple(row) for row in session.sql(query).collect()], table, whole)
    session.stop()
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["produce", "check"])
    parser.add_argument("engines", nargs="*")
    parser.add_argument("--ready", required=True)
    parser.add_argument("--spark-jar", default="")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--slice", default="0/1")
    options = parser.parse_args()
    ready = json.loads(Path(options.ready).read_text())
    if options.what == "produce":
        produce(ready)
        return
    at, of = map(int, options.slice.split("/"))
    ASKED.extend(list(COLUMNS)[at::of])
    checks = {
        "tarn": check_tarn,
        "duckdb": check_duckdb,
        "pyiceberg": check_pyiceberg,
        "spark": lambda ready, whole: check_spark(ready, whole, options.spark_jar),
    }
    wrong = 0
    for engine in options.engines:
        started = time.monotonic()
        bad = checks[engine](ready, options.whole)
        wrong += bad
        print(f"{engine}: {'the same rows' if not bad else f'{bad} answers are wrong'} ({time.monotonic() - started:.0f} s)")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
