import java.util.Arrays;
import java.util.Map;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.TopicDescription;

/** Topics had no ids. */
final class DescribeTopics {
    static Map<String, TopicDescription> describe(AdminClient admin, String... topics) throws Exception {
        return admin.describeTopics(Arrays.asList(topics)).all().get();
    }

    private DescribeTopics() {}
}
