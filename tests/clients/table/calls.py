"""The calls of the Python clients, one row each: `client<TAB>call<TAB>outcome` on standard output.

    python calls.py confluent|kafka-python|aiokafka --bootstrap host:port --run x7

An outcome is `ok`, or the name of the error as the client tells it. A call checks what it got; what it
gets wrong is an outcome too. Names of topics and groups begin with the run's, so that one server can be
asked again and again.
"""

import argparse
import asyncio
import re
import sys
import time

LIMIT = 30


def outcome_of(error: BaseException) -> str:
    """A short name that does not change from run to run."""
    args = getattr(error, "args", ())
    inner = args[0] if args else None
    if hasattr(inner, "name") and callable(inner.name):  # confluent's KafkaError
        return inner.name()
    if isinstance(error, AssertionError):
        return f"wrong: {error}"
    name = type(error).__name__
    code = re.search(r"error_code=(\d+)", str(error))
    return f"{name}({code.group(1)})" if code and name == "KafkaError" else name


def row(client: str, call: str, outcome: str) -> None:
    print(f"{client}\t{call}\t{outcome}", flush=True)


class Calls:
    """Runs calls one after the other; a later one may use what an earlier one made."""

    def __init__(self, client: str):
        self.client = client

    def __call__(self, call: str, function) -> None:
        try:
            result = function()
            row(self.client, call, "ok" if result is None or result is True else f"wrong: {result!r:.80}")
        except Exception as error:  # an outcome, whatever it is
            row(self.client, call, outcome_of(error))


