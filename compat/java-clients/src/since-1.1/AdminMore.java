import java.util.Collections;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.TopicListing;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.errors.LogDirNotFoundException;
import org.apache.kafka.common.errors.SecurityDisabledException;

/** The rest of Kafka 1.1's administration, call by call. */
final class AdminMore {
    static void run() {
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: listTopics", () -> topics(admin));
            Features.check("admin: describeReplicaLogDirs", () -> replica(admin));
            Features.check("admin: alterReplicaLogDirs", () -> move(admin));
            // no authorizer is set, which Kafka says in the same way
            Features.check("admin: describeAcls refuses", () -> Features.refused(
                    SecurityDisabledException.class, () -> admin.describeAcls(AclBindingFilter.ANY).values().get()));
            Features.check("admin: deleteAcls refuses", () -> Features.refused(
                    SecurityDisabledException.class,
                    () -> admin.deleteAcls(Collections.singletonList(AclBindingFilter.ANY)).all().get()));
        }
    }

    private static void topics(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        try (KafkaConsumer<String, String> consumer = Clients.consumer("group.id", topic)) {
            consumer.subscribe(Collections.singletonList(topic));
            Poll.poll(consumer, 100); // brings the group's own topic into being
        }
        Features.isTrue(!listed(admin, false).contains("__consumer_offsets"), "internal topics are not asked for");
        Features.until("listed", () -> listed(admin, true).contains("__consumer_offsets"));
        TopicListing found = admin.listTopics(new ListTopicsOptions().listInternal(true)).namesToListings().get()
                .get("__consumer_offsets");
        Features.equal(found.isInternal(), true, "internal");
        Features.equal(admin.listTopics().namesToListings().get().get(topic).isInternal(), false, "internal");
    }

    private static java.util.Set<String> listed(AdminClient admin, boolean internal) throws Exception {
        return admin.listTopics(new ListTopicsOptions().listInternal(internal)).names().get();
    }

    private static TopicPartitionReplica partition(AdminClient admin, String topic) throws Exception {
        return new TopicPartitionReplica(topic, 0, Integer.parseInt(AdminTopics.broker(admin).name()));
    }

    private static String folder(AdminClient admin, TopicPartitionReplica replica) throws Exception {
        return admin.describeReplicaLogDirs(Collections.singletonList(replica)).values().get(replica).get()
                .getCurrentReplicaLogDir();
    }

    private static void replica(AdminClient admin) throws Exception {
        TopicPartitionReplica there = partition(admin, AdminTopics.created(admin, 1));
        Features.equal(folder(admin, there), System.getenv("FLOE_DATA"), "folder");
        Features.equal(folder(admin, partition(admin, "no-" + there.topic())), null, "folder of no topic");
    }

    private static void move(AdminClient admin) throws Exception {
        TopicPartitionReplica replica = partition(admin, AdminTopics.created(admin, 1));
        String here = System.getenv("FLOE_DATA");
        admin.alterReplicaLogDirs(Collections.singletonMap(replica, here)).all().get();
        Features.refused(
                LogDirNotFoundException.class,
                () -> admin.alterReplicaLogDirs(Collections.singletonMap(replica, here + "-no")).all().get());
        Features.equal(folder(admin, replica), here, "folder");
    }

    private AdminMore() {}
}
