"""Random SQL over random tables, answered by Tarn hot, Tarn cold, Tarn mixed and DuckDB.

Tables come from random Avro schemas; their rows go through Kafka into a topic that stays hot and one that
becomes files at once, and into DuckDB. Every query is asked of all four. A difference is printed with its
seed and statements, and ends the run, unless DIFFERENCES names its reason.

    fuzz_sql.py --ready FILE [--queries N] [--seconds S] [--seed N]

FILE is the ready file of a running `tarn dev`.
"""
import argparse
import base64
import datetime as dt
import io
import json
import math
import random
import struct
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from decimal import Decimal

import duckdb
import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

def meets_nothing(sql, tables):
    """Is something compared with the rows of an empty table?"""
    meets = any(word in sql for word in (" JOIN ", " IN (SELECT", "EXISTS (SELECT", "EXCEPT", "INTERSECT"))
    return meets and any(not table.rows and f"{{{place}}}" in sql for place, table in enumerate(tables))


def joins(sql, tables):
    return " JOIN " in sql or "(SELECT" in sql


def constants(sql):
    """The calls and parts in brackets that name no column."""
    open_at, found = [], []
    for at, letter in enumerate(sql):
        if letter == "(":
            open_at.append(at)
        elif letter == ")" and open_at:
            start = open_at.pop()
            while start and sql[start - 1].isalpha():
                start -= 1
            part = sql[start : at + 1]
            if not any(word in part for word in (".c", "SELECT", "{", "*)", " OVER ")):
                found.append(part)
    return found


def has_failing_bound(sql, tables):
    """Is there a BETWEEN with an abs() in its lower bound?"""
    for part in sql.split(" BETWEEN ")[1:]:
        open_now = 0
        for at, letter in enumerate(part):
            open_now += (letter == "(") - (letter == ")")
            if open_now == 0 and part.startswith(" AND ", at):
                if "abs(" in part[:at]:
                    return True
                break
    return False


def has_wrong_constant(sql, tables):
    duck = duckdb.connect()
    duck.execute("PRAGMA disable_optimizer")
    text = sql.replace("{div}", "//")
    return any("verflow" in (asked_duck(duck, f"SELECT {part}")[1] or "") for part in constants(text))


# Where an answer may be another one, and why. (what Tarn says, what DuckDB says, which queries, reason)
DIFFERENCES = [
    ("value out of range", None, None, "floats that overflow or underflow are an error in PostgreSQL, infinite or 0 in DuckDB"),
    ("Divide by zero", None, None, "a division by zero is an error in PostgreSQL, null or infinite in DuckDB"),
    (None, "Overflow in", None, "DuckDB refuses what fits into Tarn's wider type: sums of decimals, dates before 290000 BC"),
    (None, "out of range", None, "the same"),
    (None, "Overflow on", joins, "where one side of a join has nothing, the other may not be asked for what fails"),
    ("out of range", None, meets_nothing, "DuckDB computes no key for rows that have nothing to meet"),
    ("overflow on abs", None, meets_nothing, "the same"),
    ("out of range", None, has_wrong_constant, "a constant that overflows is an error in PostgreSQL, in DuckDB if a row asks for it"),
    ("overflow on abs", None, has_wrong_constant, "the same"),
    (None, "Overflow on abs", has_failing_bound, "DuckDB computes both bounds at once, PostgreSQL asks about the cheaper one first"),
]

EPOCH = dt.datetime(1970, 1, 1)
ROWS = 400


def micros(moment):
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


MOMENTS = [
    dt.datetime(1, 1, 1), dt.datetime(1600, 2, 29, 1, 2, 3, 4), dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(1970, 1, 1), dt.datetime(2000, 2, 29, 12), dt.datetime(2024, 2, 29, 12, 30, 15, 123456),
    dt.datetime(2024, 3, 1), dt.datetime(2262, 4, 12), dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
]
DOUBLES = [0.0, -0.0, 1.0, -1.0, 1.5, 2.0, -2.25, 0.1, 1e300, -1e300, 5e-324, float("nan"), -float("nan"), float("inf"), -float("inf"), 123456.789]
TEXTS = ["", "a", "b", "B", "ab", "abc", "aB", "é", "a%b", "a_b", "z" * 70, "a" * 80, " a", "10", "日本"]


