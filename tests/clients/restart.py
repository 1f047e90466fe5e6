"""An idempotent producer with five requests in flight goes on producing while Tarn is killed and started.

Runs until the file named by --stop appears, then reads everything back: what was acknowledged is there,
nothing is there twice, and each partition holds its records in the order in which they were sent.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "restarts"
PARTITIONS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready", required=True, type=Path)
    parser.add_argument("--stop", required=True, type=Path)
    arguments = parser.parse_args()
    bootstrap = json.loads(arguments.ready.read_text())["kafka"]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(60)

    producer = Producer({
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "max.in.flight.requests.per.connection": 5,
        "linger.ms": 0,
        "batch.num.messages": 20,
        "message.timeout.ms": 120_000,
    })
    acknowledged: dict[int, tuple[int, int]] = {}
    failed: list[str] = []

    def delivered(error, message):
        number = int(message.value())
        if error is None:
            acknowledged[number] = (message.partition(), message.offset())
        else:
            failed.append(f"{number}: {error}")

    sent = 0
    while not arguments.stop.exists():
        for _ in range(20):
            producer.produce(TOPIC, str(sent).encode(), partition=sent % PARTITIONS, on_delivery=delivered)
            sent += 1
        producer.poll(0)
        time.sleep(0.01)
    assert producer.flush(120) == 0, "records were not answered"
    assert not failed, failed[:5]
    assert len(acknowledged) == sent

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "restarts-check", "enable.partition.eof": False})
    for partition in range(PARTITIONS):
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), 60)
        consumer.assign([TopicPartition(TOPIC, partition, low)])
        numbers = []
        deadline = time.monotonic() + 60
        while len(numbers) < high - low:
            assert time.monotonic() < deadline, f"{len(numbers)} of {high - low} records could be read"
            for message in consumer.consume(1000, 1.0):
                if message.error() is None:
                    number = int(message.value())
                    numbers.append(number)
                    place = (partition, message.offset())
                    assert acknowledged[number] == place, f"{number} was acknowledged at {acknowledged[number]} and is at {place}"
        expected = list(range(partition, sent, PARTITIONS))
        assert numbers == expected, f"partition {partition}: lost, doubled or reordered near {next(i for i, (a, b) in enumerate(zip(numbers, expected)) if a != b)}"
    consumer.close()
    print(f"{sent} records, each once and in order")


if __name__ == "__main__":
    sys.exit(main())
