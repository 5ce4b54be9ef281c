import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecords;

/** Before 2.0. */
final class Poll {
    static <K, V> ConsumerRecords<K, V> poll(Consumer<K, V> consumer, long timeoutMs) {
        return consumer.poll(timeoutMs);
    }

    private Poll() {}
}
