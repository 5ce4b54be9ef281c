import java.util.Collection;
import java.util.Collections;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.config.ConfigResource;

/** What came with Kafka 4. */
final class AdminSince43 {
    static void run() {
        Features.check("consumer protocol: regular expression of the broker", AdminSince43::pattern);
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: listGroups", () -> listGroups(admin));
            Features.check("admin: describeClassicGroups", () -> classic(admin));
            Features.check("admin: describeConsumerGroups of the consumer protocol", () -> consumer(admin));
            Features.check("admin: listConfigResources", () -> resources(admin));
            Features.check("transactions: admin forceTerminateTransaction", () -> terminate(admin));
            Features.check("admin: share and streams groups are refused at once", () -> {
                AdminAbsent.refusedAtOnce(admin.describeShareGroups(Set.of("g")).all());
                AdminAbsent.refusedAtOnce(admin.describeStreamsGroups(Set.of("g")).all());
            });
        }
    }

    private static void pattern() throws Exception {
        String prefix = Clients.newTopic();
        Clients.produce(prefix + "-a", 0, 3);
        Clients.produce("not-" + prefix, 0, 3);
        try (KafkaConsumer<String, String> consumer =
                Clients.consumer("group.id", prefix, "group.protocol", "consumer")) {
            consumer.subscribe(new SubscriptionPattern(prefix + "-[ab]"));
            Features.equal(Clients.take(consumer, 3).size(), 3, "records of the first topic");
            Clients.produce(prefix + "-b", 0, 2);
            Features.equal(Clients.take(consumer, 2).size(), 2, "records of the second topic");
        }
    }

    private static void listGroups(AdminClient admin) throws Exception {
        String group = AdminSince28.groupOf(admin);
        GroupListing found = admin.listGroups().all().get().stream()
                .filter(listing -> listing.groupId().equals(group)).findFirst().get();
        Features.equal(found.type().get(), GroupType.CLASSIC, "type");
        Features.equal(found.groupState().get(), GroupState.EMPTY, "state");
        Features.equal(found.protocol(), "consumer", "protocol");
    }

    private static void classic(AdminClient admin) throws Exception {
        String group = AdminSince28.groupOf(admin);
        var found = admin.describeClassicGroups(Collections.singletonList(group)).all().get().get(group);
        Features.equal(found.state().toString(), "Empty", "state");
        Features.equal(found.protocol(), "consumer", "protocol");
    }

    private static void consumer(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 1);
        try (Groups.Member member = new Groups.Member(Groups.with(topic, "group.protocol", "consumer"), topic)) {
            Features.until("assigned", () -> member.has.size() == 1);
            var found = admin.describeConsumerGroups(Collections.singletonList(topic)).all().get().get(topic);
            Features.equal(found.type(), GroupType.CONSUMER, "type");
            Features.equal(found.groupState(), GroupState.STABLE, "state");
            Features.equal(found.partitionAssignor(), "uniform", "assignor");
            Features.equal(found.members().iterator().next().assignment().topicPartitions().size(), 1, "assigned");
        }
    }

    private static void terminate(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = AdminSince39.begun(topic)) {
            admin.forceTerminateTransaction(topic).result().get();
            Clients.produce(topic, 0, 5);
            try (KafkaConsumer<String, String> committed =
                    Clients.assigned(topic, "isolation.level", "read_committed")) {
                Features.equal(Clients.values(Clients.take(committed, 5)), Clients.numbered("value-", 0, 5), "values");
            }
            Features.refused(KafkaException.class, producer::commitTransaction);
        }
    }

    private static void resources(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 1);
        Collection<ConfigResource> found =
                admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all().get();
        Set<String> names = found.stream().map(ConfigResource::name).collect(Collectors.toSet());
        Features.isTrue(names.contains(topic), topic + " in " + names);
    }

    private AdminSince43() {}
}
