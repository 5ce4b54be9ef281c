import java.util.Collections;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;

/** Calls that Kafka 4 dropped. */
final class AdminBefore40 {
    static void run() {
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: alterConfigs of a topic", () -> alter(admin));
        }
    }

    private static void alter(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        set(admin, topic, "retention.ms", "123456");
        Features.equal(AdminTopics.config(admin, topic).get("retention.ms").value(), "123456", "retention.ms");
        set(admin, topic, "cleanup.policy", "compact");
        Config found = AdminTopics.config(admin, topic);
        Features.equal(found.get("cleanup.policy").value(), "compact", "cleanup.policy");
        Features.equal(found.get("retention.ms").isDefault(), true, "what is not named is the default again");
        Features.refused(InvalidConfigurationException.class, () -> set(admin, topic, "retention.ms", "soon"));
        Features.equal(AdminTopics.config(admin, topic).get("cleanup.policy").value(), "compact", "cleanup.policy");
    }

    private static void set(AdminClient admin, String topic, String name, String value) throws Exception {
        Config config = new Config(Collections.singletonList(new ConfigEntry(name, value)));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        admin.alterConfigs(Collections.singletonMap(resource, config)).all().get();
    }

    private AdminBefore40() {}
}
