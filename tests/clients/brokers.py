"""Who serves, as a client is told: brokers, controller, and the coordinator of a group."""

import argparse
import json
import sys
from pathlib import Path

from confluent_kafka.admin import AdminClient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready", required=True, type=Path)
    bootstrap = json.loads(parser.parse_args().ready.read_text())["kafka"]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # At once: a process that says that it is ready has somebody to name.
    metadata = admin.list_topics(timeout=30)
    described = admin.describe_cluster(request_timeout=30).result()
    group = admin.describe_consumer_groups(["nobody"], request_timeout=30)["nobody"].result()
    print(json.dumps({
        "brokers": [{"id": broker.id, "address": f"{broker.host}:{broker.port}"} for broker in metadata.brokers.values()],
        "controller": described.controller.id,
        "coordinator": group.coordinator.id,
    }))


if __name__ == "__main__":
    sys.exit(main())
