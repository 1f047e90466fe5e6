"""Every client and every call of it, one row each, held against what is expected.

    python table.py --ready ready.json [client …]         a running Tarn
    python table.py --kafka host:port [client …]          a running Apache Kafka: the reference itself
    python table.py … --record                            writes what was seen into expected.tsv

`expected.tsv` has a line for each call: client, call, outcome of Tarn, and, where Apache Kafka's is another
one, Kafka's and why. Clients are programs that print their rows; `scripts/client-tools` installs them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
EXPECTED = HERE / "expected.tsv"
LIMIT = 300

# Of each client, what its program needs and how it is called.
CLIENTS = {
    "confluent": "python",
    "kafka-python": "python",
    "aiokafka": "python",
    "franz-go": "go",
    "sarama": "go",
    "kafka-go": "go",
    "kafkajs": "js",
    "confluent-js": "js",
    "java": "java",
    "java-tools": "java",
}


def tools(kind: str) -> str:
    """Where the tools of a kind are, installing them first if need be."""
    script = ["scripts/python-env"] if kind == "python" else ["scripts/client-tools", kind]
    return subprocess.run(script, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def command(client: str) -> tuple[list[str], dict[str, str]]:
    kind = CLIENTS[client]
    place = tools(kind)
    if kind == "python":
        return [place, str(HERE / "calls.py"), client], {}
    if kind == "go":
        return [f"{place}/calls", client], {}
    if kind == "js":
        return ["node", str(HERE / "js/calls.js"), client], {"NODE_PATH": f"{place}/node_modules"}
    java = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", f"{place}/*"]
    return [*java, str(HERE / "java/Calls.java"), client], {}


def rows_of(client: str, bootstrap: str, run: str) -> dict[str, str]:
    """Runs a client's program. A call that a program does not come to is missing, which is a difference."""
    argv, environment = command(client)
    argv += ["--bootstrap", bootstrap, "--run", run]
    try:
        done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=LIMIT)
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        output, errors = (late.stdout or b"").decode(), f"{client} did not end in {LIMIT} s"
    rows = {}
    for line in output.splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and parts[0] == client:
            rows[parts[1]] = parts[2]
    if not rows:
        sys.exit(f"{client} says nothing:\n{errors[-2000:]}")
    return rows


def expected_rows() -> dict[tuple[str, str], list[str]]:
    """By client and call: the outcome of Tarn, of Kafka, and why they differ."""
    rows = {}
    if EXPECTED.exists():
        for line in EXPECTED.read_text().splitlines():
            if line and not line.startswith("#"):
                client, call, *outcome = line.split("\t")
                outcome += [""] * (3 - len(outcome))
                rows[client, call] = [outcome[0], outcome[1] or outcome[0], outcome[2]]
    return rows


def record(expected: dict, seen: dict, column: int) -> None:
    for key, outcome in seen.items():
        expected.setdefault(key, ["", "", ""])[column] = outcome
    lines = ["# client, call, outcome; Apache Kafka's outcome and why, where it is another one"]
    order = list(CLIENTS)
    for (client, call), (tarn, kafka, why) in sorted(expected.items(), key=lambda item: order.index(item[0][0])):
        cells = [client, call, tarn] if tarn == kafka or not kafka else [client, call, tarn, kafka, why]
        lines.append("\t".join(cells).rstrip("\t"))
    EXPECTED.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", metavar="client", help=", ".join(CLIENTS))
    parser.add_argument("--ready", type=Path)
    parser.add_argument("--kafka")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    bootstrap = arguments.kafka or json.loads(arguments.ready.read_text())["kafka"]
    column = 1 if arguments.kafka else 0
    expected = expected_rows()
    seen = {}
    run = f"t{time.time_ns() // 1_000_000 % 10_000_000}"
    clients = arguments.clients or list(CLIENTS)
    for client in clients:
        for call, outcome in rows_of(client, bootstrap, run).items():
            seen[client, call] = outcome
    if arguments.record:
        record(expected, seen, column)
        return
    wanted = {key: outcomes[column] for key, outcomes in expected.items() if key[0] in clients}
    different = 0
    for key in dict.fromkeys([*wanted, *seen]):
        got, want = seen.get(key, "missing"), wanted.get(key, "no line in expected.tsv")
        verdict = "" if got == want else f"  <-- expected {want}"
        different += got != want
        print(f"{key[0]:13} {key[1]:46} {got}{verdict}")
    print(f"{len(seen)} calls of {len(clients)} clients, {different} not as expected")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
