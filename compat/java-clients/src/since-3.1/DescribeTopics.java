import java.util.Arrays;
import java.util.Map;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.TopicDescription;

/** By name; AdminSince39 asks by id. */
final class DescribeTopics {
    static Map<String, TopicDescription> describe(AdminClient admin, String... topics) throws Exception {
        return admin.describeTopics(Arrays.asList(topics)).allTopicNames().get();
    }

    private DescribeTopics() {}
}