def until(function):
    """Asks again until it says yes; for what takes a moment by its nature, like a group to form."""
    deadline = time.monotonic() + LIMIT
    while not function():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def confluent(bootstrap: str, run: str) -> None:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection, TopicPartition
    from confluent_kafka import ConsumerGroupTopicPartitions, ElectionType, IsolationLevel
    from confluent_kafka.admin import (
        AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType, ConfigEntry,
        ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourcePatternType, ResourceType,
        ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion,
    )

    calls = Calls("confluent")
    topic, group = f"{run}-cfl", f"{run}-cfl-group"
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def one(futures):
        return next(iter(futures.values())).result(LIMIT)

    def all_of(futures):
        return [future.result(LIMIT) for future in futures.values()]

    calls("admin.create_topics", lambda: one(admin.create_topics([NewTopic(topic, 2, 1)])))
    calls("admin.create_topics validate_only", lambda: one(admin.create_topics([NewTopic(f"{topic}-x", 2, 1)], validate_only=True)))
    calls("admin.create_topics again", lambda: one(admin.create_topics([NewTopic(topic, 2, 1)])))
    calls("admin.create_topics bad name", lambda: one(admin.create_topics([NewTopic("no/slash", 1, 1)])))
    calls("admin.create_topics bad config", lambda: one(admin.create_topics([NewTopic(f"{topic}-y", 1, 1, config={"retention.ms": "week"})])))
    # Bytes that follow the null array of topics: KIP-516's Metadata as librdkafka writes it.
    calls("admin.list_topics", lambda: topic in admin.list_topics(timeout=LIMIT).topics)
    calls("admin.list_topics one", lambda: len(admin.list_topics(topic, timeout=LIMIT).topics[topic].partitions) == 2)
    calls("admin.describe_topics", lambda: len(one(admin.describe_topics(TopicCollection([topic]), include_authorized_operations=True)).partitions) == 2)
    calls("admin.describe_topics unknown", lambda: one(admin.describe_topics(TopicCollection([f"{topic}-none"]))))
    calls("admin.describe_cluster", lambda: len(admin.describe_cluster(include_authorized_operations=True, request_timeout=LIMIT).result(LIMIT).nodes) == 1)
    calls("admin.create_partitions", lambda: one(admin.create_partitions([NewPartitions(topic, 3)])))
    calls("admin.create_partitions fewer", lambda: one(admin.create_partitions([NewPartitions(topic, 1)])))
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    calls("admin.describe_configs topic", lambda: one(admin.describe_configs([resource]))["cleanup.policy"].value == "delete")
    broker = lambda: ConfigResource(ConfigResource.Type.BROKER, str(admin.describe_cluster().result(LIMIT).nodes[0].id))
    calls("admin.describe_configs broker", lambda: "log.retention.ms" in one(admin.describe_configs([broker()])))
    incremental = lambda *entries: ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=list(entries))
    entry = lambda name, value, kind: ConfigEntry(name, value, incremental_operation=kind)
    calls("admin.incremental_alter_configs set", lambda: one(admin.incremental_alter_configs([incremental(entry("retention.ms", "60000", AlterConfigOpType.SET))])))
    calls("admin.incremental_alter_configs append", lambda: one(admin.incremental_alter_configs([incremental(entry("cleanup.policy", "compact", AlterConfigOpType.APPEND))])))
    calls("admin.incremental_alter_configs unknown", lambda: one(admin.incremental_alter_configs([incremental(entry("no.such", "1", AlterConfigOpType.SET))])))
    calls("admin.alter_configs", lambda: one(admin.alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, set_config={"retention.ms": "70000"})])))

    def replaced():
        configs = one(admin.describe_configs([resource]))
        assert configs["retention.ms"].value == "70000", configs["retention.ms"]
        assert configs["cleanup.policy"].value == "delete", "what is not named goes back to its default"
    calls("admin.alter_configs replaces all", replaced)

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})

    def produce():
        for n in range(30):
            producer.produce(topic, f"v{n}".encode(), f"k{n}".encode(), partition=n % 3, headers=[("h", b"1")], timestamp=1_700_000_000_000 + n)
        return producer.flush(LIMIT) == 0
    calls("producer.produce", produce)
    calls("producer.list_topics", lambda: topic in producer.list_topics(timeout=LIMIT).topics)
    spec = lambda offset: one(admin.list_offsets({TopicPartition(topic, 0): offset}, isolation_level=IsolationLevel.READ_COMMITTED)).offset
    calls("admin.list_offsets latest", lambda: spec(OffsetSpec.latest()) == 10)
    calls("admin.list_offsets earliest", lambda: spec(OffsetSpec.earliest()) == 0)
    calls("admin.list_offsets max_timestamp", lambda: spec(OffsetSpec.max_timestamp()) == 9)
    calls("admin.list_offsets timestamp", lambda: spec(OffsetSpec.for_timestamp(1_700_000_000_003)) == 1)

    settings = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(settings)
    seen = []

    def read(count):
        until(lambda: seen.extend(m for m in consumer.consume(100, 0.2) if not m.error()) or len(seen) >= count)
    calls("consumer.subscribe pattern", lambda: (consumer.subscribe([f"^{topic}$"]), read(30))[1])
    calls("consumer.assignment", lambda: len(consumer.assignment()) == 3)
    calls("consumer.memberid", lambda: consumer.memberid() is not None and len(consumer.memberid()) > 0)
    calls("consumer.consumer_group_metadata", lambda: consumer.consumer_group_metadata() is not None)
    calls("consumer.list_topics", lambda: topic in consumer.list_topics(timeout=LIMIT).topics)
    calls("consumer.get_watermark_offsets", lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0), LIMIT) == (0, 10))
    calls("consumer.offsets_for_times", lambda: consumer.offsets_for_times([TopicPartition(topic, 0, 1_700_000_000_003)], LIMIT)[0].offset == 1)
    calls("consumer.position", lambda: consumer.position([TopicPartition(topic, 0)])[0].offset == 10)
    calls("consumer.commit", lambda: len(consumer.commit(asynchronous=False)) == 3)
    calls("consumer.commit offsets", lambda: consumer.commit(offsets=[TopicPartition(topic, 1, 4, "note")], asynchronous=False)[0].error is None)
    calls("consumer.committed", lambda: [p.offset for p in consumer.committed([TopicPartition(topic, n) for n in range(3)], LIMIT)] == [10, 4, 10])
    calls("consumer.pause and resume", lambda: (consumer.pause(consumer.assignment()), consumer.resume(consumer.assignment()))[1])

    def seek():
        consumer.seek(TopicPartition(topic, 0, 5))
        until(lambda: any(m.partition() == 0 and m.offset() == 5 for m in consumer.consume(10, 0.2) if not m.error()))
    calls("consumer.seek", seek)
    calls("admin.list_consumer_groups", lambda: group in [g.group_id for g in admin.list_consumer_groups(request_timeout=LIMIT).result(LIMIT).valid])
    calls("admin.list_groups", lambda: group in [g[0] if isinstance(g, tuple) else g.id for g in admin.list_groups(timeout=LIMIT)])
    calls("admin.describe_consumer_groups", lambda: len(one(admin.describe_consumer_groups([group], include_authorized_operations=True)).members) == 1)
    calls("admin.list_consumer_group_offsets", lambda: len(one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])).topic_partitions) == 3)
    calls("admin.delete_consumer_groups active", lambda: one(admin.delete_consumer_groups([group])))
    calls("consumer.unsubscribe", lambda: consumer.unsubscribe())
    calls("consumer.close", lambda: consumer.close())
    moved = lambda: one(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 2)])])).topic_partitions[0].error is None
    calls("admin.alter_consumer_group_offsets", moved)
    calls("admin.delete_consumer_groups", lambda: one(admin.delete_consumer_groups([group])))
    calls("admin.delete_consumer_groups unknown", lambda: one(admin.delete_consumer_groups([f"{group}-none"])))

    assigned = Consumer(dict(settings, **{"group.id": f"{group}-2", "isolation.level": "read_committed", "enable.auto.offset.store": False}))
    got = []
    calls("consumer.assign", lambda: (assigned.assign([TopicPartition(topic, 2, 3)]), until(lambda: got.extend(m for m in assigned.consume(10, 0.2) if not m.error()) or len(got) >= 7))[1])
    calls("consumer.incremental_assign", lambda: assigned.incremental_assign([TopicPartition(topic, 1, 0)]))
    calls("consumer.incremental_unassign", lambda: assigned.incremental_unassign([TopicPartition(topic, 1)]))
    calls("consumer.store_offsets", lambda: assigned.store_offsets(offsets=[TopicPartition(topic, 2, 5)]))
    calls("consumer.unassign", lambda: assigned.unassign())
    assigned.close()

    acl = AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:a", "*", AclOperation.READ, AclPermissionType.ALLOW)
    any_acl = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    calls("admin.create_acls", lambda: one(admin.create_acls([acl])))
    calls("admin.describe_acls", lambda: admin.describe_acls(any_acl).result(LIMIT) is not None)
    calls("admin.delete_acls", lambda: one(admin.delete_acls([any_acl])) and None)
    calls("admin.describe_user_scram_credentials all", lambda: admin.describe_user_scram_credentials().result(LIMIT) is not None)
    calls("admin.describe_user_scram_credentials one", lambda: one(admin.describe_user_scram_credentials(["nobody"])))
    scram = UserScramCredentialUpsertion("somebody", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"secret", b"salt")
    calls("admin.alter_user_scram_credentials", lambda: one(admin.alter_user_scram_credentials([scram])))
    calls("admin.elect_leaders", lambda: admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, 0)]).result(LIMIT) is not None)
    calls("admin.delete_records", lambda: one(admin.delete_records([TopicPartition(topic, 0, 2)])) is not None)
    calls("admin.delete_topics", lambda: one(admin.delete_topics([topic])))
    calls("admin.delete_topics unknown", lambda: one(admin.delete_topics([f"{topic}-none"])))

    def transaction():
        transactional = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{run}-tx"})
        transactional.init_transactions(LIMIT)
        transactional.begin_transaction()
        transactional.abort_transaction(LIMIT)
    calls("producer.init_transactions", transaction)


