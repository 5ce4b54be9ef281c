// Transactions of Kafka's own Java client, one line of output for each thing found. Run by test_transactions_java.py:
//     java -cp 'jars/*' Transactions.java <bootstrap>

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Transactions {
    static String bootstrap;

    static KafkaProducer<String, String> producer(String transactionalId) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", transactionalId);
        settings.put("linger.ms", "0");
        KafkaProducer<String, String> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static KafkaConsumer<String, String> consumer(String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    static List<String> committed(String topic) {
        TopicPartition partition = new TopicPartition(topic, 0);
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = consumer("reader")) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end)
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200)))
                    values.add(record.value());
        }
        return values;
    }

    static void commitAndAbort() {
        try (KafkaProducer<String, String> producer = producer("simple")) {
            for (int i = 0; i < 6; i++) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>("simple", 0, null, i + "a"));
                producer.send(new ProducerRecord<>("simple", 0, null, i + "b"));
                if (i % 2 == 0) producer.commitTransaction(); else producer.abortTransaction();
            }
        }
        System.out.println("simple " + committed("simple"));
    }

    static void fence() {
        KafkaProducer<String, String> old = producer("fenced");
        old.beginTransaction();
        old.send(new ProducerRecord<>("fenced", 0, null, "old"));
        old.flush();
        try (KafkaProducer<String, String> young = producer("fenced")) {
            young.beginTransaction();
            young.send(new ProducerRecord<>("fenced", 0, null, "new"));
            young.commitTransaction();
        }
        try {
            old.commitTransaction();
            System.out.println("fenced: the old one still commits");
        } catch (ProducerFencedException | InvalidProducerEpochException e) {
            System.out.println("fenced " + e.getClass().getSimpleName() + " " + committed("fenced"));
        }
        old.close(Duration.ZERO);
    }

    static void pipeline() {
        try (KafkaProducer<String, String> source = producer("source")) {
            source.beginTransaction();
            for (int i = 0; i < 100; i++) source.send(new ProducerRecord<>("input", 0, null, "" + i));
            source.commitTransaction();
        }
        try (KafkaProducer<String, String> producer = producer("pipeline");
             KafkaConsumer<String, String> consumer = consumer("pipeline")) {
            consumer.subscribe(List.of("input"));
            int seen = 0, turns = 0;
            while (seen < 100) {
                var records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty()) continue;
                producer.beginTransaction();
                long next = 0;
                for (ConsumerRecord<String, String> record : records) {
                    producer.send(new ProducerRecord<>("output", 0, null, record.value()));
                    next = record.offset() + 1;
                }
                var offsets = Map.of(new TopicPartition("input", 0), new OffsetAndMetadata(next));
                producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                if (turns++ == 0) {
                    producer.abortTransaction();
                    consumer.seekToBeginning(consumer.assignment());
                    continue;
                }
                producer.commitTransaction();
                seen += records.count();
            }
            try {
                producer.beginTransaction();
                var stale = new ConsumerGroupMetadata("pipeline", 1000, "nobody", java.util.Optional.empty());
                producer.sendOffsetsToTransaction(
                    Map.of(new TopicPartition("input", 0), new OffsetAndMetadata(0)), stale);
                System.out.println("pipeline: a stranger commits the group's offsets");
            } catch (org.apache.kafka.common.KafkaException e) {
                System.out.println("stranger " + e.getClass().getSimpleName());
                producer.abortTransaction();
            }
            var stored = consumer.committed(Set.of(new TopicPartition("input", 0)));
            System.out.println("offset " + stored.get(new TopicPartition("input", 0)).offset());
        }
        List<String> output = committed("output");
        System.out.println("output " + output.size() + " " + output.stream().distinct().count());
    }

    static void administer(Admin admin) throws Exception {
        KafkaProducer<String, String> hanging = producer("hanging");
        hanging.beginTransaction();
        hanging.send(new ProducerRecord<>("hanging", 0, null, "x"));
        hanging.flush();
        TransactionDescription description =
            admin.describeTransactions(List.of("hanging")).description("hanging").get();
        System.out.println("described " + description.state() + " " + description.topicPartitions());
        var pattern = new ListTransactionsOptions().filterOnTransactionalIdPattern("hang.*");
        System.out.println("listed " + admin.listTransactions(pattern).all().get().size());
        TopicPartition partition = new TopicPartition("hanging", 0);
        ProducerState state = admin.describeProducers(List.of(partition)).partitionResult(partition).get()
            .activeProducers().get(0);
        System.out.println("producer " + state.currentTransactionStartOffset().getAsLong());
        var spec = new AbortTransactionSpec(partition, state.producerId(), (short) state.producerEpoch(),
            state.coordinatorEpoch().orElse(0));
        admin.abortTransaction(spec).all().get();
        System.out.println("aborted " + committed("hanging"));
        admin.fenceProducers(List.of("hanging")).all().get();
        description = admin.describeTransactions(List.of("hanging")).description("hanging").get();
        System.out.println("fenced by admin " + description.state());
        hanging.close(Duration.ZERO);
        var features = admin.describeFeatures().featureMetadata().get();
        System.out.println("feature " + features.finalizedFeatures().get("transaction.version").maxVersionLevel());
    }

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        try (Admin admin = Admin.create(settings)) {
            List<NewTopic> topics = new ArrayList<>();
            for (String name : List.of("simple", "fenced", "input", "output", "hanging"))
                topics.add(new NewTopic(name, 1, (short) 1));
            admin.createTopics(topics).all().get();
            commitAndAbort();
            fence();
            pipeline();
            administer(admin);
        }
    }
}
