import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Jobs on a local cluster in this process, from one topic to another; some fail once in the middle. */
public final class Jobs {
    private static final int COUNT = 3000;
    private static final int PARTITIONS = 3;
    private static final int PARALLELISM = 2;

    public static void main(String[] arguments) {
        Features.check("source and sink, at least once", Jobs::plain);
        Features.check("at least once with a failure: nothing is missing", Jobs::failing);
        Features.check("transactions: exactly-once sink with checkpoints and a failure",
                () -> exactlyOnce(TransactionNamingStrategy.INCREMENTING));
        Features.check("transactions: the same with pooled transactional ids",
                () -> exactlyOnce(TransactionNamingStrategy.POOLING));
        Features.check("a job goes on from its group's offsets", Jobs::resume);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    /** Passes records on, slowly; throws once where it is to fail, after some checkpoints. */
    private static final class Step implements MapFunction<String, String>, CheckpointListener {
        private static final AtomicInteger completed = new AtomicInteger();
        private static volatile boolean fails;
        private int seen;

        static void prepare(boolean isToFail) {
            completed.set(0);
            fails = isToFail;
        }

        @Override
        public String map(String value) throws Exception {
            Thread.sleep(1);
            if (fails && completed.get() > 2 * PARALLELISM && ++seen > 100) {
                fails = false;
                throw new IllegalStateException("this step fails once, as it was told to");
            }
            return value;
        }

        @Override
        public void notifyCheckpointComplete(long checkpoint) {
            completed.incrementAndGet();
        }
    }

    private static void plain() throws Exception {
        String topic = filled("plain");
        Step.prepare(false);
        run(topic, OffsetsInitializer.earliest(), sink(topic, DeliveryGuarantee.AT_LEAST_ONCE, null));
        Features.equal(sorted(output(topic)), expected(0, COUNT), "output");
    }

    private static void failing() throws Exception {
        String topic = filled("failing");
        Step.prepare(true);
        run(topic, OffsetsInitializer.earliest(), sink(topic, DeliveryGuarantee.AT_LEAST_ONCE, null));
        Features.isTrue(!Step.fails, "the job has failed once");
        List<String> found = sorted(output(topic));
        found = new ArrayList<>(new java.util.TreeSet<>(found));
        Features.equal(found, expected(0, COUNT), "distinct values of the output");
    }

    private static void exactlyOnce(TransactionNamingStrategy naming) throws Exception {
        String topic = filled("exactly-" + naming.name().toLowerCase());
        Step.prepare(true);
        run(topic, OffsetsInitializer.earliest(), sink(topic, DeliveryGuarantee.EXACTLY_ONCE, naming));
        Features.isTrue(!Step.fails, "the job has failed once");
        Features.equal(sorted(output(topic)), expected(0, COUNT), "output");
    }

    private static void resume() throws Exception {
        String topic = filled("resume");
        Step.prepare(false);
        run(topic, OffsetsInitializer.earliest(), sink(topic, DeliveryGuarantee.AT_LEAST_ONCE, null));
        Features.equal(committed(topic), (long) COUNT, "sum of the group's offsets");
        produce(topic, COUNT, 2 * COUNT);
        OffsetsInitializer committed = OffsetsInitializer.committedOffsets(OffsetResetStrategy.NONE);
        run(topic, committed, sink(topic, DeliveryGuarantee.AT_LEAST_ONCE, null));
        Features.equal(sorted(output(topic)), expected(0, 2 * COUNT), "output of both jobs");
    }

    private static void run(String topic, OffsetsInitializer start, KafkaSink<String> sink) throws Exception {
        Configuration configuration = new Configuration();
        configuration.setString("restart-strategy.type", "fixed-delay");
        configuration.setString("restart-strategy.fixed-delay.attempts", "3");
        configuration.setString("restart-strategy.fixed-delay.delay", "200 ms");
        configuration.setString("execution.checkpointing.interval", "200 ms");
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(PARALLELISM, configuration);
        KafkaSource<String> source = KafkaSource.<String>builder()
                .setBootstrapServers(Features.BOOTSTRAP)
                .setTopics(topic)
                .setGroupId("group-" + topic)
                .setStartingOffsets(start)
                .setBounded(OffsetsInitializer.latest())
                .setValueOnlyDeserializer(new SimpleStringSchema())
                .build();
        DataStream<String> stream = environment.fromSource(source, WatermarkStrategy.noWatermarks(), "source");
        stream.map(new Step()).sinkTo(sink);
        environment.execute(topic);
    }

    private static KafkaSink<String> sink(String topic, DeliveryGuarantee guarantee, TransactionNamingStrategy naming) {
        var sink = KafkaSink.<String>builder()
                .setBootstrapServers(Features.BOOTSTRAP)
                .setRecordSerializer(KafkaRecordSerializationSchema.builder()
                        .setTopic(topic + "-out")
                        .setValueSerializationSchema(new SimpleStringSchema())
                        .build())
                .setDeliveryGuarantee(guarantee);
        if (naming != null) {
            sink.setTransactionalIdPrefix("id-" + topic).setTransactionNamingStrategy(naming)
                    .setProperty("transaction.timeout.ms", "60000");
        }
        return sink.build();
    }

    private static Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", Features.BOOTSTRAP);
        return properties;
    }

    private static String filled(String topic) throws Exception {
        try (AdminClient admin = AdminClient.create(properties())) {
            admin.createTopics(List.of(
                    new NewTopic(topic, PARTITIONS, (short) 1), new NewTopic(topic + "-out", PARTITIONS, (short) 1))).all().get();
        }
        produce(topic, 0, COUNT);
        return topic;
    }

    private static void produce(String topic, int first, int end) {
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(properties(), new StringSerializer(), new StringSerializer())) {
            for (int n = first; n < end; n++) {
                producer.send(new ProducerRecord<>(topic, n % PARTITIONS, null, value(n)));
            }
        }
    }

    private static String value(int n) {
        return String.format("value-%06d", n);
    }

    private static List<String> expected(int first, int end) {
        List<String> values = new ArrayList<>();
        for (int n = first; n < end; n++) {
            values.add(value(n));
        }
        return values;
    }

    private static List<String> sorted(List<String> values) {
        Collections.sort(values);
        return values;
    }

    private static long committed(String topic) throws Exception {
        try (AdminClient admin = AdminClient.create(properties())) {
            Map<TopicPartition, OffsetAndMetadata> offsets =
                    admin.listConsumerGroupOffsets("group-" + topic).partitionsToOffsetAndMetadata().get();
            return offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
        }
    }

    /** Everything a read_committed consumer is given of the output. */
    private static List<String> output(String topic) {
        Properties properties = properties();
        properties.put("isolation.level", "read_committed");
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (int index = 0; index < PARTITIONS; index++) {
                partitions.add(new TopicPartition(topic + "-out", index));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (!partitions.stream().allMatch(one -> consumer.position(one) >= ends.get(one))) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    values.add(record.value());
                }
            }
        }
        return values;
    }

    private Jobs() {}
}
