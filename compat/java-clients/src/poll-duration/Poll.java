import java.time.Duration;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecords;

/** Since 2.0. */
final class Poll {
    static <K, V> ConsumerRecords<K, V> poll(Consumer<K, V> consumer, long timeoutMs) {
        return consumer.poll(Duration.ofMillis(timeoutMs));
    }

    private Poll() {}
}
