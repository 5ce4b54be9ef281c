import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Producers and consumers of strings as the checks need them. Settings are given as key, value, key, value… */
final class Clients {
    static final long TIMESTAMP_MS = System.currentTimeMillis() - 3_600_000; // young enough for retention

    static String newTopic() {
        return "topic-" + UUID.randomUUID().toString().substring(0, 8);
    }

    static Properties properties(String... settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        for (int n = 0; n < settings.length; n += 2) {
            properties.put(settings[n], settings[n + 1]);
        }
        return properties;
    }

    static KafkaProducer<String, String> producer(String... settings) {
        Properties properties = properties(settings);
        properties.putIfAbsent("linger.ms", "5");
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String... settings) {
        Properties properties = properties(settings);
        properties.putIfAbsent("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    }

    /** Sends "value-first" … to partition 0 and returns the offsets they got. */
    static List<Long> produce(String topic, int first, int count, String... settings) throws Exception {
        try (KafkaProducer<String, String> producer = producer(settings)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = first; n < first + count; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, TIMESTAMP_MS + n, "key-" + n, "value-" + n)));
            }
            List<Long> offsets = new ArrayList<>();
            for (Future<RecordMetadata> one : sent) {
                offsets.add(one.get().offset());
            }
            return offsets;
        }
    }

    static List<ConsumerRecord<String, String>> take(Consumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> taken = new ArrayList<>();
        long deadline = System.currentTimeMillis() + 30_000;
        while (taken.size() < count && System.currentTimeMillis() < deadline) {
            for (ConsumerRecord<String, String> one : Poll.poll(consumer, 200)) {
                taken.add(one);
            }
        }
        return taken;
    }

    static KafkaConsumer<String, String> assigned(String topic, String... settings) {
        KafkaConsumer<String, String> consumer = consumer(settings);
        TopicPartition partition = new TopicPartition(topic, 0);
        consumer.assign(Collections.singletonList(partition));
        consumer.seek(partition, 0);
        return consumer;
    }

    static List<String> values(List<ConsumerRecord<String, String>> records) {
        List<String> values = new ArrayList<>();
        for (ConsumerRecord<String, String> one : records) {
            values.add(one.value());
        }
        return values;
    }

    static List<String> numbered(String prefix, int first, int count) {
        List<String> values = new ArrayList<>();
        for (int n = first; n < first + count; n++) {
            values.add(prefix + n);
        }
        return values;
    }

    static List<Long> offsets(int first, int count) {
        List<Long> offsets = new ArrayList<>();
        for (long n = first; n < first + count; n++) {
            offsets.add(n);
        }
        return offsets;
    }

    /** Asserts keys, values, timestamps and offsets of what {@link #produce} sent. */
    static void cameBack(List<ConsumerRecord<String, String>> records, int first, int count) {
        Features.equal(values(records), numbered("value-", first, count), "values");
        for (ConsumerRecord<String, String> one : records) {
            Features.equal(one.key(), "key-" + one.offset(), "key");
            Features.equal(one.timestamp(), TIMESTAMP_MS + one.offset(), "timestamp");
        }
    }

    private Clients() {}
}
