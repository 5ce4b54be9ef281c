import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;

/** KIP-447: with the generation and the member, so that a lost member cannot commit. */
final class SendOffsets {
    static void send(
            Producer<?, ?> producer, Map<TopicPartition, OffsetAndMetadata> offsets, Consumer<?, ?> in, String group) {
        producer.sendOffsetsToTransaction(offsets, in.groupMetadata());
    }

    private SendOffsets() {}
}