def kafka_python(bootstrap: str, run: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.admin import (
        ACL, ACLFilter, ACLOperation, ACLPermissionType, ConfigResource, ConfigResourceType, KafkaAdminClient,
        NewPartitions, NewTopic, ResourcePattern, ResourcePatternFilter, ResourceType,
    )
    from kafka.structs import OffsetAndMetadata, TopicPartition

    calls = Calls("kafka-python")
    topic, group = f"{run}-kpy", f"{run}-kpy-group"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    calls("admin.create_topics", lambda: admin.create_topics([NewTopic(topic, 2, 1)]) and None)
    calls("admin.create_topics again", lambda: admin.create_topics([NewTopic(topic, 2, 1)]) and None)
    until(lambda: topic in admin.list_topics())  # Apache Kafka shows it a moment later
    calls("admin.list_topics", lambda: topic in admin.list_topics())
    calls("admin.describe_topics", lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 2)
    calls("admin.describe_topic_partitions", lambda: admin.describe_topic_partitions([topic]) and None)
    calls("admin.describe_cluster", lambda: len(admin.describe_cluster()["brokers"]) == 1)
    calls("admin.api_versions", lambda: admin.api_versions() and None)
    calls("admin.get_broker_version_data", lambda: admin.get_broker_version_data(admin.describe_cluster()["brokers"][0]["broker_id"]) and None)
    calls("admin.describe_features", lambda: admin.describe_features() is not None)
    calls("admin.create_partitions", lambda: admin.create_partitions({topic: NewPartitions(3)}) and None)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "60000"})
    calls("admin.describe_configs", lambda: admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]) and None)
    calls("admin.alter_configs", lambda: admin.alter_configs([resource]) and None)
    calls("admin.reset_configs", lambda: admin.reset_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=["retention.ms"])]) and None)
    calls("admin.list_config_resources", lambda: admin.list_config_resources() is not None)
    calls("admin.describe_log_dirs", lambda: admin.describe_log_dirs() and None)
    calls("admin.describe_metadata_quorum", lambda: admin.describe_metadata_quorum() is not None)
    calls("admin.list_partition_reassignments", lambda: admin.list_partition_reassignments() is not None)

    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)

    def produce():
        for n in range(30):
            producer.send(topic, f"v{n}".encode(), f"k{n}".encode(), partition=n % 3, timestamp_ms=1_700_000_000_000 + n).get(LIMIT)
    calls("producer.send", produce)
    calls("producer.partitions_for", lambda: producer.partitions_for(topic) == {0, 1, 2})
    calls("admin.describe_producers", lambda: admin.describe_producers([TopicPartition(topic, 0)]) and None)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    seen = []
    read = lambda count: until(lambda: [seen.extend(r) for r in consumer.poll(200).values()] and False or len(seen) >= count)
    calls("consumer.subscribe pattern", lambda: (consumer.subscribe(pattern=f"^{topic}$"), read(30))[1])
    calls("consumer.topics", lambda: topic in consumer.topics())
    calls("consumer.partitions_for_topic", lambda: consumer.partitions_for_topic(topic) == {0, 1, 2})
    calls("consumer.beginning_offsets", lambda: consumer.beginning_offsets([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 0})
    calls("consumer.end_offsets", lambda: consumer.end_offsets([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 10})
    calls("consumer.offsets_for_times", lambda: consumer.offsets_for_times({TopicPartition(topic, 0): 1_700_000_000_003})[TopicPartition(topic, 0)].offset == 1)
    calls("consumer.position", lambda: consumer.position(TopicPartition(topic, 0)) == 10)
    calls("consumer.commit", lambda: consumer.commit())
    calls("consumer.commit offsets", lambda: consumer.commit({TopicPartition(topic, 1): OffsetAndMetadata(4, "note", -1)}))
    calls("consumer.committed", lambda: consumer.committed(TopicPartition(topic, 1)) == 4)
    calls("consumer.seek_to_beginning", lambda: consumer.seek_to_beginning())
    calls("admin.list_groups", lambda: group in str(admin.list_groups()))
    calls("admin.describe_groups", lambda: admin.describe_groups([group]) and None)
    calls("admin.list_group_offsets", lambda: len(admin.list_group_offsets(group)) > 0)
    calls("admin.delete_groups active", lambda: admin.delete_groups([group]) and None)
    calls("consumer.close", lambda: consumer.close())
    calls("admin.alter_group_offsets", lambda: admin.alter_group_offsets(group, {TopicPartition(topic, 0): OffsetAndMetadata(2, "", -1)}) is not None)
    calls("admin.delete_group_offsets", lambda: admin.delete_group_offsets(group, [TopicPartition(topic, 0)]) is not None)
    calls("admin.delete_groups", lambda: admin.delete_groups([group]) and None)
    calls("admin.list_transactions", lambda: admin.list_transactions() is not None)
    calls("admin.describe_transactions", lambda: admin.describe_transactions([f"{run}-tx"]) and None)
    acl = ACL("User:a", "*", ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, topic))
    some = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, ResourcePatternFilter(ResourceType.ANY, None, None) if False else ResourcePattern(ResourceType.TOPIC, topic))
    calls("admin.create_acls", lambda: check_acls(admin.create_acls([acl])))
    calls("admin.describe_acls", lambda: check_acls(admin.describe_acls(some)))
    calls("admin.delete_acls", lambda: check_acls(admin.delete_acls([some])))
    calls("admin.describe_user_scram_credentials", lambda: admin.describe_user_scram_credentials() is not None)
    calls("admin.delete_records", lambda: admin.delete_records({TopicPartition(topic, 0): 2}) and None)
    calls("admin.elect_leaders", lambda: admin.elect_leaders(0, [TopicPartition(topic, 0)]) is not None)
    calls("admin.delete_topics", lambda: admin.delete_topics([topic]) and None)
    producer.close()
    admin.close()