class Kind:
    """A column type: its Avro and DuckDB types, its values and their literals."""

    def __init__(self, name, avro, duck, pick, literal, group):
        self.name, self.avro, self.duck, self.pick, self.literal, self.group = name, avro, duck, pick, literal, group


def logical(base, name, **more):
    return {"type": base, "logicalType": name, **more}


def double_literal(value):
    return f"'{value}'::double precision" if not math.isnan(value) else "'NaN'::double precision"


KINDS = [
    Kind("boolean", "boolean", "BOOLEAN", lambda r: r.random() < 0.5, lambda v: str(v).lower(), "bool"),
    Kind("int", "int", "INTEGER", lambda r: r.choice([0, 1, -1, 2, 3, 7, 10, 100, 2**31 - 1, -(2**31)]), lambda v: f"({v})::bigint::int", "int"),
    Kind("long", "long", "BIGINT", lambda r: r.choice([0, 1, -1, 2, 3, 7, 10, 2**31, 2**53 + 1, 2**63 - 1, -(2**62)]), lambda v: f"({v})::bigint", "int"),
    Kind("float", "float", "REAL", lambda r: f32(r.choice([d for d in DOUBLES if abs(d) < 1e38 or math.isnan(d) or math.isinf(d)])), double_literal, "float"),
    Kind("double", "double", "DOUBLE", lambda r: r.choice(DOUBLES), double_literal, "float"),
    Kind("string", "string", "VARCHAR", lambda r: r.choice(TEXTS), lambda v: "'" + v + "'", "text"),
    Kind("bytes", "bytes", "BLOB", lambda r: r.choice([b"", b"\0", b"\xff", b"ab", b"z" * 70]), None, "bytes"),
    Kind("date", logical("int", "date"), "DATE", lambda r: r.choice(MOMENTS).date(), lambda v: f"date '{v.isoformat()}'", "date"),
    Kind("timestamp", logical("long", "local-timestamp-micros"), "TIMESTAMP", lambda r: r.choice(MOMENTS), lambda v: f"timestamp '{v.isoformat(sep=' ')}'", "timestamp"),
    Kind("timestamptz", logical("long", "timestamp-micros"), "TIMESTAMPTZ", lambda r: r.choice(MOMENTS), lambda v: f"timestamptz '{v.isoformat(sep=' ')}+00'", "timestamptz"),
    Kind("decimal", logical("bytes", "decimal", precision=12, scale=2), "DECIMAL(12,2)", lambda r: r.choice([Decimal(c) / 100 for c in (0, 1, -1, 50, 150, 999999999999, -999999999999)]), lambda v: f"({v})::decimal(12,2)", "decimal"),
    Kind("uuid", logical("string", "uuid"), "UUID", lambda r: uuid.UUID(int=r.choice([0, 1, 2**127, 2**128 - 1, 0xA0EEBC999C0B4EF8BB6D6BB9BD380A11])), lambda v: f"'{v}'::uuid", "uuid"),
]


class Table:
    def __init__(self, rng, name):
        self.name = name
        count = rng.randint(3, 8)
        self.columns = [(f"c{i}", rng.choice(KINDS), rng.random() < 0.6) for i in range(count)]
        self.rows = [self.row(rng) for _ in range(rng.choice([0, 1, 17, ROWS]))]

    def row(self, rng):
        return [None if nullable and rng.random() < 0.2 else kind.pick(rng) for _, kind, nullable in self.columns]

    def schema(self):
        fields = [{"name": name, "type": ["null", kind.avro] if nullable else kind.avro} for name, kind, nullable in self.columns]
        return {"type": "record", "name": "R", "fields": fields}

    def encoded(self, schema_id):
        schema = fastavro.parse_schema(self.schema())
        for row in self.rows:
            record = {}
            for (name, kind, _), value in zip(self.columns, row):
                if kind.name == "timestamp" and value is not None:
                    value = micros(value)
                elif kind.name == "timestamptz" and value is not None:
                    value = value.replace(tzinfo=dt.timezone.utc)
                record[name] = value
            out = io.BytesIO()
            out.write(b"\0" + struct.pack(">i", schema_id))
            fastavro.schemaless_writer(out, schema, record)
            yield out.getvalue()


