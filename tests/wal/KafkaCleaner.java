import java.io.File;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.CleanerStats;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogToClean;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Apache Kafka's own log cleaner over a partition's folder: FOLDER SEGMENT_BYTES DELETE_RETENTION_MS UNCLEANABLE NOW_MS...,
 * one round for each NOW_MS, each from where the one before ended. UNCLEANABLE is the first offset not to be touched.
 */
public class KafkaCleaner {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("internal.segment.bytes", arguments[1]);
        settings.put("delete.retention.ms", arguments[2]);
        settings.put("cleanup.policy", "compact");
        settings.put("retention.ms", "-1");
        settings.put("file.delete.delay.ms", "0");
        KafkaScheduler scheduler = new KafkaScheduler(1);
        scheduler.startup();
        UnifiedLog log = UnifiedLog.create(
            new File(arguments[0]), new LogConfig(settings), 0L, Long.MAX_VALUE, scheduler, new BrokerTopicStats(), new Then(Long.parseLong(arguments[4])),
            Integer.MAX_VALUE, new ProducerStateManagerConfig(Integer.MAX_VALUE, false), 600_000, new LogDirFailureChannel(1), true,
            Optional.empty());
        log.updateHighWatermark(log.logEndOffset());
        Throttler throttler = new Throttler(Double.MAX_VALUE, 300, "cleaner", "bytes", Time.SYSTEM);
        Cleaner cleaner = new Cleaner(
            0, new SkimpyOffsetMap(128 << 20), 1 << 20, 1 << 20, 0.9, throttler, Time.SYSTEM, partition -> { });
        long end = Long.parseLong(arguments[3]);
        long dirty = 0;
        for (int round = 4; round < arguments.length; round++) {
            long cpu = processCpu();
            Map.Entry<Long, CleanerStats> done =
                cleaner.doClean(new LogToClean(log, dirty, end, false), Long.parseLong(arguments[round]));
            System.out.println("cleaned " + done.getKey() + " " + (processCpu() - cpu) / 1_000_000 + " ms " + log.numberOfSegments());
            if (round + 1 < arguments.length && !arguments[round + 1].isEmpty())
                dirty = Math.max(0, done.getKey() - 1);
        }
        log.close();
        scheduler.shutdown();
    }

    /** A clock that stands still, so that producers do not expire while their log is opened. */
    private static class Then implements Time {
        private final long now;

        Then(long now) {
            this.now = now;
        }

        public long milliseconds() {
            return now;
        }

        public long hiResClockMs() {
            return now;
        }

        public long nanoseconds() {
            return now * 1_000_000;
        }

        public void sleep(long ms) { }

        public void waitObject(Object object, java.util.function.Supplier<Boolean> condition, long deadlineMs) { }

        public <T> T waitForFuture(java.util.concurrent.CompletableFuture<T> future, long deadlineNs)
            throws InterruptedException, java.util.concurrent.ExecutionException {
            return future.get();
        }
    }

    private static long processCpu() {
        return ((com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }
}
