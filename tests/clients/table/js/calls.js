// The calls of KafkaJS and of Confluent's JavaScript client, one row each: `client<TAB>call<TAB>outcome`.
//
//   node calls.js kafkajs|confluent-js --bootstrap host:port --run x7
//
// An outcome is `ok`, or the type of the error as the client tells it; what a call gets wrong is one too.
// Both clients have KafkaJS's interface, so that most calls are written once.

'use strict';

const [client, ...rest] = process.argv.slice(2);
const option = (name) => rest[rest.indexOf(name) + 1];
const bootstrap = option('--bootstrap');
const run = option('--run');
const LIMIT = 30000;

const row = (call, outcome) => console.log(`${client}\t${call}\t${outcome}`);

function outcomeOf(error) {
  const inner = error.errors ? error.errors[0] : error;
  return String(inner.type || inner.code || inner.name).slice(0, 60);
}

async function call(name, action) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('late'), { type: 'TIMED_OUT' })), LIMIT);
  });
  try {
    const result = await Promise.race([action(), late]);
    row(name, result === false ? 'wrong' : 'ok');
  } catch (error) {
    row(name, outcomeOf(error));
  } finally {
    clearTimeout(timer);
  }
}

async function until(check) {
  const deadline = Date.now() + LIMIT;
  while (!(await check())) {
    if (Date.now() > deadline) throw Object.assign(new Error('late'), { type: 'TIMED_OUT' });
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const base = 1700000000000;
const messages = [...Array(30).keys()].map((n) => ({
  key: `k${n}`, value: `v${n}`, partition: n % 3, timestamp: String(base + n), headers: { h: '1' },
}));

async function kafkajs() {
  const { Kafka, logLevel, ConfigResourceTypes, AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes } = require('kafkajs');
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 5 } });
  const topic = `${run}-kjs`;
  const group = `${topic}-group`;
  const admin = kafka.admin();
  await call('admin.connect', () => admin.connect());
  await call('admin.createTopics', () => admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true }));
  await call('admin.createTopics again', async () => (await admin.createTopics({ topics: [{ topic }] })) === false);
  await until(async () => (await admin.listTopics()).includes(topic));
  await call('admin.listTopics', async () => (await admin.listTopics()).includes(topic));
  await call('admin.createPartitions', () => admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }));
  await until(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3);
  await call('admin.fetchTopicMetadata', async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3);
  await call('admin.describeCluster', async () => (await admin.describeCluster()).brokers.length === 1);
  await call('admin.describeConfigs', () => admin.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] }));
  await call('admin.alterConfigs', () => admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '60000' }] }] }));
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await call('producer.connect', () => producer.connect());
  await call('producer.send', () => producer.send({ topic, messages }));
  await call('producer.sendBatch', () => producer.sendBatch({ topicMessages: [{ topic, messages: messages.slice(0, 3) }] }));
  await call('admin.fetchTopicOffsets', async () => (await admin.fetchTopicOffsets(topic)).every((p) => p.high === '11'));
  await call('admin.fetchTopicOffsetsByTimestamp', async () => (await admin.fetchTopicOffsetsByTimestamp(topic, base + 3)).some((p) => p.partition === 0 && p.offset === '1'));
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000, retry: { retries: 5 } });
  const seen = [];
  await call('consumer.connect', () => consumer.connect());
  await call('consumer.subscribe pattern', () => consumer.subscribe({ topics: [new RegExp(`^${topic}$`)], fromBeginning: true }));
  await call('consumer.run', async () => {
    await consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => { seen.push([partition, message.offset]); } });
    await until(() => seen.length >= 33);
  });
  await call('consumer.commitOffsets', () => consumer.commitOffsets([{ topic, partition: 1, offset: '4', metadata: 'note' }]));
  await call('consumer.pause and resume', () => { consumer.pause([{ topic }]); consumer.resume([{ topic }]); });
  await call('consumer.seek', async () => {
    const before = seen.length;
    consumer.seek({ topic, partition: 0, offset: '5' });
    await until(() => seen.slice(before).some(([partition, offset]) => partition === 0 && offset === '5'));
  });
  await call('consumer.describeGroup', async () => (await consumer.describeGroup()).members.length === 1);
  await call('admin.listGroups', async () => (await admin.listGroups()).groups.some((g) => g.groupId === group));
  await call('admin.describeGroups', async () => (await admin.describeGroups([group])).groups[0].state === 'Stable');
  await call('admin.fetchOffsets', async () => (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions.some((p) => p.partition === 1 && p.offset === '4'));
  await call('admin.deleteGroups active', () => admin.deleteGroups([group]));
  await call('consumer.stop', () => consumer.stop());
  await call('consumer.disconnect', () => consumer.disconnect());
  await call('admin.setOffsets', () => admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '2' }] }));
  // After OFFSET_OUT_OF_RANGE it commits −2, "the earliest", before it goes on.
  await call('consumer.run out of range', async () => {
    await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '999' }] });
    const lost = kafka.consumer({ groupId: group, sessionTimeout: 10000, retry: { retries: 2 } });
    let count = 0;
    await lost.connect();
    await lost.subscribe({ topics: [topic], fromBeginning: true });
    await lost.run({ eachMessage: async ({ partition }) => { count += partition === 0 ? 1 : 0; } });
    await until(() => count >= 11);
    await lost.disconnect();
  });
  await call('admin.resetOffsets', () => admin.resetOffsets({ groupId: group, topic, earliest: true }));
  await call('admin.deleteGroups', () => admin.deleteGroups([group]));
  await call('admin.listPartitionReassignments', async () => (await admin.listPartitionReassignments({})).topics.length === 0);
  const acl = { resourceType: AclResourceTypes.TOPIC, resourceName: topic, resourcePatternType: ResourcePatternTypes.LITERAL, principal: 'User:a', host: '*', operation: AclOperationTypes.READ, permissionType: AclPermissionTypes.ALLOW };
  await call('admin.createAcls', () => admin.createAcls({ acl: [acl] }));
  await call('admin.describeAcls', () => admin.describeAcls(acl));
  await call('admin.deleteAcls', () => admin.deleteAcls({ filters: [acl] }));
  await call('admin.deleteTopicRecords', () => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '2' }] }));
  await call('producer.transaction', async () => {
    const transactional = kafka.producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: `${run}-kjs-tx`, retry: { retries: 1 } });
    await transactional.connect();
    const transaction = await transactional.transaction();
    await transaction.abort();
    await transactional.disconnect();
  });
  await call('admin.deleteTopics', () => admin.deleteTopics({ topics: [topic] }));
  await producer.disconnect();
  await admin.disconnect();
}

