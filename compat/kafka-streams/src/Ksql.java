import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;

/**
 * What a ksqlDB server uses of a broker: its command topic (one partition that never ends, written in transactions of one id, read
 * from its beginning), and for a persistent query a Streams application with internal topics of its names, all of which
 * go when the query is terminated.
 */
final class Ksql {
    private static final String SERVICE = "_confluent-ksql-default_";
    private static final String COMMANDS = SERVICE + "_command_topic";
    private static final String QUERY = SERVICE + "query_CTAS_COUNTS_1";

    static void run() {
        Features.check("ksqlDB: command topic", Ksql::commands);
        Features.check("transactions: ksqlDB's statements", Ksql::statements);
        Features.check("ksqlDB: a query's internal topics come and go", Ksql::query);
    }

    private static void commands() throws Exception {
        Map<String, String> settings = new HashMap<>();
        settings.put("retention.ms", String.valueOf(Long.MAX_VALUE));
        settings.put("cleanup.policy", "delete");
        settings.put("min.insync.replicas", "1");
        settings.put("unclean.leader.election.enable", "false");
        try (AdminClient admin = Streams.admin()) {
            List<NewTopic> wanted = Collections.singletonList(new NewTopic(COMMANDS, 1, (short) 1).configs(settings));
            admin.createTopics(wanted, new CreateTopicsOptions().validateOnly(true)).all().get();
            Features.isTrue(!admin.listTopics().names().get().contains(COMMANDS), "validated only");
            admin.createTopics(wanted).all().get();
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, COMMANDS);
            Config found = admin.describeConfigs(Collections.singletonList(resource)).all().get().get(resource);
            for (Map.Entry<String, String> one : settings.entrySet()) {
                Features.equal(found.get(one.getKey()).value(), one.getValue(), one.getKey());
            }
        }
    }

    /** Each statement is a transaction; one whose server died is fenced, and nobody reads it. */
    private static void statements() throws Exception {
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<String, String> dead = transactional()) {
            dead.beginTransaction();
            dead.send(new ProducerRecord<>(COMMANDS, 0, "stream/a/create", "never")).get();
            try (KafkaProducer<String, String> producer = transactional()) {
                for (int n = 0; n < 20; n++) {
                    producer.beginTransaction();
                    producer.send(new ProducerRecord<>(COMMANDS, 0, "stream/s" + n + "/create", "CREATE " + n));
                    producer.commitTransaction();
                    expected.add("CREATE " + n);
                }
            }
            Features.refused(org.apache.kafka.common.KafkaException.class, dead::commitTransaction);
        }
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        properties.put("isolation.level", "read_committed");
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
            TopicPartition partition = new TopicPartition(COMMANDS, 0);
            consumer.assign(Collections.singletonList(partition));
            consumer.seekToBeginning(Collections.singletonList(partition));
            long end = consumer.endOffsets(Collections.singletonList(partition)).get(partition);
            List<String> read = new ArrayList<>();
            Features.until("the end is reached, markers and all", () -> {
                for (ConsumerRecord<String, String> one : consumer.poll(Duration.ofMillis(200))) {
                    read.add(one.value());
                }
                return consumer.position(partition) == end;
            });
            Features.equal(read, expected, "statements");
        }
    }

    private static KafkaProducer<String, String> transactional() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        properties.put("transactional.id", "default_");
        properties.put("acks", "all");
        KafkaProducer<String, String> producer =
                new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    private static void query() throws Exception {
        String topic = Streams.created(2);
        Streams.produce(topic, 0, 300, 7);
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.stream(topic);
        words.groupBy((key, word) -> word, Grouped.as("Aggregate-GroupBy"))
                .count(Materialized.as("Aggregate-Aggregate-Materialize")).toStream().mapValues(String::valueOf)
                .to(topic + "-out");
        KafkaStreams streams = new KafkaStreams(builder.build(), Streams.settings(QUERY, "at_least_once", QUERY));
        streams.start();
        Streams.newest(topic + "-out", new TreeMap<>(Streams.counts(300, 7)));
        try (AdminClient admin = Streams.admin()) {
            Features.equal(
                    internal(admin),
                    Arrays.asList(
                            QUERY + "-Aggregate-Aggregate-Materialize-changelog", QUERY + "-Aggregate-GroupBy-repartition"),
                    "internal topics");
            Streams.close(streams);
            // TERMINATE: the internal topics by their prefix, the group, the state
            admin.deleteTopics(internal(admin)).all().get();
            Features.equal(internal(admin), Collections.emptyList(), "internal topics after it");
            Features.until("its members are gone", () -> admin.describeConsumerGroups(Collections.singletonList(QUERY))
                    .all().get().get(QUERY).members().isEmpty());
            admin.deleteConsumerGroups(Collections.singletonList(QUERY)).all().get();
            Set<String> groups = admin.listConsumerGroups().all().get().stream()
                    .map(one -> one.groupId()).collect(Collectors.toSet());
            Features.isTrue(!groups.contains(QUERY), "the group is gone");
        }
        streams.cleanUp();
    }

    private static List<String> internal(AdminClient admin) throws Exception {
        return admin.listTopics().names().get().stream()
                .filter(name -> name.startsWith(QUERY + "-")).sorted().collect(Collectors.toList());
    }

    private Ksql() {}
}
