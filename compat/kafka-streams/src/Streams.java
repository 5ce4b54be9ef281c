import java.io.File;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;

/** Stateful applications: their results, their internal topics, and what they know after they lost their state. */
public final class Streams {
    private static final int COUNT = 600;
    private static final String SCRATCH = System.getenv("SCRATCH");
    private static final long START_MS = System.currentTimeMillis() / 60_000 * 60_000 - 3_600_000;

    public static void main(String[] arguments) {
        Features.check("count by another key: repartition and changelog topics", () -> count("at_least_once"));
        Features.check("windows", Streams::windows);
        Features.check("join with a table and a global table", Streams::joins);
        Features.check("an application that lost its state restores it", () -> restore("at_least_once"));
        Features.check("two instances share the partitions", Streams::twoInstances);
        Features.check("transactions: count with exactly_once_v2", () -> count("exactly_once_v2"));
        Features.check("transactions: exactly_once_v2 restores its state", () -> restore("exactly_once_v2"));
        Ksql.run();
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static Properties settings(String application, String guarantee, String instance) {
        Properties settings = new Properties();
        settings.put("application.id", application);
        settings.put("bootstrap.servers", Features.BOOTSTRAP);
        settings.put("processing.guarantee", guarantee.equals("exactly_once_v2") ? exactlyOnce() : guarantee);
        settings.put("state.dir", SCRATCH + "/state-" + instance);
        settings.put("default.key.serde", Serdes.StringSerde.class.getName());
        settings.put("default.value.serde", Serdes.StringSerde.class.getName());
        settings.put("commit.interval.ms", "100");
        settings.put("auto.offset.reset", "earliest");
        settings.put("replication.factor", "1");
        settings.put("session.timeout.ms", "6000"); // an instance that closes stays in its group until this has passed
        settings.put("heartbeat.interval.ms", "500");
        return settings;
    }

    /** 2.8 still called it by the name of its preview. */
    private static String exactlyOnce() {
        try {
            return (String) org.apache.kafka.streams.StreamsConfig.class.getField("EXACTLY_ONCE_V2").get(null);
        } catch (ReflectiveOperationException absent) {
            return "exactly_once_beta";
        }
    }

    static String created(int partitions) throws Exception {
        String topic = "topic-" + UUID.randomUUID().toString().substring(0, 8);
        create(topic, partitions);
        create(topic + "-out", partitions);
        return topic;
    }

    private static void create(String topic, int partitions) throws Exception {
        try (AdminClient admin = admin()) {
            admin.createTopics(Collections.singletonList(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
    }

    static AdminClient admin() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        return AdminClient.create(properties);
    }

    static void produce(String topic, int first, int count, int distinct) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            for (int n = first; n < first + count; n++) {
                producer.send(new ProducerRecord<>(
                        topic, null, START_MS + n * 1000L, "key-" + n % 17, "word-" + n % distinct));
            }
        }
    }

    /** The newest value of each key, read until it equals what is expected or 60 seconds have passed. */
    static Map<String, String> newest(String topic, Map<String, String> expected) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        properties.put("isolation.level", "read_committed");
        Map<String, String> newest = new TreeMap<>();
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(one -> partitions.add(new TopicPartition(topic, one.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.currentTimeMillis() + 60_000;
            while (!newest.equals(expected) && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    newest.put(record.key(), record.value());
                }
            }
        }
        Features.equal(newest, expected, "newest values of " + topic);
        return newest;
    }

    static Map<String, String> counts(int records, int distinct) {
        Map<String, String> counts = new TreeMap<>();
        for (int n = 0; n < records; n++) {
            counts.merge("word-" + n % distinct, "1", (a, b) -> String.valueOf(Integer.parseInt(a) + 1));
        }
        return counts;
    }

    private static KafkaStreams counting(String topic, String guarantee, String instance) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.stream(topic);
        words.groupBy((key, word) -> word).count(Materialized.as("counts")).toStream()
                .mapValues(String::valueOf).to(topic + "-out");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings("app-" + topic, guarantee, instance));
        streams.start();
        return streams;
    }

    static void close(KafkaStreams streams) {
        Features.isTrue(streams.close(Duration.ofSeconds(30)), "the application closed");
    }

    private static void count(String guarantee) throws Exception {
        String topic = created(3);
        produce(topic, 0, COUNT, 23);
        KafkaStreams streams = counting(topic, guarantee, topic);
        newest(topic + "-out", counts(COUNT, 23));
        close(streams);
        try (AdminClient admin = admin()) {
            Set<String> names = admin.listTopics().names().get();
            String repartition = "app-" + topic + "-counts-repartition";
            String changelog = "app-" + topic + "-counts-changelog";
            Features.isTrue(names.contains(repartition) && names.contains(changelog), "internal topics in " + names);
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, changelog);
            String policy = admin.describeConfigs(Collections.singletonList(resource)).all().get().get(resource)
                    .get("cleanup.policy").value();
            Features.equal(policy, "compact", "cleanup.policy of the changelog");
        }
    }

    /** Stop, lose the state, add records, start again: the counts go on from where they were. */
    private static void restore(String guarantee) throws Exception {
        String topic = created(2);
        produce(topic, 0, COUNT, 11);
        KafkaStreams first = counting(topic, guarantee, topic + "-first");
        newest(topic + "-out", counts(COUNT, 11));
        close(first);
        produce(topic, COUNT, 121, 11);
        Features.isTrue(!new File(SCRATCH + "/state-" + topic + "-second").exists(), "no state is left");
        KafkaStreams second = counting(topic, guarantee, topic + "-second");
        newest(topic + "-out", counts(COUNT + 121, 11));
        close(second);
    }

    private static void twoInstances() throws Exception {
        String topic = created(4);
        KafkaStreams first = counting(topic, "at_least_once", topic + "-first");
        KafkaStreams second = counting(topic, "at_least_once", topic + "-second");
        Features.until("both run", () -> running(first) && running(second));
        produce(topic, 0, COUNT, 29);
        newest(topic + "-out", counts(COUNT, 29));
        close(second);
        produce(topic, COUNT, 290, 29);
        newest(topic + "-out", counts(COUNT + 290, 29));
        close(first);
    }

    private static boolean running(KafkaStreams streams) {
        return streams.state() == KafkaStreams.State.RUNNING;
    }

    private static void windows() throws Exception {
        String topic = created(2);
        produce(topic, 0, 240, 3); // four minutes
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.stream(topic);
        words.groupBy((key, word) -> word).windowedBy(Windows.minutes()).count().toStream()
                .map((window, count) -> new org.apache.kafka.streams.KeyValue<>(
                        window.key() + "@" + (window.window().start() - START_MS) / 60_000, String.valueOf(count)))
                .to(topic + "-out");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings("app-" + topic, "at_least_once", topic));
        streams.start();
        Map<String, String> expected = new TreeMap<>();
        for (int minute = 0; minute < 4; minute++) {
            for (int word = 0; word < 3; word++) {
                expected.put("word-" + word + "@" + minute, "20");
            }
        }
        newest(topic + "-out", expected);
        close(streams);
    }

    private static void joins() throws Exception {
        String topic = created(2);
        create(topic + "-table", 2);
        create(topic + "-global", 1);
        produce(topic + "-table", 0, 17, 1000);
        produce(topic + "-global", 0, 17, 1000);
        StreamsBuilder builder = new StreamsBuilder();
        KTable<String, String> table = builder.table(topic + "-table");
        GlobalKTable<String, String> global = builder.globalTable(topic + "-global");
        builder.<String, String>stream(topic).join(table, (left, right) -> left + "+" + right)
                .join(global, (key, value) -> key, (left, right) -> left + "+" + right).to(topic + "-out");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings("app-" + topic, "at_least_once", topic));
        streams.start();
        Features.until("it runs", () -> running(streams));
        produce(topic, 100, 17, 1000);
        Map<String, String> expected = new TreeMap<>();
        for (int n = 100; n < 117; n++) {
            String word = "word-" + n % 17;
            expected.put("key-" + n % 17, "word-" + n + "+" + word + "+" + word);
        }
        newest(topic + "-out", expected);
        close(streams);
    }

    private Streams() {}
}