async function confluent() {
  const { KafkaJS, RdKafka, IsolationLevel, OffsetSpec } = require('@confluentinc/kafka-javascript');
  const { Kafka, logLevel } = KafkaJS;
  const kafka = new Kafka({ kafkaJS: { brokers: [bootstrap], logLevel: logLevel.NOTHING } });
  const topic = `${run}-cjs`;
  const group = `${topic}-group`;
  const admin = kafka.admin();
  await call('admin.connect', () => admin.connect());
  await call('admin.createTopics', () => admin.createTopics({ topics: [{ topic, numPartitions: 3 }] }));
  await until(async () => (await admin.listTopics()).includes(topic));
  await call('admin.listTopics', async () => (await admin.listTopics()).includes(topic));
  await call('admin.fetchTopicMetadata', async () => {
    const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
    return (metadata.topics || metadata)[0].partitions.length === 3;
  });
  const producer = kafka.producer({ kafkaJS: { idempotent: true } });
  await call('producer.connect', () => producer.connect());
  await call('producer.send', () => producer.send({ topic, messages }));
  await call('producer.flush', () => producer.flush({ timeout: LIMIT }));
  await call('admin.fetchTopicOffsets', async () => (await admin.fetchTopicOffsets(topic)).every((p) => p.high === '10'));
  await call('admin.fetchTopicOffsetsByTimestamp', async () => (await admin.fetchTopicOffsetsByTimestamp(topic, base + 3)).some((p) => p.partition === 0 && p.offset === '1'));
  const consumer = kafka.consumer({ kafkaJS: { groupId: group, fromBeginning: true, autoCommit: false } });
  const seen = [];
  await call('consumer.connect', () => consumer.connect());
  await call('consumer.subscribe pattern', () => consumer.subscribe({ topics: [new RegExp(`^${topic}$`)] }));
  await call('consumer.run', async () => {
    await consumer.run({ eachMessage: async ({ partition, message }) => { seen.push([partition, message.offset]); } });
    await until(() => seen.length >= 30);
  });
  await call('consumer.assignment', () => consumer.assignment().length === 3);
  await call('consumer.commitOffsets', () => consumer.commitOffsets([{ topic, partition: 1, offset: '4' }]));
  await call('consumer.committed', async () => (await consumer.committed(null, LIMIT)).some((p) => p.partition === 1 && p.offset === '4'));
  await call('admin.listGroups', async () => (await admin.listGroups()).groups.some((g) => g.groupId === group));
  await call('admin.describeGroups', async () => (await admin.describeGroups([group])).groups[0].members.length === 1);
  await call('admin.fetchOffsets', async () => (await admin.fetchOffsets({ groupId: group, topics: [{ topic, partitions: [0, 1, 2] }] }))[0].partitions.some((p) => p.offset === '4'));
  await call('admin.deleteGroups active', () => admin.deleteGroups([group]));
  await call('consumer.disconnect', () => consumer.disconnect());
  await call('admin.deleteGroups', () => admin.deleteGroups([group]));
  await call('admin.deleteTopicRecords', () => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '2' }] }));
  await call('admin.deleteTopics', () => admin.deleteTopics({ topics: [topic] }));
  await producer.disconnect();
  await admin.disconnect();
}

(client === 'kafkajs' ? kafkajs() : confluent()).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
