import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.BrokerIdNotRegisteredException;

/** The administration that came by Kafka 3.9, call by call. */
final class AdminSince39 {
    static void run() {
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: topics by id", () -> byId(admin));
            Features.check("admin: listOffsets by largest timestamp", () -> maxTimestamp(admin));
            Features.check("admin: describeProducers", () -> producers(admin));
            Features.check("admin: describeMetadataQuorum", () -> quorum(admin));
            Features.check("admin: unregisterBroker refuses", () -> Features.refused(
                    BrokerIdNotRegisteredException.class, () -> admin.unregisterBroker(77).all().get()));
            Features.check("admin: listClientMetricsResources", () -> Features.equal(
                    admin.listClientMetricsResources().all().get().size(), 0, "resources"));
            Features.check("admin: updateFeatures is refused at once", () -> AdminAbsent.refusedAtOnce(
                    admin.updateFeatures(
                            Collections.singletonMap("metadata.version", new FeatureUpdate(
                                    (short) 20, FeatureUpdate.UpgradeType.UPGRADE)),
                            new UpdateFeaturesOptions()).all()));
            Features.check("transactions: admin listTransactions", () -> list(admin));
            Features.check("transactions: admin describeTransactions", () -> describe(admin));
            Features.check("transactions: admin abortTransaction", () -> abort(admin));
            Features.check("transactions: admin fenceProducers", () -> fence(admin));
        }
    }

    private static void quorum(AdminClient admin) throws Exception {
        QuorumInfo found = admin.describeMetadataQuorum().quorumInfo().get();
        int broker = Integer.parseInt(AdminTopics.broker(admin).name());
        Features.equal(found.leaderId(), broker, "leader");
        Features.equal(found.voters().size(), 1, "voters");
        Features.equal(found.voters().get(0).replicaId(), broker, "voter");
        long before = found.highWatermark();
        AdminTopics.created(admin, 1);
        Features.isTrue(
                admin.describeMetadataQuorum().quorumInfo().get().highWatermark() > before, "a topic is metadata");
    }

    private static void byId(AdminClient admin) throws Exception {
        String topic = AdminTopics.created(admin, 2);
        Uuid id = DescribeTopics.describe(admin, topic).get(topic).topicId();
        TopicCollection ids = TopicCollection.ofTopicIds(Collections.singletonList(id));
        Features.equal(admin.describeTopics(ids).allTopicIds().get().get(id).name(), topic, "name");
        admin.deleteTopics(ids).all().get();
        Features.isTrue(!admin.listTopics().names().get().contains(topic), "the topic is gone");
    }

    private static void maxTimestamp(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 50, 50);
        Clients.produce(topic, 0, 50);
        Features.equal(AdminSince28.offset(admin, topic, OffsetSpec.maxTimestamp()).offset(), 49L, "offset");
    }

    private static void producers(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 10, "enable.idempotence", "true");
        List<ProducerState> found = states(admin, topic);
        Features.equal(found.size(), 1, "producers");
        Features.equal(found.get(0).lastSequence(), 9, "last sequence");
    }

    private static List<ProducerState> states(AdminClient admin, String topic) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        return admin.describeProducers(Collections.singletonList(partition)).partitionResult(partition).get()
                .activeProducers();
    }

    static KafkaProducer<String, String> begun(String topic) throws Exception {
        KafkaProducer<String, String> producer = Clients.producer("transactional.id", topic, "max.block.ms", "15000");
        producer.initTransactions();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 0, null, "open")).get();
        return producer;
    }

    private static void list(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = begun(topic)) {
            List<String> found = new ArrayList<>();
            admin.listTransactions().all().get()
                    .forEach(listing -> found.add(listing.transactionalId() + " " + listing.state()));
            Features.isTrue(found.contains(topic + " Ongoing"), topic + " Ongoing in " + found);
            producer.abortTransaction();
        }
    }

    private static void describe(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = begun(topic)) {
            TransactionDescription found = description(admin, topic);
            Features.equal(found.state(), TransactionState.ONGOING, "state");
            Features.equal(
                    found.topicPartitions(), Collections.singleton(new TopicPartition(topic, 0)), "partitions");
            producer.commitTransaction();
            Features.until("completed",
                    () -> description(admin, topic).state() == TransactionState.COMPLETE_COMMIT);
        }
    }

    private static TransactionDescription description(AdminClient admin, String id) throws Exception {
        return admin.describeTransactions(Collections.singletonList(id)).all().get().get(id);
    }

    private static void abort(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = begun(topic)) {
            ProducerState open = states(admin, topic).get(0);
            admin.abortTransaction(new AbortTransactionSpec(
                    new TopicPartition(topic, 0), open.producerId(), (short) open.producerEpoch(),
                    open.coordinatorEpoch().orElse(0))).all().get();
            Clients.produce(topic, 0, 5);
            try (KafkaConsumer<String, String> committed =
                    Clients.assigned(topic, "isolation.level", "read_committed")) {
                Features.equal(Clients.values(Clients.take(committed, 5)), Clients.numbered("value-", 0, 5), "values");
            }
        }
    }

    private static void fence(AdminClient admin) throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = begun(topic)) {
            short before = (short) description(admin, topic).producerEpoch();
            admin.fenceProducers(Collections.singletonList(topic)).all().get();
            Features.isTrue(description(admin, topic).producerEpoch() > before, "the epoch has risen");
            Features.refused(org.apache.kafka.common.KafkaException.class, producer::commitTransaction);
        }
    }

    private AdminSince39() {}
}
