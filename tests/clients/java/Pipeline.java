// A consume-transform-produce pipeline of Kafka's own client, to be killed: as pipeline_process.py.
//     java -cp 'jars/*' Pipeline.java <bootstrap> <transactional id> <input> <output> <seed>

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Pipeline {
    public static void main(String[] arguments) {
        String bootstrap = arguments[0], transactionalId = arguments[1];
        String input = arguments[2], output = arguments[3];
        Random random = new Random(Long.parseLong(arguments[4]));
        Properties common = new Properties();
        common.put("bootstrap.servers", bootstrap);
        common.put("reconnect.backoff.max.ms", "200");
        Properties producing = new Properties();
        producing.putAll(common);
        producing.put("transactional.id", transactionalId);
        producing.put("transaction.timeout.ms", "5000");
        Properties consuming = new Properties();
        consuming.putAll(common);
        consuming.put("group.id", "pipeline");
        consuming.put("session.timeout.ms", "6000");
        consuming.put("auto.offset.reset", "earliest");
        consuming.put("enable.auto.commit", "false");
        consuming.put("isolation.level", "read_committed");
        consuming.put("max.poll.records", "25");
        var producer = new KafkaProducer<String, String>(producing, new StringSerializer(), new StringSerializer());
        var consumer = new KafkaConsumer<String, String>(consuming, new StringDeserializer(), new StringDeserializer());
        producer.initTransactions();
        consumer.subscribe(List.of(input));
        while (true) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
            if (records.isEmpty()) continue;
            try {
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
                for (ConsumerRecord<String, String> record : records) {
                    producer.send(new ProducerRecord<>(output, record.partition(), null, record.value()));
                    ends.put(new TopicPartition(record.topic(), record.partition()),
                        new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
                if (random.nextInt(10) > 0) {
                    producer.commitTransaction();
                    continue;
                }
                producer.abortTransaction();
            } catch (KafkaException e) {
                try {
                    producer.abortTransaction();
                } catch (KafkaException fatal) {
                    Runtime.getRuntime().halt(3);
                }
            }
            var committed = consumer.committed(consumer.assignment());
            committed.forEach((partition, offset) ->
                consumer.seek(partition, offset == null ? 0 : offset.offset()));
        }
    }
}
