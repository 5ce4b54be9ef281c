import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;

/** Counts words in a state store, counts them by the minute, joins them with a table; until its input ends. */
public final class Application {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String guarantee = arguments[1];
        String name = arguments[2];
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.stream(name + "-in");
        words.groupBy((key, word) -> word).count(Materialized.as("counts")).toStream()
                .mapValues(String::valueOf).to(name + "-counts");
        words.groupBy((key, word) -> word)
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofDays(1))).count().toStream()
                .map((window, count) ->
                        new KeyValue<>(window.key() + "@" + window.window().start(), String.valueOf(count)))
                .to(name + "-windows");
        words.join(builder.<String, String>table(name + "-table"), (word, text) -> word + "+" + text).to(name + "-joins");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(bootstrap, guarantee, name));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
        while (System.in.read() >= 0) {
            continue;
        }
        streams.close(Duration.ofSeconds(20));
    }

    private static Properties settings(String bootstrap, String guarantee, String name) {
        Properties settings = new Properties();
        settings.put("application.id", name);
        settings.put("bootstrap.servers", bootstrap);
        settings.put("processing.guarantee", guarantee);
        settings.put("state.dir", System.getenv("SCRATCH") + "/state");
        settings.put("default.key.serde", Serdes.StringSerde.class.getName());
        settings.put("default.value.serde", Serdes.StringSerde.class.getName());
        settings.put("statestore.cache.max.bytes", "0"); // every record shows in the output
        settings.put("commit.interval.ms", "100");
        settings.put("auto.offset.reset", "earliest");
        settings.put("max.task.idle.ms", "2000"); // the table comes before what is joined with it
        settings.put("replication.factor", "1");
        settings.put("session.timeout.ms", "6000");
        return settings;
    }

    private Application() {}
}
