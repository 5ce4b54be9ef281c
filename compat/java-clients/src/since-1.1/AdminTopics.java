import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** The administration of Kafka 1.1, call by call. */
final class AdminTopics {
    static void run() {
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: createTopics", () -> create(admin));
            Features.check("admin: createTopics refuses", () -> createRefused(admin));
            Features.check("admin: describeTopics", () -> describe(admin));
            Features.check("admin: deleteTopics", () -> delete(admin));
            Features.check("admin: createPartitions", () -> partitions(admin));
            Features.check("admin: describeCluster", () -> cluster(admin));
            Features.check("admin: describeConfigs of a topic", () -> topicConfigs(admin));
            Features.check("admin: describeConfigs of a broker", () -> brokerConfigs(admin));
            Features.check("admin: deleteRecords", () -> deleteRecords(admin));
        }
    }

    static String created(AdminClient admin, int partitions) throws Exception {
        String topic = Clients.newTopic();
        admin.createTopics(Collections.singletonList(new NewTopic(topic, partitions, (short) 1))).all().get();
        return topic;
    }

    private static void create(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        NewTopic wanted = new NewTopic(topic, 3, (short) 1).configs(Collections.singletonMap("retention.ms", "77777"));
        admin.createTopics(Collections.singletonList(wanted)).all().get();
        Features.isTrue(admin.listTopics().names().get().contains(topic), "the topic is listed");
        Features.equal(config(admin, topic).get("retention.ms").value(), "77777", "retention.ms");
    }

    private static void createRefused(AdminClient admin) throws Exception {
        String topic = created(admin, 1);
        NewTopic again = new NewTopic(topic, 1, (short) 1);
        Features.refused(
                TopicExistsException.class,
                () -> admin.createTopics(Collections.singletonList(again)).all().get());
        NewTopic threefold = new NewTopic(Clients.newTopic(), 1, (short) 3);
        Features.refused(
                InvalidReplicationFactorException.class,
                () -> admin.createTopics(Collections.singletonList(threefold)).all().get());
    }

    private static void describe(AdminClient admin) throws Exception {
        String topic = created(admin, 3);
        TopicDescription found = DescribeTopics.describe(admin, topic).get(topic);
        Features.equal(found.partitions().size(), 3, "partitions");
        Features.equal(found.isInternal(), false, "internal");
        int leader = found.partitions().get(2).leader().id();
        Features.equal(found.partitions().get(2).isr().get(0).id(), leader, "in sync");
        Features.refused(
                UnknownTopicOrPartitionException.class, () -> DescribeTopics.describe(admin, "no-" + topic));
    }

    private static void delete(AdminClient admin) throws Exception {
        String topic = created(admin, 2);
        admin.deleteTopics(Collections.singletonList(topic)).all().get();
        Features.isTrue(!admin.listTopics().names().get().contains(topic), "the topic is gone");
        Features.refused(
                UnknownTopicOrPartitionException.class,
                () -> admin.deleteTopics(Collections.singletonList(topic)).all().get());
    }

    private static void partitions(AdminClient admin) throws Exception {
        String topic = created(admin, 1);
        admin.createPartitions(Collections.singletonMap(topic, NewPartitions.increaseTo(4))).all().get();
        Features.equal(DescribeTopics.describe(admin, topic).get(topic).partitions().size(), 4, "partitions");
    }

    private static void cluster(AdminClient admin) throws Exception {
        DescribeClusterResult found = admin.describeCluster();
        Features.equal(found.nodes().get().size(), 1, "nodes");
        Features.equal(found.controller().get().id(), found.nodes().get().iterator().next().id(), "controller");
        Features.equal(found.clusterId().get().length(), 22, "length of the cluster id");
    }

    private static void topicConfigs(AdminClient admin) throws Exception {
        Config found = config(admin, created(admin, 1));
        for (String name : Arrays.asList("cleanup.policy", "retention.ms", "segment.bytes", "max.message.bytes")) {
            Features.isTrue(found.get(name) != null, name + " is described");
        }
        Features.equal(found.get("cleanup.policy").value(), "delete", "cleanup.policy");
        Features.equal(found.get("cleanup.policy").isDefault(), true, "cleanup.policy is the default");
    }

    static Config config(AdminClient admin, String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return admin.describeConfigs(Collections.singletonList(resource)).all().get().get(resource);
    }

    static ConfigResource broker(AdminClient admin) throws Exception {
        int id = admin.describeCluster().nodes().get().iterator().next().id();
        return new ConfigResource(ConfigResource.Type.BROKER, String.valueOf(id));
    }

    private static void brokerConfigs(AdminClient admin) throws Exception {
        ConfigResource broker = broker(admin);
        Config found = admin.describeConfigs(Collections.singletonList(broker)).all().get().get(broker);
        HashSet<String> missing = new HashSet<>(
                Arrays.asList("log.retention.ms", "num.partitions", "message.max.bytes", "auto.create.topics.enable"));
        found.entries().forEach(entry -> missing.remove(entry.name()));
        Features.equal(missing, new HashSet<String>(), "settings that are not described");
    }

    private static void deleteRecords(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 100);
        TopicPartition partition = new TopicPartition(topic, 0);
        long low = admin.deleteRecords(Collections.singletonMap(partition, RecordsToDelete.beforeOffset(60)))
                .lowWatermarks().get(partition).get().lowWatermark();
        Features.equal(low, 60L, "low watermark");
        try (KafkaConsumer<String, String> consumer = Clients.consumer()) {
            consumer.assign(Collections.singletonList(partition));
            consumer.seekToBeginning(Collections.singletonList(partition));
            Clients.cameBack(Clients.take(consumer, 40), 60, 40);
        }
    }

    private AdminTopics() {}
}