class Queries:
    """Statements with {0}, {1} for the tables and DuckDB's own form of what differs."""

    def __init__(self, rng, tables):
        self.rng, self.tables = rng, tables

    def column(self, scope, group):
        found = [(alias, name, kind) for alias, table in scope for name, kind, _ in table.columns if kind.group == group]
        if not found:
            return None
        alias, name, kind = self.rng.choice(found)
        return f"{alias}.{name}", kind

    def literal(self, group):
        kind = self.rng.choice([kind for kind in KINDS if kind.group == group and kind.literal])
        return kind.literal(kind.pick(self.rng))

    def expression(self, scope, group, depth=2):
        """An expression of a kind of types."""
        rng = self.rng
        column = self.column(scope, group)
        if group == "bytes":
            return column[0] if column else None
        if depth == 0 or rng.random() < 0.4:
            return column[0] if column and rng.random() < 0.75 else self.literal(group)
        inner = lambda: self.expression(scope, group, depth - 1)
        if rng.random() < 0.15:
            return f"CASE WHEN {self.predicate(scope, depth - 1)} THEN {inner()} ELSE {inner()} END"
        if rng.random() < 0.1:
            return f"coalesce({inner()}, {inner()})"
        if rng.random() < 0.1:
            return f"nullif({inner()}, {inner()})"
        if rng.random() < 0.1 and group != "bool":
            return f"{rng.choice(['greatest', 'least'])}({inner()}, {inner()})"
        if group == "int":
            return rng.choice([
                lambda: f"({inner()} {rng.choice('+-*')} {inner()})",
                lambda: f"({inner()} {{div}} {rng.choice([2, 3, -7])}::bigint)",
                lambda: f"({inner()} % {rng.choice([2, 3, 10])}::bigint)",
                lambda: f"abs({inner()})", lambda: f"(- {inner()})",
                lambda: f"length({self.expression(scope, 'text', depth - 1)})::bigint",
                lambda: f"extract(year FROM {self.expression(scope, 'timestamp', depth - 1)})::bigint",
                lambda: f"({self.expression(scope, 'decimal', 0)})::bigint",
            ])()
        if group == "float":
            return rng.choice([
                lambda: f"({inner()} {rng.choice('+-*')} {inner()})",
                lambda: f"({inner()} / {rng.choice(['2', '-4', '0.5'])}::double precision)",
                lambda: f"(- {inner()})", lambda: f"abs({inner()})",
                lambda: f"floor({inner()})", lambda: f"ceil({inner()})",
                lambda: f"({self.expression(scope, 'int', depth - 1)})::double precision",
            ])()
        if group == "text":
            return rng.choice([
                lambda: f"({inner()} || {inner()})", lambda: f"substr({inner()}, 1, 2)",
                lambda: f"lower({inner()})", lambda: f"upper({self.literal('text')})", lambda: f"trim({inner()})",
                lambda: f"replace({inner()}, 'a', 'xy')", lambda: f"({self.expression(scope, 'int', 0)})::text",
                lambda: f"({self.expression(scope, 'uuid', 0)})::text",
            ])()
        if group == "bool":
            return self.predicate(scope, depth - 1)
        if group == "decimal":
            return rng.choice([lambda: f"({inner()} {rng.choice('+-')} {inner()})", lambda: f"abs({inner()})"])()
        if group == "date":
            return f"({self.expression(scope, 'timestamp', depth - 1)})::date"
        if group == "timestamp":
            unit = rng.choice(["year", "quarter", "month", "week", "day", "hour", "minute", "second"])
            return f"date_trunc('{unit}', {inner()})"
        return inner()

    def predicate(self, scope, depth=2):
        rng = self.rng
        if depth > 0 and rng.random() < 0.35:
            left, right = self.predicate(scope, depth - 1), self.predicate(scope, depth - 1)
            return rng.choice([f"({left} AND {right})", f"({left} OR {right})", f"(NOT {left})"])
        group = rng.choice(["bool", "int", "int", "float", "float", "text", "date", "timestamp", "timestamptz", "decimal", "uuid", "bytes"])
        left, right = self.expression(scope, group, max(depth, 0)), self.expression(scope, group, max(depth - 1, 0))
        if left is None or right is None:
            return rng.choice(["true", "false"])
        choice = rng.random()
        if choice < 0.55:
            return f"({left} {rng.choice(['=', '<>', '<', '<=', '>', '>='])} {right})"
        if choice < 0.65:
            return f"({left} IS {rng.choice(['', 'NOT '])}NULL)"
        if choice < 0.75 and group != "bytes":
            values = ", ".join(self.literal(group) for _ in range(rng.randint(1, 4)))
            return f"({left} {rng.choice(['IN', 'NOT IN'])} ({values}))"
        if choice < 0.85:
            return f"({left} IS {rng.choice(['', 'NOT '])}DISTINCT FROM {right})"
        if choice < 0.93 and group != "bool":
            third = self.expression(scope, group, 0)
            return f"({left} BETWEEN {right} AND {third})"
        if group == "text":
            return f"({left} LIKE '{rng.choice(['a%', '%b', '_', '%a%', 'a_b'])}')"
        return f"({left} = {right})"

    def group_of(self, scope):
        groups = {kind.group for _, table in scope for _, kind, _ in table.columns}
        return self.rng.choice(sorted(groups))

    def any(self, scope, depth=2):
        return self.expression(scope, self.group_of(scope), depth)

    def aggregate(self, scope):
        rng = self.rng
        choice = rng.random()
        if choice < 0.2:
            return "count(*)"
        if choice < 0.35:
            return f"count({self.any(scope)})"
        if choice < 0.5:
            return f"count(DISTINCT {self.any(scope)})"
        if choice < 0.75:
            group = self.group_of(scope)
            return f"{rng.choice(['min', 'max'])}({self.expression(scope, group if group != 'bool' else 'int')})"
        if choice < 0.9:
            return f"sum({self.expression(scope, rng.choice(['int', 'decimal']), 1)})"
        column = self.column(scope, "float")
        if not column:
            return "count(*)"
        return f"{rng.choice(['sum', 'avg'])}(CASE WHEN abs({column[0]}) < 1e6 THEN {column[0]} END::double precision)"

    def query(self):
        rng = self.rng
        scope = [("a", rng.choice(self.tables))]
        source = f"{{{self.tables.index(scope[0][1])}}} a"
        if rng.random() < 0.25:
            other = rng.choice(self.tables)
            scope.append(("b", other))
            group = self.group_of(scope[:1])
            left, right = self.expression(scope[:1], group, 1), self.expression(scope[1:], group, 1)
            if left and right:
                how = rng.choice(["JOIN", "LEFT JOIN", "FULL JOIN"])
                source += f" {how} (SELECT * FROM {{{self.tables.index(other)}}} LIMIT 40) b ON {left} = {right}" if False else f" {how} {{{self.tables.index(other)}}} b ON {left} = {right}"
            else:
                scope.pop()
        where = f" WHERE {self.predicate(scope)}" if rng.random() < 0.7 else ""
        kind = rng.random()
        if kind < 0.3:
            items = [self.any(scope) for _ in range(rng.randint(1, 3))]
            distinct = "DISTINCT " if rng.random() < 0.3 else ""
            return f"SELECT {distinct}{named(items)} FROM {source}{where}"
        if kind < 0.6:
            keys = [self.any(scope, 1) for _ in range(rng.randint(0, 2))]
            items = keys + [self.aggregate(scope) for _ in range(rng.randint(1, 3))]
            text = f"SELECT {named(items)} FROM {source}{where}"
            if keys:
                text += " GROUP BY " + ", ".join(str(i + 1) for i in range(len(keys)))
            return text
        if kind < 0.75:
            items = [self.any(scope, 1) for _ in range(rng.randint(1, 2))]
            order = ", ".join(f"{i + 1} {rng.choice(['ASC', 'DESC'])} NULLS {rng.choice(['FIRST', 'LAST'])}" for i in range(len(items)))
            return f"SELECT {named(items)} FROM {source}{where} ORDER BY {order} LIMIT {rng.choice([1, 3, 20])}"
        if kind < 0.85:
            inner = rng.choice(self.tables)
            place = self.tables.index(inner)
            group = self.group_of([("x", inner)])
            left, right = self.expression(scope, group, 1), self.expression([("x", inner)], group, 1)
            if left and right:
                negated = rng.choice(["", "NOT "])
                if rng.random() < 0.5:
                    test = f"{left} {negated}IN (SELECT {right} FROM {{{place}}} x)"
                else:
                    test = f"{negated}EXISTS (SELECT 1 FROM {{{place}}} x WHERE {left} = {right})"
                return f"SELECT {named([self.any(scope, 0)])} FROM {source} WHERE {test}"
        if kind < 0.93:
            group = self.group_of(scope)
            other = rng.choice(self.tables)
            left, right = self.expression(scope, group, 1), self.expression([("x", other)], group, 1)
            if left and right:
                how = rng.choice(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"])
                return f"SELECT {left} AS r0 FROM {source}{where} {how} SELECT {right} AS r0 FROM {{{self.tables.index(other)}}} x"
        key, order = self.any(scope, 0), self.any(scope, 0)
        function = rng.choice(["rank()", "dense_rank()", "count(*)", f"min({self.any(scope, 0)})" if self.group_of(scope) != "bool" else "count(*)"])
        return f"SELECT {named([key, order, f'{function} OVER (PARTITION BY {key} ORDER BY {order} NULLS LAST)'])} FROM {source}{where}"


def named(items):
    return ", ".join(f"{item} AS r{i}" for i, item in enumerate(items))


def plain(value, kind=None):
    """A value in one form for both sides."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") if value.tzinfo else value.isoformat(timespec="microseconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        return ("float", float(f"{f32(value) if kind == 'float' else value:.9g}") + 0.0)
    if isinstance(value, (int, Decimal)):
        return ("number", Decimal(value).normalize() + 0)
    return value


def of_tarn(answer):
    kinds = [column["type"] for column in answer["columns"]]

    def value(kind, value):
        if value is None:
            return None
        if kind in ("double", "float") and not isinstance(value, str):
            return plain(float(value), kind)
        if kind == "timestamptz":
            return value.removesuffix("Z")
        return plain(value, kind)

    return [tuple(value(kind, cell) for kind, cell in zip(kinds, row)) for row in answer["rows"]]


class Tarn:
    def __init__(self, ready):
        self.ready = ready

    def ask(self, sql):
        body = json.dumps({"query": sql}).encode()
        request = urllib.request.Request(self.ready["http"] + "/v1/sql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read(), parse_float=Decimal), None
        except urllib.error.HTTPError as error:
            return None, json.loads(error.read())

    def load(self, table, variant, interval_ms):
        topic = f"{table.name}_{variant}"
        admin = AdminClient({"bootstrap.servers": self.ready["kafka"]})
        new = NewTopic(topic, num_partitions=3, config={"tarn.table.interval.ms": str(interval_ms)})
        admin.create_topics([new])[topic].result()
        body = json.dumps({"schema": json.dumps(table.schema())}).encode()
        url = f"{self.ready['registry']}/subjects/{topic}-value/versions"
        request = urllib.request.Request(url, body, {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request) as answer:
            schema_id = json.loads(answer.read())["id"]
        producer = Producer({"bootstrap.servers": self.ready["kafka"]})
        for record in table.encoded(schema_id):
            producer.produce(topic, record)
        assert producer.flush(60) == 0
        return topic

    def wait_cold(self, topic, rows):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            answer, error = self.ask(f'SELECT count(*) FROM events."{topic}$cold"')
            if answer and int(answer["rows"][0][0]) == rows:
                return
            time.sleep(0.05)
        sys.exit(f"{topic} did not become files: {error or answer}")


def load_duck(duck, table):
    columns = ", ".join(f"{name} {kind.duck}" for name, kind, _ in table.columns)
    duck.execute(f"CREATE TABLE {table.name} ({columns})")
    if table.rows:
        places = ", ".join("?" for _ in table.columns)
        rows = [[value.replace(tzinfo=dt.timezone.utc) if kind.name == "timestamptz" and value else value for (_, kind, _), value in zip(table.columns, row)] for row in table.rows]
        duck.executemany(f"INSERT INTO {table.name} VALUES ({places})", rows)


def asked_duck(duck, sql):
    try:
        return [tuple(plain(value) for value in row) for row in duck.execute(sql).fetchall()], None
    except duckdb.Error as error:
        return None, str(error)


def fails_plainly(duck, sql):
    """Does DuckDB find the error, too, when its optimizer leaves nothing out? It drops what cannot change an answer."""
    duck.execute("PRAGMA disable_optimizer")
    try:
        return asked_duck(duck, sql)[1] is not None
    finally:
        duck.execute("PRAGMA enable_optimizer")


def is_known(tarn_error, duck_error, sql, tables):
    for tarn, duck, queries, _ in DIFFERENCES:
        if tarn and not (tarn_error and tarn in tarn_error):
            continue
        if duck and not (duck_error and duck in duck_error):
            continue
        if queries and not queries(sql, tables):
            continue
        return True
    return False


def close(one, other):
    """Floats of a sum differ in their last digits with the order of the rows."""
    if one == other:
        return True
    if len(one) != len(other):
        return False

    def alike(a, b):
        if a == b:
            return True
        number = lambda v: float(v[1]) if isinstance(v, tuple) else None
        x, y = number(a), number(b)
        return x is not None and y is not None and abs(x - y) <= 1e-6 * max(1.0, abs(x), abs(y))

    key = lambda row: [(str(type(v)), f"{float(v[1]):+.4e}" if isinstance(v, tuple) else str(v)) for v in row]
    return all(len(a) == len(b) and all(map(alike, a, b)) for a, b in zip(sorted(one, key=key), sorted(other, key=key)))


def same(one, other):
    return Counter(one) == Counter(other) or close(one, other)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ready", required=True)
    arguments.add_argument("--queries", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=math.inf)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments.add_argument("--go-on", action="store_true", help="count differences instead of ending at the first")
    options = arguments.parse_args()
    print(f"seed {options.seed}", flush=True)
    tarn = Tarn(json.load(open(options.ready, encoding="utf-8")))
    ends = time.monotonic() + options.seconds
    done = errors = known = different = 0
    world = 0
    while done < options.queries and time.monotonic() < ends:
        rng = random.Random(options.seed * 1_000_003 + world)
        tables = [Table(rng, f"f{options.seed}_{world}_{i}") for i in range(3)]
        duck = duckdb.connect()
        duck.execute("SET TimeZone = 'UTC'")
        # With it, sum(bigint) takes what it believes to be too few rows to overflow, and wraps around.
        duck.execute("SET disabled_optimizers = 'statistics_propagation'")
        variants = []
        for table in tables:
            hot = tarn.load(table, "hot", 3_600_000)
            cold = tarn.load(table, "cold", 100)
            variants.append((hot, cold))
            load_duck(duck, table)
        for table, (_, cold) in zip(tables, variants):
            tarn.wait_cold(cold, len(table.rows))
        queries = Queries(rng, tables)
        for _ in range(200):
            if done >= options.queries or time.monotonic() >= ends:
                break
            text = queries.query()
            done += 1
            duck_text = text.format(*(table.name for table in tables), div="//")
            expected, duck_error = asked_duck(duck, duck_text)
            for variant in ("hot", "cold", "mixed"):
                pick = {"hot": lambda pair: pair[0], "cold": lambda pair: pair[1], "mixed": rng.choice}[variant]
                sql = text.format(*(f'events."{pick(pair)}"' for pair in variants), div="/")
                answer, problem = tarn.ask(sql)
                detail = problem and problem.get("detail", str(problem))
                if problem and problem.get("status") == 400 and (duck_error or fails_plainly(duck, duck_text)):
                    errors += 1
                    continue
                if (problem is None) == (duck_error is None) and problem is None and same(of_tarn(answer), expected):
                    continue
                if (problem or duck_error) and is_known(detail, duck_error, text, tables):
                    known += 1
                    continue
                different += 1
                print(f"\nDIFFERENCE in world {world}, {variant}\n{sql}")
                for table in tables:
                    print(" ", table.name, [(name, kind.name) for name, kind, _ in table.columns])
                if problem or duck_error:
                    print("  Tarn:", detail or "rows", "\n  DuckDB:", duck_error or "rows")
                else:
                    ours, theirs = Counter(of_tarn(answer)), Counter(expected)
                    print("  only Tarn:", list((ours - theirs).items())[:5], "\n  only DuckDB:", list((theirs - ours).items())[:5])
                if not options.go_on:
                    sys.exit(f"seed {options.seed}: after {done} queries")
                break
        world += 1
    print(f"{done} queries in {world} worlds: {different} differences, {known} known ones, {errors} wrong in both")
    sys.exit(1 if different else 0)


main()
