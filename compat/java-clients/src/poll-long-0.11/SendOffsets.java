import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;

/** Before KIP-447 a transaction knew the group's name only. */
final class SendOffsets {
    static void send(
            Producer<?, ?> producer, Map<TopicPartition, OffsetAndMetadata> offsets, Consumer<?, ?> in, String group) {
        producer.sendOffsetsToTransaction(offsets, group);
    }

    private SendOffsets() {}
}
