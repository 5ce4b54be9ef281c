import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;

/** Producing and consuming without a group. */
final class Records {
    private static final int COUNT = 500;

    static void run() {
        Features.check("produce and consume", () -> roundTrip("none"));
        for (String kind : Arrays.asList("gzip", "snappy", "lz4")) {
            Features.check(kind, () -> roundTrip(kind));
        }
        Features.check("acks 0 and 1", Records::acks);
        Features.check("nulls and empty strings", Records::nulls);
        Features.check("too large a record is refused", Records::tooLarge);
        Features.check("offsets by time, beginning and end", Records::offsetsByTime);
        Features.check("metadata of a topic", Records::partitions);
    }

    static void roundTrip(String compression) throws Exception {
        String topic = Clients.newTopic();
        Features.equal(
                Clients.produce(topic, 0, COUNT, "compression.type", compression),
                Clients.offsets(0, COUNT),
                "offsets");
        try (KafkaConsumer<String, String> consumer = Clients.assigned(topic)) {
            Clients.cameBack(Clients.take(consumer, COUNT), 0, COUNT);
        }
    }

    private static void acks() throws Exception {
        for (String level : Arrays.asList("0", "1")) {
            String topic = Clients.newTopic();
            String[] settings = {"acks", level};
            Clients.produce(topic, 0, 100, withoutIdempotence(settings));
            try (KafkaConsumer<String, String> consumer = Clients.assigned(topic)) {
                Clients.cameBack(Clients.take(consumer, 100), 0, 100);
            }
        }
    }

    private static String[] withoutIdempotence(String[] settings) {
        String[] all = Arrays.copyOf(settings, settings.length + 2);
        all[settings.length] = "enable.idempotence"; // unknown before 0.11, where it is ignored
        all[settings.length + 1] = "false";
        return all;
    }

    private static void nulls() throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = Clients.producer()) {
            producer.send(new ProducerRecord<>(topic, 0, "tombstone", null));
            producer.send(new ProducerRecord<>(topic, 0, null, "no key"));
            producer.send(new ProducerRecord<>(topic, 0, "", "")).get();
        }
        try (KafkaConsumer<String, String> consumer = Clients.assigned(topic)) {
            Features.equal(Clients.values(Clients.take(consumer, 3)), Arrays.asList(null, "no key", ""), "values");
        }
    }

    private static void tooLarge() throws Exception {
        String topic = Clients.newTopic();
        String large = String.join("", Collections.nCopies(2_000_000, "x"));
        try (KafkaProducer<String, String> producer = Clients.producer("max.request.size", "5000000")) {
            Features.refused(
                    RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, large)).get());
        }
    }

    private static void offsetsByTime() throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, COUNT);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = Clients.consumer()) {
            consumer.assign(Collections.singletonList(partition));
            Map<TopicPartition, Long> asked = new HashMap<>();
            asked.put(partition, Clients.TIMESTAMP_MS + 77);
            OffsetAndTimestamp found = consumer.offsetsForTimes(asked).get(partition);
            Features.equal(found.offset(), 77L, "offset by time");
            Features.equal(found.timestamp(), Clients.TIMESTAMP_MS + 77, "its time");
            Features.equal(consumer.beginningOffsets(asked.keySet()).get(partition), 0L, "beginning");
            Features.equal(consumer.endOffsets(asked.keySet()).get(partition), (long) COUNT, "end");
            consumer.seek(partition, 400);
            Clients.cameBack(Clients.take(consumer, 100), 400, 100);
        }
    }

    private static void partitions() throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, 1);
        try (KafkaConsumer<String, String> consumer = Clients.consumer()) {
            Features.equal(consumer.partitionsFor(topic).size(), 1, "partitions");
            Features.equal(consumer.partitionsFor(topic).get(0).leader().port(), port(), "leader's port");
            Features.isTrue(consumer.listTopics().containsKey(topic), "the topic is listed");
        }
    }

    private static int port() {
        return Integer.parseInt(Features.BOOTSTRAP.split(":")[1]);
    }

    private Records() {}
}