def check_acls(result):
    """kafka-python returns what others raise."""
    failed = result.get("failed") if isinstance(result, dict) else None
    if failed:
        raise failed[0][1] if isinstance(failed[0], tuple) else failed[0]
    if isinstance(result, tuple) and result[1] is not None and getattr(result[1], "errno", 0):
        raise result[1]() if isinstance(result[1], type) else result[1]
    if isinstance(result, list) and result and isinstance(result[0], tuple):
        error = result[0][-1]
        if getattr(error, "errno", 0):
            raise error() if isinstance(error, type) else error


async def aiokafka(bootstrap: str, run: str) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
    from aiokafka.structs import OffsetAndMetadata, TopicPartition

    topic, group = f"{run}-aio", f"{run}-aio-group"

    async def calls(call, function):
        try:
            result = function()
            result = await asyncio.wait_for(result, LIMIT) if asyncio.iscoroutine(result) else result
            row("aiokafka", call, "ok" if result is not False else "wrong")
        except Exception as error:  # an outcome, whatever it is
            row("aiokafka", call, outcome_of(error))

    async def holds(coroutine, check):
        result = await coroutine
        assert check(result), f"{result!r:.60}"

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await calls("admin.start", lambda: admin.start())
    await calls("admin.create_topics", lambda: admin.create_topics([NewTopic(topic, 2, 1)]))
    while topic not in await admin.list_topics():  # Apache Kafka shows it a moment later
        await asyncio.sleep(0.05)
    await calls("admin.list_topics", lambda: holds(admin.list_topics(), lambda topics: topic in topics))
    await calls("admin.describe_topics", lambda: holds(admin.describe_topics([topic]), lambda topics: len(topics[0]["partitions"]) == 2))
    await calls("admin.describe_cluster", lambda: holds(admin.describe_cluster(), lambda cluster: len(cluster["brokers"]) == 1))
    await calls("admin.create_partitions", lambda: admin.create_partitions({topic: NewPartitions(3)}))
    await calls("admin.describe_configs", lambda: admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
    await calls("admin.alter_configs", lambda: admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "60000"})]))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await calls("producer.start", lambda: producer.start())

    async def produce():
        for n in range(30):
            await producer.send_and_wait(topic, f"v{n}".encode(), f"k{n}".encode(), partition=n % 3, timestamp_ms=1_700_000_000_000 + n)
    await calls("producer.send_and_wait", produce)
    await calls("producer.partitions_for", lambda: holds(producer.partitions_for(topic), lambda partitions: len(partitions) == 3))
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    await calls("consumer.start", lambda: consumer.start())

    async def read():
        consumer.subscribe(pattern=f"^{topic}$")
        count = 0
        while count < 30:
            count += sum(len(records) for records in (await consumer.getmany(timeout_ms=200)).values())
    await calls("consumer.subscribe pattern", read)
    at = TopicPartition(topic, 0)
    await calls("consumer.topics", lambda: holds(consumer.topics(), lambda topics: topic in topics))
    await calls("consumer.beginning_offsets", lambda: holds(consumer.beginning_offsets([at]), lambda offsets: offsets[at] == 0))
    await calls("consumer.end_offsets", lambda: holds(consumer.end_offsets([at]), lambda offsets: offsets[at] == 10))
    await calls("consumer.offsets_for_times", lambda: holds(consumer.offsets_for_times({at: 1_700_000_000_003}), lambda offsets: offsets[at].offset == 1))
    await calls("consumer.position", lambda: holds(consumer.position(at), lambda offset: offset == 10))
    await calls("consumer.commit", lambda: consumer.commit())
    await calls("consumer.commit offsets", lambda: consumer.commit({TopicPartition(topic, 1): OffsetAndMetadata(4, "note")}))
    await calls("consumer.committed", lambda: holds(consumer.committed(TopicPartition(topic, 1)), lambda offset: offset == 4))
    await calls("consumer.seek_to_beginning", lambda: consumer.seek_to_beginning())
    await calls("consumer.seek_to_committed", lambda: consumer.seek_to_committed())
    await calls("admin.list_consumer_groups", lambda: holds(admin.list_consumer_groups(), lambda groups: any(g[0] == group for g in groups)))
    await calls("admin.describe_consumer_groups", lambda: admin.describe_consumer_groups([group]))
    await calls("admin.list_consumer_group_offsets", lambda: holds(admin.list_consumer_group_offsets(group), lambda offsets: len(offsets) == 3))
    await calls("admin.find_coordinator", lambda: admin.find_coordinator(group))
    await calls("consumer.stop", lambda: consumer.stop())
    await calls("admin.delete_records", lambda: admin.delete_records({at: 2} if False else {at: __import__("aiokafka.admin.records_to_delete", fromlist=["RecordsToDelete"]).RecordsToDelete(before_offset=2)}))
    await calls("admin.delete_topics", lambda: admin.delete_topics([topic]))
    await producer.stop()
    await admin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=["confluent", "kafka-python", "aiokafka"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--run", required=True)
    arguments = parser.parse_args()
    if arguments.client == "aiokafka":
        asyncio.run(aiokafka(arguments.bootstrap, arguments.run))
    else:
        {"confluent": confluent, "kafka-python": kafka_python}[arguments.client](arguments.bootstrap, arguments.run)


if __name__ == "__main__":
    sys.exit(main())
