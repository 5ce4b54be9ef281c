import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ApiException;

/** KIP-98 as the client shows it; whether KIP-890's second version is used is the client's and the broker's to agree. */
final class Transactions {
    static void run() {
        Features.check("transactions: committed and aborted", Transactions::commitAndAbort);
        Features.check("transactions: an old producer is fenced", Transactions::fenced);
        Features.check("transactions: offsets and records together", Transactions::copy);
        Features.check("transactions: nothing is read before the end", Transactions::open);
    }

    private static KafkaProducer<String, String> producer(String id) {
        return Clients.producer("transactional.id", id, "max.block.ms", "15000", "transaction.timeout.ms", "10000");
    }

    private static void commitAndAbort() throws Exception {
        String topic = Clients.newTopic();
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer("tx-" + topic)) {
            producer.initTransactions();
            for (int round = 0; round < 6; round++) {
                producer.beginTransaction();
                for (int n = 0; n < 20; n++) {
                    producer.send(new ProducerRecord<>(topic, 0, null, round + "-" + n));
                }
                if (round % 2 == 0) {
                    producer.commitTransaction();
                    expected.addAll(Clients.numbered(round + "-", 0, 20));
                } else {
                    producer.flush();
                    producer.abortTransaction();
                }
            }
        }
        try (KafkaConsumer<String, String> committed = Clients.assigned(topic, "isolation.level", "read_committed")) {
            Features.equal(Clients.values(Clients.take(committed, 60)), expected, "committed");
        }
        try (KafkaConsumer<String, String> all = Clients.assigned(topic)) {
            Features.equal(Clients.take(all, 120).size(), 120, "uncommitted");
        }
    }

    private static void fenced() throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> old = producer("tx-" + topic);
                KafkaProducer<String, String> next = producer("tx-" + topic)) {
            old.initTransactions();
            old.beginTransaction();
            old.send(new ProducerRecord<>(topic, 0, null, "old")).get();
            next.initTransactions();
            next.beginTransaction();
            next.send(new ProducerRecord<>(topic, 0, null, "next"));
            next.commitTransaction();
            // which of Kafka's two exceptions it is depends on the version of the request
            Features.refused(ApiException.class, () -> old.send(new ProducerRecord<>(topic, 0, null, "late")).get());
            Features.refused(KafkaException.class, old::commitTransaction);
        }
        try (KafkaConsumer<String, String> committed = Clients.assigned(topic, "isolation.level", "read_committed")) {
            Features.equal(Clients.values(Clients.take(committed, 1)), Arrays.asList("next"), "committed");
        }
    }

    private static void copy() throws Exception {
        String from = Clients.newTopic();
        String to = from + "-copy";
        String group = "group-" + from;
        Clients.produce(from, 0, 100);
        for (int round = 0; round < 2; round++) { // the first half, then the rest by a successor
            try (KafkaConsumer<String, String> consumer =
                            Clients.consumer("group.id", group, "enable.auto.commit", "false", "max.poll.records", "50");
                    KafkaProducer<String, String> producer = producer("tx-" + from)) {
                producer.initTransactions();
                consumer.subscribe(Collections.singletonList(from));
                List<ConsumerRecord<String, String>> taken = Clients.take(consumer, 50);
                producer.beginTransaction();
                for (ConsumerRecord<String, String> record : taken) {
                    producer.send(new ProducerRecord<>(to, 0, record.key(), record.value()));
                }
                long next = taken.get(taken.size() - 1).offset() + 1;
                SendOffsets.send(
                        producer,
                        Collections.singletonMap(new TopicPartition(from, 0), new OffsetAndMetadata(next)),
                        consumer,
                        group);
                producer.commitTransaction();
            }
        }
        try (KafkaConsumer<String, String> committed = Clients.assigned(to, "isolation.level", "read_committed")) {
            Features.equal(Clients.values(Clients.take(committed, 100)), Clients.numbered("value-", 0, 100), "copied");
        }
    }

    private static void open() throws Exception {
        String topic = Clients.newTopic();
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = producer("tx-" + topic);
                KafkaConsumer<String, String> committed =
                        Clients.consumer("isolation.level", "read_committed")) {
            Clients.produce(topic, 0, 10);
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "open")).get();
            Clients.produce(topic, 10, 10);
            committed.assign(Collections.singletonList(partition));
            committed.seek(partition, 0);
            Features.equal(
                    committed.endOffsets(Collections.singletonList(partition)).get(partition), 10L, "stable end");
            Clients.cameBack(Clients.take(committed, 10), 0, 10);
            Features.equal(Poll.poll(committed, 300).count(), 0, "records behind the open transaction");
            producer.commitTransaction();
            Features.equal(Clients.take(committed, 11).size(), 11, "records after its end");
        }
    }

    private Transactions() {}
}
