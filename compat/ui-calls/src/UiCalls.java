import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeConsumerGroupsOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ClusterAuthorizationException;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.quota.ClientQuotaFilter;

/** The administration that user interfaces ask for when they start, and the pages they then draw. */
public final class UiCalls {
    private static final String TOPIC = "orders";
    private static final String GROUP = "billing";
    private static final TopicPartition FIRST = new TopicPartition(TOPIC, 0);

    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Clients.properties())) {
            prepare(admin);
            Features.check("kafka-ui: cluster on start", () -> kafkaUiCluster(admin));
            Features.check("kafka-ui: what it may use (features, ACLs, quotas, SCRAM)", () -> optional(admin));
            Features.check("kafka-ui: brokers", () -> brokers(admin));
            Features.check("kafka-ui: topics", () -> topics(admin));
            Features.check("kafka-ui: consumer groups", () -> groups(admin));
            Features.check("AKHQ: topics with offsets and sizes", () -> akhqTopics(admin));
            Features.check("AKHQ: groups with lag", () -> akhqGroups(admin));
            Features.check("AKHQ: newest records of a topic", UiCalls::akhqRecords);
            Features.check("Redpanda Console: overview", () -> console(admin));
            Features.check("Redpanda Console: reassignments and producers", () -> consoleState(admin));
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void prepare(Admin admin) throws Exception {
        admin.createTopics(List.of(new NewTopic(TOPIC, 3, (short) 1))).all().get();
        Clients.produce(TOPIC, 0, 100);
        admin.alterConsumerGroupOffsets(GROUP, Map.of(FIRST, new OffsetAndMetadata(40))).all().get();
    }

    private static void kafkaUiCluster(Admin admin) throws Exception {
        DescribeClusterResult found =
                admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
        Features.equal(found.nodes().get().size(), 1, "nodes");
        Features.isTrue(found.controller().get() != null, "there is a controller");
        Features.isTrue(!found.clusterId().get().isEmpty(), "there is an id");
        found.authorizedOperations().get(); // null where no authorizer is set, as in Kafka
    }

    /** These UIs take exactly these exceptions for "the cluster has no such thing", and fail on any other. */
    private static void absentOr(KafkaFuture<?> answer) throws Exception {
        try {
            answer.get();
        } catch (java.util.concurrent.ExecutionException error) {
            Throwable cause = error.getCause();
            Features.isTrue(
                    cause instanceof SecurityDisabledException
                            || cause instanceof UnsupportedVersionException
                            || cause instanceof InvalidRequestException
                            || cause instanceof ClusterAuthorizationException,
                    "a UI understands " + cause);
        }
    }

    private static void optional(Admin admin) throws Exception {
        Features.isTrue(!admin.describeFeatures().featureMetadata().get().supportedFeatures().isEmpty(), "features");
        absentOr(admin.describeAcls(AclBindingFilter.ANY).values());
        absentOr(admin.describeClientQuotas(ClientQuotaFilter.all()).entities());
        absentOr(admin.describeUserScramCredentials().all());
        absentOr(admin.describeMetadataQuorum().quorumInfo());
        absentOr(admin.describeDelegationToken().delegationTokens());
    }

    private static int broker(Admin admin) throws Exception {
        return admin.describeCluster().controller().get().id();
    }

    private static Map<ConfigResource, Config> configs(Admin admin, ConfigResource.Type type, Collection<String> names)
            throws Exception {
        List<ConfigResource> resources =
                names.stream().map(name -> new ConfigResource(type, name)).collect(Collectors.toList());
        DescribeConfigsOptions options =
                new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        return admin.describeConfigs(resources, options).all().get();
    }

    private static void brokers(Admin admin) throws Exception {
        int id = broker(admin);
        Config config = configs(admin, ConfigResource.Type.BROKER, List.of(String.valueOf(id)))
                .values().iterator().next();
        Features.isTrue(config.entries().size() > 30, "settings: " + config.entries().size());
        config.entries().forEach(entry -> Features.isTrue(
                entry.documentation() != null && entry.type() != null, "type and documentation of " + entry.name()));
        // kafka-ui reads the version of the cluster from here where there is no metadata.version
        Features.isTrue(
                config.get("inter.broker.protocol.version") != null
                        || admin.describeFeatures().featureMetadata().get().finalizedFeatures()
                                .containsKey("metadata.version"),
                "the version of the cluster can be told");
        var dirs = admin.describeLogDirs(List.of(id)).allDescriptions().get().get(id);
        Features.equal(dirs.size(), 1, "folders");
        Features.isTrue(dirs.values().iterator().next().replicaInfos().get(FIRST).size() > 0, "size of a partition");
    }

    private static Map<String, TopicDescription> described(Admin admin) throws Exception {
        Set<String> names = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
        return admin.describeTopics(names).allTopicNames().get();
    }

    private static void topics(Admin admin) throws Exception {
        Map<String, TopicDescription> found = described(admin);
        Features.equal(found.get(TOPIC).partitions().size(), 3, "partitions");
        Map<ConfigResource, Config> settings = configs(admin, ConfigResource.Type.TOPIC, found.keySet());
        Features.equal(settings.size(), found.size(), "topics with settings");
        settings.values().forEach(config -> Features.isTrue(config.get("cleanup.policy") != null, "a policy"));
        Features.equal(offsets(admin, OffsetSpec.earliest()).get(FIRST), 0L, "earliest");
        Features.equal(offsets(admin, OffsetSpec.latest()).get(FIRST), 100L, "latest");
    }

    private static Map<TopicPartition, Long> offsets(Admin admin, OffsetSpec spec) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (int partition = 0; partition < 3; partition++) {
            asked.put(new TopicPartition(TOPIC, partition), spec);
        }
        Map<TopicPartition, Long> found = new HashMap<>();
        admin.listOffsets(asked).all().get().forEach((partition, info) -> found.put(partition, info.offset()));
        return found;
    }

    @SuppressWarnings("removal")
    private static void groups(Admin admin) throws Exception {
        List<String> ids = admin.listConsumerGroups().all().get().stream()
                .map(listing -> listing.groupId()).collect(Collectors.toList());
        Features.isTrue(ids.contains(GROUP), GROUP + " in " + ids);
        var options = new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true);
        var found = admin.describeConsumerGroups(ids, options).all().get().get(GROUP);
        Features.equal(found.members().size(), 0, "members");
        Features.isTrue(found.coordinator() != null, "coordinator");
        Map<String, ListConsumerGroupOffsetsSpec> asked = new HashMap<>();
        ids.forEach(id -> asked.put(id, new ListConsumerGroupOffsetsSpec()));
        Features.equal(
                admin.listConsumerGroupOffsets(asked).all().get().get(GROUP).get(FIRST).offset(), 40L, "offset");
    }

    private static void akhqTopics(Admin admin) throws Exception {
        Map<String, TopicDescription> found = described(admin);
        int id = broker(admin);
        Map<String, Long> sizes = new HashMap<>();
        admin.describeLogDirs(List.of(id)).allDescriptions().get().get(id).values().forEach(dir -> dir.replicaInfos()
                .forEach((partition, info) -> sizes.merge(partition.topic(), info.size(), Long::sum)));
        Features.isTrue(sizes.keySet().containsAll(found.keySet()), found.keySet() + " have sizes in " + sizes);
        Features.isTrue(sizes.get(TOPIC) > 1000, "size of the topic");
        try (KafkaConsumer<String, String> consumer = Clients.consumer()) {
            List<TopicPartition> all = new ArrayList<>();
            found.values().forEach(topic -> topic.partitions()
                    .forEach(one -> all.add(new TopicPartition(topic.name(), one.partition()))));
            Features.equal(consumer.endOffsets(all).get(FIRST), 100L, "end");
            Features.equal(consumer.beginningOffsets(all).size(), all.size(), "beginnings");
        }
    }

    private static void akhqGroups(Admin admin) throws Exception {
        long committed = admin.listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata().get().get(FIRST).offset();
        Features.equal(offsets(admin, OffsetSpec.latest()).get(FIRST) - committed, 60L, "lag");
    }

    private static void akhqRecords() {
        try (KafkaConsumer<String, String> consumer = Clients.consumer("enable.auto.commit", "false")) {
            consumer.assign(Collections.singletonList(FIRST));
            consumer.seek(FIRST, 90);
            Clients.cameBack(Clients.take(consumer, 10), 90, 10);
        }
    }

    private static void console(Admin admin) throws Exception {
        Features.isTrue(admin.listTopics().listings().get().stream().anyMatch(one -> one.name().equals(TOPIC)), TOPIC);
        Features.isTrue(
                admin.listGroups().all().get().stream().anyMatch(one -> one.groupId().equals(GROUP)), GROUP);
        absentOr(admin.listClientMetricsResources().all());
        Features.isTrue(admin.listConfigResources().all().get().size() > 0, "resources with settings");
    }

    private static void consoleState(Admin admin) throws Exception {
        Features.equal(admin.listPartitionReassignments().reassignments().get(), Map.of(), "reassignments");
        Features.isTrue(
                admin.describeProducers(List.of(FIRST)).partitionResult(FIRST).get().activeProducers().size() == 1,
                "the producer that wrote");
        Features.isTrue(admin.listTransactions().all().get() != null, "transactions are listed");
    }

    private UiCalls() {}
}
