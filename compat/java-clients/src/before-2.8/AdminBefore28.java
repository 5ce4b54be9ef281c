import java.util.Collections;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.requests.DescribeLogDirsResponse;

/** Calls whose answers had other classes. */
final class AdminBefore28 {
    static void run() {
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: describeLogDirs", () -> logDirs(admin));
        }
    }

    private static void logDirs(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 100);
        int broker = Integer.parseInt(AdminTopics.broker(admin).name());
        DescribeLogDirsResponse.LogDirInfo found = admin.describeLogDirs(Collections.singletonList(broker)).all().get()
                .get(broker).get(System.getenv("FLOE_DATA"));
        long size = found.replicaInfos.get(new TopicPartition(topic, 0)).size;
        Features.isTrue(size > 1000 && size < 20_000, "the size is plausible: " + size);
    }

    private AdminBefore28() {}
}
