import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Consumer groups of the classic protocol; ConsumerProtocol runs the same with the other one. */
final class Groups {
    private static final int COUNT = 300;

    static void run() {
        Features.check("group: commit and resume", () -> commitAndResume());
        Features.check("group: two members share, one leaves", () -> share());
        Features.check("group: a new topic matches the pattern", () -> pattern());
        Features.check("group: autocommit", () -> autocommit());
    }

    static String[] with(String group, String... more) {
        String[] all = Arrays.copyOf(more, more.length + 2);
        all[more.length] = "group.id";
        all[more.length + 1] = group;
        return all;
    }

    static void commitAndResume(String... more) throws Exception {
        String topic = Clients.newTopic();
        TopicPartition partition = new TopicPartition(topic, 0);
        Clients.produce(topic, 0, COUNT);
        String[] manual = Arrays.copyOf(more, more.length + 4);
        System.arraycopy(
                new String[] {"enable.auto.commit", "false", "max.poll.records", "100"}, 0, manual, more.length, 4);
        try (KafkaConsumer<String, String> first = Clients.consumer(with("group-" + topic, manual))) {
            first.subscribe(Collections.singletonList(topic));
            Clients.cameBack(Clients.take(first, 100), 0, 100);
            first.commitSync(Collections.singletonMap(partition, new OffsetAndMetadata(100, "so far")));
        }
        try (KafkaConsumer<String, String> second = Clients.consumer(with("group-" + topic, more))) {
            second.subscribe(Collections.singletonList(topic));
            Clients.cameBack(Clients.take(second, COUNT - 100), 100, COUNT - 100);
        }
    }

    /** Two members of one group over two topics of a partition each (partitions cannot be added by old clients). */
    static void share(String... more) throws Exception {
        String one = Clients.newTopic();
        String two = Clients.newTopic();
        Clients.produce(one, 0, 1);
        Clients.produce(two, 0, 1);
        Set<TopicPartition> all =
                new HashSet<>(Arrays.asList(new TopicPartition(one, 0), new TopicPartition(two, 0)));
        String[] settings = with("group-" + one, more);
        try (Member first = new Member(settings, one, two)) {
            Features.until("the first has all", () -> first.has.equals(all));
            try (Member second = new Member(settings, one, two)) {
                Features.until("a half each", () -> first.has.size() == 1 && second.has.size() == 1);
                Set<TopicPartition> both = new HashSet<>(first.has);
                both.addAll(second.has);
                Features.equal(both, all, "both together");
            }
            Features.until("the first has all again", () -> first.has.equals(all));
        }
    }


    static void pattern(String... more) throws Exception {
        String prefix = Clients.newTopic();
        Clients.produce(prefix + "-a", 0, 1);
        String[] settings = Arrays.copyOf(more, more.length + 2);
        settings[more.length] = "metadata.max.age.ms";
        settings[more.length + 1] = "500";
        try (KafkaConsumer<String, String> consumer = Clients.consumer(with("group-" + prefix, settings))) {
            consumer.subscribe(java.util.regex.Pattern.compile(prefix + "-.*"), new Nothing());
            Features.equal(Clients.take(consumer, 1).size(), 1, "records of the first topic");
            Clients.produce(prefix + "-b", 0, 3);
            Features.equal(Clients.take(consumer, 3).size(), 3, "records of the second topic");
        }
    }

    static void autocommit(String... more) throws Exception {
        String topic = Clients.newTopic();
        Clients.produce(topic, 0, COUNT);
        for (int round = 0; round < 2; round++) {
            try (KafkaConsumer<String, String> consumer = Clients.consumer(with("group-" + topic, more))) {
                consumer.subscribe(Collections.singletonList(topic));
                int expected = round == 0 ? COUNT : 5;
                Features.equal(Clients.take(consumer, expected).size(), expected, "records of round " + round);
            }
            Clients.produce(topic, COUNT, 5);
        }
    }

    /** A consumer that polls in its own thread until closed; {@code has} is its assignment. */
    static final class Member implements AutoCloseable {
        volatile Set<TopicPartition> has = Collections.emptySet();
        final Set<String> seen = ConcurrentHashMap.newKeySet();
        private volatile boolean closing;
        private final Thread thread;

        Member(String[] settings, String... topics) {
            thread = new Thread(() -> live(settings, topics));
            thread.setDaemon(true);
            thread.start();
        }

        private void live(String[] settings, String... topics) {
            String[] strategy = Arrays.copyOf(settings, settings.length + 2);
            boolean isClassic = !Arrays.asList(settings).contains("consumer");
            // range would give both topics' only partition to one member
            strategy[settings.length] = isClassic ? "partition.assignment.strategy" : "client.id";
            strategy[settings.length + 1] =
                    isClassic ? "org.apache.kafka.clients.consumer.RoundRobinAssignor" : "member";
            try (KafkaConsumer<String, String> consumer = Clients.consumer(strategy)) {
                consumer.subscribe(Arrays.asList(topics));
                while (!closing) {
                    Poll.poll(consumer, 100).forEach(record -> seen.add(record.value()));
                    has = new HashSet<>(consumer.assignment());
                }
            }
        }

        @Override
        public void close() throws InterruptedException {
            closing = true;
            thread.join(20_000);
        }
    }

    private static final class Nothing implements org.apache.kafka.clients.consumer.ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(java.util.Collection<TopicPartition> partitions) {}

        @Override
        public void onPartitionsAssigned(java.util.Collection<TopicPartition> partitions) {}
    }

    private Groups() {}
}
