// The calls of Apache Kafka's own client and tools, one row each: client, call and outcome.
//
//   java -cp 'jars/*' Calls.java java|java-tools --bootstrap host:port --run x7
//
// An outcome is "ok", or the error's class; of a tool, "exit N" where it says that it failed.

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.Exit;

public class Calls {
    static final PrintStream OUT = System.out;
    static final long BASE = 1_700_000_000_000L;
    static String client;
    static String bootstrap;
    static String run;

    static void call(String name, Callable<?> action) {
        String outcome;
        try {
            Object result = action.call();
            outcome = Boolean.FALSE.equals(result) ? "wrong" : result instanceof String ? (String) result : "ok";
        } catch (ExecutionException | KafkaException error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            outcome = cause.getClass().getSimpleName();
        } catch (Throwable error) {
            outcome = error.getClass().getSimpleName();
        }
        OUT.println(client + "\t" + name + "\t" + outcome);
        OUT.flush();
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    public static void main(String[] args) throws Exception {
        client = args[0];
        List<String> options = Arrays.asList(args);
        bootstrap = options.get(options.indexOf("--bootstrap") + 1);
        run = options.get(options.indexOf("--run") + 1);
        if (client.equals("java")) {
            api();
        } else {
            tools();
        }
        OUT.flush();
        Runtime.getRuntime().halt(0);
    }

    static Properties properties(Object... pairs) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) {
            properties.put(pairs[i], pairs[i + 1]);
        }
        return properties;
    }

    static void waitFor(Callable<Boolean> check) throws Exception {
        long deadline = System.currentTimeMillis() + 30_000;
        while (true) {
            try {
                if (check.call()) {
                    return;
                }
            } catch (ExecutionException error) {
                // not yet
            }
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("timed out");
            }
            Thread.sleep(50);
        }
    }

    static void api() throws Exception {
        String topic = run + "-java";
        String group = topic + "-group";
        TopicPartition first = new TopicPartition(topic, 0);
        Admin admin = Admin.create(properties("default.api.timeout.ms", "20000", "request.timeout.ms", "15000"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        call("admin.createTopics", () -> get(admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all()));
        call("admin.createTopics again", () -> get(admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all()));
        waitFor(() -> get(admin.listTopics().names()).contains(topic));
        call("admin.listTopics", () -> get(admin.listTopics().names()).contains(topic));
        call("admin.createPartitions", () -> get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all()));
        waitFor(() -> get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3);
        call("admin.describeTopics", () -> get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3);
        call("admin.describeTopics id", () -> {
            Uuid id = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId();
            return get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id).name().equals(topic);
        });
        call("admin.describeTopics unknown", () -> get(admin.describeTopics(List.of(topic + "-none")).allTopicNames()));
        call("admin.describeCluster", () -> get(admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true)).nodes()).size() == 1);
        String node = get(admin.describeCluster().nodes()).iterator().next().idString();
        call("admin.describeConfigs topic", () -> get(admin.describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms") != null);
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node);
        call("admin.describeConfigs broker", () -> get(admin.describeConfigs(List.of(broker)).all()).get(broker).get("log.retention.ms") != null);
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry("retention.ms", "60000"), AlterConfigOp.OpType.SET);
        call("admin.incrementalAlterConfigs", () -> get(admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all()));
        call("admin.listConfigResources", () -> get(admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all()).contains(resource));
        call("admin.describeLogDirs", () -> get(admin.describeLogDirs(List.of(Integer.valueOf(node))).allDescriptions()).size() == 1);
        call("admin.describeFeatures", () -> get(admin.describeFeatures().featureMetadata()));
        call("admin.describeMetadataQuorum", () -> get(admin.describeMetadataQuorum().quorumInfo()).voters().size() == 1);
        call("admin.listPartitionReassignments", () -> get(admin.listPartitionReassignments().reassignments()).isEmpty());

        Producer<String, String> producer = new KafkaProducer<>(properties(), new StringSerializer(), new StringSerializer());
        call("producer.send", () -> {
            for (int n = 0; n < 30; n++) {
                producer.send(new ProducerRecord<>(topic, n % 3, BASE + n, "k" + n, "v" + n)).get(30, TimeUnit.SECONDS);
            }
            return true;
        });
        call("producer.partitionsFor", () -> producer.partitionsFor(topic).size() == 3);
        call("admin.describeProducers", () -> get(admin.describeProducers(List.of(first)).all()).get(first).activeProducers().size() == 1);
        call("admin.listOffsets latest", () -> offset(admin, first, OffsetSpec.latest()) == 10);
        call("admin.listOffsets earliest", () -> offset(admin, first, OffsetSpec.earliest()) == 0);
        call("admin.listOffsets maxTimestamp", () -> offset(admin, first, OffsetSpec.maxTimestamp()) == 9);
        call("admin.listOffsets timestamp", () -> offset(admin, first, OffsetSpec.forTimestamp(BASE + 3)) == 1);

        Consumer<String, String> consumer = new KafkaConsumer<>(
            properties("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", "false"),
            new StringDeserializer(), new StringDeserializer());
        call("consumer.subscribe pattern", () -> {
            consumer.subscribe(Pattern.compile("^" + topic + "$"));
            int seen = 0;
            long deadline = System.currentTimeMillis() + 30_000;
            while (seen < 30 && System.currentTimeMillis() < deadline) {
                seen += consumer.poll(Duration.ofMillis(200)).count();
            }
            return seen == 30;
        });
        call("consumer.listTopics", () -> consumer.listTopics().containsKey(topic));
        call("consumer.partitionsFor", () -> consumer.partitionsFor(topic).size() == 3);
        call("consumer.beginningOffsets", () -> consumer.beginningOffsets(List.of(first)).get(first) == 0);
        call("consumer.endOffsets", () -> consumer.endOffsets(List.of(first)).get(first) == 10);
        call("consumer.offsetsForTimes", () -> consumer.offsetsForTimes(Map.of(first, BASE + 3)).get(first).offset() == 1);
        call("consumer.position", () -> consumer.position(first) == 10);
        call("consumer.commitSync", () -> { consumer.commitSync(); return true; });
        call("consumer.commitSync offsets", () -> { consumer.commitSync(Map.of(first, new OffsetAndMetadata(4, "note"))); return true; });
        call("consumer.committed", () -> consumer.committed(Set.of(first)).get(first).metadata().equals("note"));
        call("consumer.groupMetadata", () -> consumer.groupMetadata().generationId() > 0);
        call("consumer.seekToBeginning", () -> { consumer.seekToBeginning(List.of(first)); return consumer.position(first) == 0; });
        call("admin.listGroups", () -> get(admin.listGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)));
        call("admin.listConsumerGroups", () -> get(admin.listConsumerGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)));
        call("admin.describeConsumerGroups", () -> get(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().size() == 1);
        call("admin.describeClassicGroups", () -> get(admin.describeClassicGroups(List.of(group)).all()).get(group).members().size() == 1);
        call("admin.listConsumerGroupOffsets", () -> get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).size() == 3);
        call("admin.deleteConsumerGroupOffsets active", () -> get(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all()));
        call("admin.deleteConsumerGroups active", () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
        call("admin.removeMembersFromConsumerGroup", () -> get(admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all()));
        call("consumer.close", () -> { consumer.close(); return true; });
        call("admin.alterConsumerGroupOffsets", () -> get(admin.alterConsumerGroupOffsets(group, Map.of(first, new OffsetAndMetadata(2))).all()));
        call("admin.deleteConsumerGroupOffsets", () -> get(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all()));
        call("admin.deleteConsumerGroups", () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
        call("consumer.subscribe KIP-848", () -> {
            Consumer<String, String> next = new KafkaConsumer<>(
                properties("group.id", group + "-848", "group.protocol", "consumer", "auto.offset.reset", "earliest"),
                new StringDeserializer(), new StringDeserializer());
            try (next) {
                next.subscribe(List.of(topic));
                int seen = 0;
                long deadline = System.currentTimeMillis() + 20_000;
                while (seen < 30 && System.currentTimeMillis() < deadline) {
                    seen += next.poll(Duration.ofMillis(200)).count();
                }
                return seen == 30;
            }
        });
        AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
            new AccessControlEntry("User:a", "*", AclOperation.READ, AclPermissionType.ALLOW));
        call("admin.createAcls", () -> get(admin.createAcls(List.of(acl)).all()));
        call("admin.describeAcls", () -> get(admin.describeAcls(AclBindingFilter.ANY).values()));
        call("admin.deleteAcls", () -> get(admin.deleteAcls(List.of(acl.toFilter())).all()));
        call("admin.describeUserScramCredentials", () -> get(admin.describeUserScramCredentials().all()));
        call("admin.describeClientQuotas", () -> get(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).isEmpty());
        ClientQuotaAlteration quota = new ClientQuotaAlteration(new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, run)),
            List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e9)));
        call("admin.alterClientQuotas", () -> get(admin.alterClientQuotas(List.of(quota)).all()));
        ClientQuotaAlteration none = new ClientQuotaAlteration(quota.entity(), List.of(new ClientQuotaAlteration.Op("producer_byte_rate", null)));
        call("admin.alterClientQuotas remove", () -> get(admin.alterClientQuotas(List.of(none)).all()));
        call("admin.listTransactions", () -> get(admin.listTransactions().all()));
        call("admin.electLeaders", () -> get(admin.electLeaders(ElectionType.PREFERRED, Set.of(first)).partitions()));
        call("admin.deleteRecords", () -> get(admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(2))).all()));
        call("producer.initTransactions", () -> {
            try (Producer<String, String> transactional = new KafkaProducer<>(
                properties("transactional.id", run + "-java-tx", "max.block.ms", "10000"), new StringSerializer(), new StringSerializer())) {
                transactional.initTransactions();
                transactional.beginTransaction();
                transactional.abortTransaction();
            }
            return true;
        });
        call("admin.deleteTopics", () -> get(admin.deleteTopics(List.of(topic)).all()));
        call("admin.deleteTopics unknown", () -> get(admin.deleteTopics(List.of(topic + "-none")).all()));
        producer.close();
        admin.close();
    }

    static long offset(Admin admin, TopicPartition at, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(at, spec)).all()).get(at).offset();
    }

    /** Ends a tool where it would end the process. */
    static class Ended extends RuntimeException {
        Ended(int code) {
            super("exit " + code);
        }
    }

    /** Of the present tool: what it says first counts, since some catch what ends them and end again. */
    static Integer exit;

    static void ended(int code) {
        if (exit == null) {
            exit = code;
        }
        throw new Ended(code);
    }

    interface Main {
        void run(String[] arguments) throws Throwable;
    }

    static void tool(String name, Main main, String expected, String... arguments) {
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", bootstrap));
        all.addAll(List.of(arguments));
        bare(name, main, expected, all.toArray(new String[0]));
    }

    static void bare(String name, Main main, String expected, String... arguments) {
        call(name, () -> {
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            PrintStream stream = new PrintStream(said, true);
            PrintStream errors = System.err;
            System.setOut(stream);
            System.setErr(stream);
            exit = null;
            try {
                main.run(arguments);
            } catch (Throwable error) {
                if (exit == null) {
                    return error.getClass().getSimpleName();
                }
            } finally {
                System.setOut(OUT);
                System.setErr(errors);
            }
            if (exit != null && exit != 0) {
                return "exit " + exit;
            }
            return said.toString().contains(expected) ? "ok" : "wrong";
        });
    }

    static void tools() throws Exception {
        Exit.setExitProcedure((code, message) -> ended(code));
        Exit.setHaltProcedure((code, message) -> ended(code));
        String topic = run + "-tool";
        String group = topic + "-group";
        Main topics = org.apache.kafka.tools.TopicCommand::main;
        Main groups = org.apache.kafka.tools.consumer.group.ConsumerGroupCommand::main;
        Main configs = kafka.admin.ConfigCommand::main;
        tool("kafka-topics --create", topics, "Created topic", "--create", "--topic", topic, "--partitions", "2", "--replication-factor", "1");
        tool("kafka-topics --list", topics, topic, "--list");
        tool("kafka-topics --describe", topics, "PartitionCount: 2", "--describe", "--topic", topic);
        tool("kafka-topics --alter", topics, "", "--alter", "--topic", topic, "--partitions", "3");
        tool("kafka-configs --describe topic", configs, "retention.ms", "--describe", "--all", "--entity-type", "topics", "--entity-name", topic);
        tool("kafka-configs --alter topic", configs, "Completed", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=60000");
        tool("kafka-configs --describe brokers", configs, "", "--describe", "--entity-type", "brokers");
        tool("kafka-configs --describe users", configs, "", "--describe", "--entity-type", "users");
        bare("kafka-producer-perf-test", org.apache.kafka.tools.ProducerPerformance::main, "1000 records sent", "--topic", topic, "--num-records", "1000",
            "--record-size", "100", "--throughput", "-1", "--command-property", "bootstrap.servers=" + bootstrap);
        tool("kafka-get-offsets", org.apache.kafka.tools.GetOffsetShell::main, topic + ":0:", "--topic", topic);
        tool("kafka-consumer-perf-test", org.apache.kafka.tools.ConsumerPerformance::main, "", "--topic", topic, "--num-records", "1000", "--group", group);
        tool("kafka-consumer-groups --list", groups, group, "--list");
        tool("kafka-consumer-groups --describe", groups, topic, "--describe", "--group", group);
        tool("kafka-consumer-groups --describe --state", groups, "Empty", "--describe", "--group", group, "--state");
        tool("kafka-consumer-groups --reset-offsets", groups, topic, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute");
        tool("kafka-consumer-groups --delete-offsets", groups, "", "--delete-offsets", "--group", group, "--topic", topic);
        tool("kafka-consumer-groups --delete", groups, "successful", "--delete", "--group", group);
        tool("kafka-groups --list", org.apache.kafka.tools.GroupsCommand::main, "", "--list");
        tool("kafka-console-consumer", org.apache.kafka.tools.consumer.ConsoleConsumer::main, "", "--topic", topic, "--from-beginning", "--max-messages", "10", "--timeout-ms", "20000");
        tool("kafka-log-dirs", org.apache.kafka.tools.LogDirsCommand::main, topic, "--describe", "--topic-list", topic);
        tool("kafka-broker-api-versions", org.apache.kafka.tools.BrokerApiVersionsCommand::main, "Produce(0)");
        tool("kafka-cluster cluster-id", arguments -> org.apache.kafka.tools.ClusterTool.main(new String[] {"cluster-id", "--bootstrap-server", bootstrap}), "Cluster ID");
        tool("kafka-metadata-quorum describe --status", arguments -> org.apache.kafka.tools.MetadataQuorumCommand.main(
            new String[] {"--bootstrap-server", bootstrap, "describe", "--status"}), "LeaderId");
        tool("kafka-features describe", arguments -> org.apache.kafka.tools.FeatureCommand.main(new String[] {"--bootstrap-server", bootstrap, "describe"}), "");
        tool("kafka-reassign-partitions --list", org.apache.kafka.tools.reassign.ReassignPartitionsCommand::main, "No partition reassignments found", "--list");
        tool("kafka-transactions list", arguments -> org.apache.kafka.tools.TransactionsCommand.main(new String[] {"--bootstrap-server", bootstrap, "list"}), "");
        tool("kafka-acls --list", org.apache.kafka.tools.AclCommand::main, "", "--list");
        tool("kafka-leader-election", org.apache.kafka.tools.LeaderElectionCommand::main, "", "--election-type", "preferred", "--topic", topic, "--partition", "0");
        tool("kafka-topics --delete", topics, "", "--delete", "--topic", topic);
    }
}
