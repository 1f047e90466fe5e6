"""Produces records with confluent-kafka (librdkafka) and its defaults, acks=all.

    python confluent_produce.py BOOTSTRAP TOPIC RECORDS SIZE

Prints, as JSON, the seconds from the first record to the last acknowledgement, and its own CPU seconds.
"""

import json
import sys
import time

from confluent_kafka import Producer

bootstrap, topic, records, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
failures = []
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "delivery.report.only.error": True,
        "error_cb": lambda error: print(error, file=sys.stderr),
    }
)


def note(error, message):
    if error is not None:
        failures.append(str(error))


# As `tarn bench produce` does it: one value, again and again.
value = (b'{"id":1234567890,"page":"/item/17"}' * (size // 35 + 1))[:size]
started = time.perf_counter()
for _ in range(records):
    while True:
        try:
            producer.produce(topic, value, on_delivery=note)
            break
        except BufferError:
            producer.poll(0.01)
left = producer.flush(120)
seconds = time.perf_counter() - started
if left or failures:
    sys.exit(f"{left} records without an answer, {len(failures)} refused: {failures[:1]}")
print(json.dumps({"seconds": seconds, "cpu": time.process_time()}))
