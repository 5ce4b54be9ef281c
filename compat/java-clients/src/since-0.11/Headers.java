import java.util.Arrays;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;

/** What came with Kafka 0.11: headers and the idempotent producer. */
final class Headers {
    static void run() {
        Features.check("headers", Headers::headers);
        Features.check("idempotent producer", Headers::idempotent);
    }

    private static void headers() throws Exception {
        String topic = Clients.newTopic();
        try (KafkaProducer<String, String> producer = Clients.producer()) {
            ProducerRecord<String, String> record = new ProducerRecord<>(topic, 0, "key", "value");
            record.headers().add("twice", new byte[] {1}).add("twice", new byte[] {}).add("null", null);
            producer.send(record).get();
        }
        try (KafkaConsumer<String, String> consumer = Clients.assigned(topic)) {
            ConsumerRecord<String, String> record = Clients.take(consumer, 1).get(0);
            StringBuilder seen = new StringBuilder();
            for (Header header : record.headers()) {
                seen.append(header.key()).append(Arrays.toString(header.value())).append(' ');
            }
            Features.equal(seen.toString(), "twice[1] twice[] nullnull ", "headers");
        }
    }

    private static void idempotent() throws Exception {
        String topic = Clients.newTopic();
        String[] settings = {"enable.idempotence", "true", "acks", "all", "batch.size", "500", "retries", "10"};
        Features.equal(Clients.produce(topic, 0, 1000, settings), Clients.offsets(0, 1000), "offsets");
        try (KafkaConsumer<String, String> consumer = Clients.assigned(topic)) {
            Clients.cameBack(Clients.take(consumer, 1000), 0, 1000);
        }
    }

    private Headers() {}
}
