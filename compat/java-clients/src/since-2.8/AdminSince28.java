import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ConsumerGroupState;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;

/** The administration that came by Kafka 2.8, call by call. */
final class AdminSince28 {
    static void run() {
        Features.check("zstd", () -> Records.roundTrip("zstd"));
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: incrementalAlterConfigs of a topic", () -> alterTopic(admin));
            Features.check("admin: incrementalAlterConfigs of a broker", () -> alterBroker(admin));
            Features.check("admin: incrementalAlterConfigs refuses", () -> alterRefused(admin));
            Features.check("admin: listConsumerGroups", () -> listGroups(admin));
            Features.check("admin: describeConsumerGroups", () -> describeGroup(admin));
            Features.check("admin: listConsumerGroupOffsets", () -> groupOffsets(admin));
            Features.check("admin: alterConsumerGroupOffsets", () -> alterOffsets(admin));
            Features.check("admin: deleteConsumerGroupOffsets", () -> deleteOffsets(admin));
            Features.check("admin: deleteConsumerGroups", () -> deleteGroup(admin));
            Features.check("admin: removeMembersFromConsumerGroup", () -> removeMembers(admin));
            Features.check("admin: listOffsets", () -> listOffsets(admin));
            Features.check("admin: describeLogDirs", () -> logDirs(admin));
            Features.check("admin: electLeaders", () -> elect(admin));
            Features.check("admin: listPartitionReassignments", () -> reassignments(admin));
            Features.check("admin: alterPartitionReassignments", () -> reassign(admin));
            Features.check("admin: describeFeatures", () -> features(admin));
        }
    }

    private static void alterTopic(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        alter(admin, ConfigResource.Type.TOPIC, topic, "retention.ms", "123456", AlterConfigOp.OpType.SET);
        alter(admin, ConfigResource.Type.TOPIC, topic, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        ConfigEntry retention = AdminTopics.config(admin, topic).get("retention.ms");
        Features.equal(retention.value(), "123456", "retention.ms");
        Features.equal(retention.source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
        Features.equal(AdminTopics.config(admin, topic).get("cleanup.policy").value(), "delete,compact", "policy");
        alter(admin, ConfigResource.Type.TOPIC, topic, "retention.ms", "", AlterConfigOp.OpType.DELETE);
        Features.equal(AdminTopics.config(admin, topic).get("retention.ms").isDefault(), true, "default again");
    }

    private static void alter(
            AdminClient admin, ConfigResource.Type type, String name, String key, String value, AlterConfigOp.OpType op)
            throws Exception {
        Collection<AlterConfigOp> ops = Collections.singletonList(new AlterConfigOp(new ConfigEntry(key, value), op));
        admin.incrementalAlterConfigs(Collections.singletonMap(new ConfigResource(type, name), ops)).all().get();
    }

    private static void alterBroker(AdminClient admin) throws Exception {
        ConfigResource broker = AdminTopics.broker(admin);
        alter(admin, broker.type(), broker.name(), "log.retention.ms", "86399999", AlterConfigOp.OpType.SET);
        ConfigEntry found = admin.describeConfigs(Collections.singletonList(broker)).all().get().get(broker)
                .get("log.retention.ms");
        Features.equal(found.value(), "86399999", "log.retention.ms");
        Features.equal(found.source(), ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG, "its source");
        alter(admin, broker.type(), broker.name(), "log.retention.ms", "", AlterConfigOp.OpType.DELETE);
    }

    private static void alterRefused(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        Features.refused(InvalidConfigurationException.class, () ->
                alter(admin, ConfigResource.Type.TOPIC, topic, "no.such.setting", "1", AlterConfigOp.OpType.SET));
        Features.refused(InvalidConfigurationException.class, () ->
                alter(admin, ConfigResource.Type.TOPIC, topic, "retention.ms", "soon", AlterConfigOp.OpType.SET));
    }

    /** A group with offset 42 committed for partition 0 of the topic with its name, and no members. */
    static String groupOf(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 100);
        try (KafkaConsumer<String, String> consumer =
                Clients.consumer("group.id", topic, "enable.auto.commit", "false")) {
            consumer.subscribe(Collections.singletonList(topic));
            Clients.take(consumer, 10);
            consumer.commitSync(Collections.singletonMap(partition(topic), new OffsetAndMetadata(42, "note")));
        }
        return topic;
    }

    private static TopicPartition partition(String topic) {
        return new TopicPartition(topic, 0);
    }

    private static void listGroups(AdminClient admin) throws Exception {
        String group = groupOf(admin);
        List<String> found = admin.listConsumerGroups().all().get().stream()
                .map(listing -> listing.groupId() + " " + listing.state().get()).collect(Collectors.toList());
        Features.isTrue(found.contains(group + " Empty"), group + " Empty in " + found);
    }

    private static void describeGroup(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 1);
        try (Groups.Member member = new Groups.Member(Groups.with(topic), topic)) {
            Features.until("assigned", () -> member.has.size() == 1);
            ConsumerGroupDescription found = describe(admin, topic);
            Features.equal(found.state(), ConsumerGroupState.STABLE, "state");
            Features.equal(found.partitionAssignor(), "roundrobin", "assignor");
            Features.equal(found.members().size(), 1, "members");
            Features.equal(
                    found.members().iterator().next().assignment().topicPartitions(),
                    Collections.singleton(partition(topic)),
                    "assignment");
            Features.refused(GroupNotEmptyException.class,
                    () -> admin.deleteConsumerGroups(Collections.singletonList(topic)).all().get());
        }
    }

    private static ConsumerGroupDescription describe(AdminClient admin, String group) throws Exception {
        return admin.describeConsumerGroups(Collections.singletonList(group)).all().get().get(group);
    }

    private static OffsetAndMetadata committed(AdminClient admin, String group) throws Exception {
        return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition(group));
    }

    private static void groupOffsets(AdminClient admin) throws Exception {
        String group = groupOf(admin);
        Features.equal(committed(admin, group).offset(), 42L, "offset");
        Features.equal(committed(admin, group).metadata(), "note", "metadata");
    }

    private static void alterOffsets(AdminClient admin) throws Exception {
        String group = groupOf(admin);
        admin.alterConsumerGroupOffsets(
                group, Collections.singletonMap(partition(group), new OffsetAndMetadata(7))).all().get();
        Features.equal(committed(admin, group).offset(), 7L, "offset");
    }

    private static void deleteOffsets(AdminClient admin) throws Exception {
        String group = groupOf(admin);
        admin.deleteConsumerGroupOffsets(group, Collections.singleton(partition(group))).all().get();
        Features.equal(committed(admin, group), null, "offset");
    }

    private static void deleteGroup(AdminClient admin) throws Exception {
        String group = groupOf(admin);
        admin.deleteConsumerGroups(Collections.singletonList(group)).all().get();
        Features.isTrue(
                admin.listConsumerGroups().all().get().stream().noneMatch(one -> one.groupId().equals(group)), "gone");
        Features.refused(GroupIdNotFoundException.class,
                () -> admin.deleteConsumerGroups(Collections.singletonList(group)).all().get());
    }

    private static void removeMembers(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 1);
        try (Groups.Member member = new Groups.Member(Groups.with(topic, "group.instance.id", "static"), topic)) {
            Features.until("assigned", () -> member.has.size() == 1);
            Features.equal(
                    describe(admin, topic).members().iterator().next().groupInstanceId(), Optional.of("static"), "id");
            admin.removeMembersFromConsumerGroup(topic, new RemoveMembersFromConsumerGroupOptions(
                    Collections.singleton(new MemberToRemove("static")))).all().get();
        }
        Features.until("empty", () -> describe(admin, topic).members().isEmpty());
    }

    private static void listOffsets(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 100);
        Features.equal(offset(admin, topic, OffsetSpec.earliest()).offset(), 0L, "earliest");
        Features.equal(offset(admin, topic, OffsetSpec.latest()).offset(), 100L, "latest");
        Features.equal(
                offset(admin, topic, OffsetSpec.forTimestamp(Clients.TIMESTAMP_MS + 30)).offset(), 30L, "by time");
    }

    static ListOffsetsResultInfo offset(AdminClient admin, String topic, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Collections.singletonMap(partition(topic), spec)).partitionResult(partition(topic))
                .get();
    }

    private static void logDirs(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 100);
        int broker = Integer.parseInt(AdminTopics.broker(admin).name());
        List<Long> sizes = new ArrayList<>();
        admin.describeLogDirs(Collections.singletonList(broker)).allDescriptions().get().get(broker).values()
                .forEach(dir -> sizes.add(dir.replicaInfos().get(partition(topic)).size()));
        Features.equal(sizes.size(), 1, "folders");
        Features.isTrue(sizes.get(0) > 1000 && sizes.get(0) < 20_000, "the size is plausible: " + sizes);
    }

    private static void elect(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        Optional<Throwable> error = admin.electLeaders(ElectionType.PREFERRED, Collections.singleton(partition(topic)))
                .partitions().get().get(partition(topic));
        Features.isTrue(error.get() instanceof ElectionNotNeededException, "no election is needed: " + error);
    }

    private static void reassignments(AdminClient admin) throws Exception {
        Features.equal(admin.listPartitionReassignments().reassignments().get(), Collections.emptyMap(), "none");
    }

    private static void reassign(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        int broker = Integer.parseInt(AdminTopics.broker(admin).name());
        Map<TopicPartition, Optional<NewPartitionReassignment>> same = Collections.singletonMap(
                partition(topic), Optional.of(new NewPartitionReassignment(Arrays.asList(broker))));
        admin.alterPartitionReassignments(same).all().get();
        Features.equal(
                DescribeTopics.describe(admin, topic).get(topic).partitions().get(0).replicas().size(), 1, "replicas");
    }

    private static void features(AdminClient admin) throws Exception {
        FeatureMetadata found = admin.describeFeatures().featureMetadata().get();
        // Clients before 3.9 are not told of ranges that begin with 0 (KIP-1022), by Kafka neither.
        Features.isTrue(found.supportedFeatures().containsKey("metadata.version"), "what is supported: " + found);
        found.supportedFeatures().forEach((name, range) -> {
            short level = found.finalizedFeatures().get(name).maxVersionLevel();
            Features.isTrue(
                    range.minVersion() <= level && level <= range.maxVersion(), name + " in its range: " + found);
        });
    }

    private AdminSince28() {}
}
