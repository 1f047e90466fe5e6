"""Produces and consumes with a client that nobody here wrote, and checks what came back.

    python clients.py confluent|kafka-python|aiokafka|kcat --ready tarn-ready.json

Each client creates a topic, produces keyed records, reads them back from the start, and then reads
them in a consumer group of two members, the second joining late (cooperatively where the client can),
so that partitions move. Checked: every record once, in order per partition, offsets committed and
found again by a third consumer, which must see nothing.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

RECORDS = 2000
PARTITIONS = 6
LIMIT = 90


def payload(n: int) -> bytes:
    return json.dumps({"n": n, "pad": "x" * (n % 200)}).encode()


def key(n: int) -> bytes:
    return f"key-{n % 37}".encode()


class Seen:
    """What consumers read: each (partition, offset) with its number."""

    def __init__(self):
        self.records: dict[tuple[int, int], int] = {}
        self.repeated = 0
        self.lock = threading.Lock()

    def add(self, partition: int, offset: int, value: bytes) -> None:
        number = json.loads(value)["n"]
        with self.lock:
            before = self.records.setdefault((partition, offset), number)
            assert before == number, f"{partition}/{offset} held {before} and then {number}"

    def __len__(self) -> int:
        return len(self.records)

    def check(self, what: str) -> None:
        numbers = sorted(self.records.values())
        assert numbers == list(range(RECORDS)), f"{what}: {len(numbers)} records, {len(set(numbers))} different"
        by_partition = defaultdict(list)
        for (partition, offset), number in sorted(self.records.items()):
            by_partition[partition].append((offset, number))
        for partition, rows in by_partition.items():
            offsets = [offset for offset, _ in rows]
            assert offsets == list(range(len(offsets))), f"{what}: partition {partition} has holes"
            by_key = defaultdict(list)
            for _, number in rows:
                by_key[number % 37].append(number)
            assert all(numbers == sorted(numbers) for numbers in by_key.values()), f"{what}: order within a key"
        print(f"{what}: {len(numbers)} records, each once, in order")


def until(what: str, done) -> None:
    deadline = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < deadline, f"waited {LIMIT} s for {what}"
        time.sleep(0.05)


def confluent(bootstrap: str, topic: str) -> None:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(LIMIT)
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        name = f"{topic}-{compression}"
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(LIMIT)
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": compression})
        for n in range(100):
            producer.produce(name, payload(n), key(n))
        assert producer.flush(LIMIT) == 0
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": name, "auto.offset.reset": "earliest"})
        consumer.subscribe([name])
        values = []
        until(f"{compression} records", lambda: values.extend(m.value() for m in consumer.consume(100, 0.2) if not m.error()) or len(values) >= 100)
        assert values == [payload(n) for n in range(100)], compression
        consumer.close()
    print("confluent: all codecs come back as they went in")

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    errors = []
    for n in range(RECORDS):
        producer.produce(topic, payload(n), key(n), on_delivery=lambda error, _: errors.append(error) if error else None)
    assert producer.flush(LIMIT) == 0 and not errors, errors[:3]

    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": f"{topic}-group",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "partition.assignment.strategy": "cooperative-sticky",
    }
    seen, stop = Seen(), threading.Event()
    owned: dict[str, set] = {"first": set(), "second": set()}

    def member(name: str) -> None:
        consumer = Consumer(settings)

        def gained(consumer, partitions):
            owned[name] |= {p.partition for p in partitions}
            consumer.incremental_assign(partitions)

        def gone(consumer, partitions):
            owned[name] -= {p.partition for p in partitions}
            consumer.incremental_unassign(partitions)

        consumer.subscribe([topic], on_assign=gained, on_revoke=gone, on_lost=gone)
        while not stop.is_set():
            for message in consumer.consume(50, 0.1):
                if not message.error():
                    seen.add(message.partition(), message.offset(), message.value())
            if consumer.assignment():
                try:
                    consumer.commit(asynchronous=False)
                except Exception as error:  # a rebalance in between, or nothing to commit
                    if "NO_OFFSET" not in str(error) and "REBALANCE" not in str(error) and "GENERATION" not in str(error):
                        raise
        consumer.close()

    first = threading.Thread(target=member, args=("first",))
    first.start()
    until("the first member to own everything", lambda: len(owned["first"]) == PARTITIONS)
    second = threading.Thread(target=member, args=("second",))
    second.start()
    until("the partitions to be shared", lambda: len(owned["first"]) == PARTITIONS // 2 and len(owned["second"]) == PARTITIONS // 2)
    until("all records", lambda: len(seen) >= RECORDS)
    time.sleep(0.5)  # one more commit by each
    stop.set()
    first.join(LIMIT)
    second.join(LIMIT)
    seen.check("confluent, cooperative group")

    third = Consumer(settings)
    committed = third.committed([__import__("confluent_kafka").TopicPartition(topic, p) for p in range(PARTITIONS)], LIMIT)
    assert sum(p.offset for p in committed) == RECORDS, committed
    third.close()
    groups = {g.group_id: g for g in admin.list_consumer_groups().result(LIMIT).valid}
    assert f"{topic}-group" in groups, list(groups)
    print("confluent: committed offsets stand at the end")


def kafka_python(bootstrap: str, topic: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="gzip")
    futures = [producer.send(topic, payload(n), key(n)) for n in range(RECORDS)]
    for future in futures:
        future.get(LIMIT)
    producer.close()

    seen, stop = Seen(), threading.Event()

    def member() -> None:
        consumer = KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=f"{topic}-group", auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        while not stop.is_set():
            for records in consumer.poll(200).values():
                for record in records:
                    seen.add(record.partition, record.offset, record.value)
        consumer.commit()
        consumer.close()

    members = [threading.Thread(target=member) for _ in range(2)]
    for thread in members:
        thread.start()
        time.sleep(1)
    until("all records", lambda: len(seen) >= RECORDS)
    stop.set()
    for thread in members:
        thread.join(LIMIT)
    seen.check("kafka-python, group")
    admin.close()


async def aiokafka(bootstrap: str, topic: str) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    futures = [await producer.send(topic, payload(n), key(n)) for n in range(RECORDS)]
    await asyncio.wait_for(asyncio.gather(*futures), LIMIT)
    await producer.stop()

    seen = Seen()

    async def member(name: str, done: asyncio.Event) -> None:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=f"{topic}-group", client_id=name,
            auto_offset_reset="earliest", enable_auto_commit=False,
        )
        await consumer.start()
        while not done.is_set():
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    seen.add(record.partition, record.offset, record.value)
        await consumer.commit()
        await consumer.stop()

    done = asyncio.Event()
    members = [asyncio.create_task(member(f"member-{i}", done)) for i in range(2)]
    deadline = time.monotonic() + LIMIT
    while len(seen) < RECORDS:
        assert time.monotonic() < deadline, f"only {len(seen)} records came"
        await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(*members)
    seen.check("aiokafka, group")
    await admin.close()


def kcat(bootstrap: str, topic: str) -> None:
    lines = "".join(f"{key(n).decode()}\t{payload(n).decode()}\n" for n in range(RECORDS))
    subprocess.run(["kcat", "-b", bootstrap, "-t", topic, "-P", "-K", "\t", "-z", "lz4"], input=lines.encode(), check=True, timeout=LIMIT)
    listing = subprocess.run(["kcat", "-b", bootstrap, "-L", "-J"], capture_output=True, check=True, timeout=LIMIT).stdout
    assert any(t["topic"] == topic for t in json.loads(listing)["topics"])
    output = subprocess.run(
        ["kcat", "-b", bootstrap, "-t", topic, "-C", "-o", "beginning", "-e", "-f", "%p %o %s\n"],
        capture_output=True, check=True, timeout=LIMIT,
    ).stdout
    seen = Seen()
    for line in output.decode().splitlines():
        partition, offset, value = line.split(" ", 2)
        seen.add(int(partition), int(offset), value.encode())
    seen.check("kcat")
    group = subprocess.run(
        ["timeout", "20", "kcat", "-b", bootstrap, "-G", f"{topic}-group", "-X", "auto.offset.reset=earliest", "-c", str(RECORDS), topic],
        capture_output=True, check=True,
    ).stdout
    assert len(group.splitlines()) == RECORDS
    print("kcat, group: all records")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=["confluent", "kafka-python", "aiokafka", "kcat"])
    parser.add_argument("--ready", required=True, type=Path)
    arguments = parser.parse_args()
    bootstrap = json.loads(arguments.ready.read_text())["kafka"]
    topic = f"clients-{arguments.client}"
    if arguments.client == "confluent":
        confluent(bootstrap, topic)
    elif arguments.client == "kafka-python":
        kafka_python(bootstrap, topic)
    elif arguments.client == "aiokafka":
        asyncio.run(aiokafka(bootstrap, topic))
    else:
        kcat(bootstrap, topic)


if __name__ == "__main__":
    sys.exit(main())
