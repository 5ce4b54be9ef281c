import java.time.Duration;
import org.apache.kafka.streams.kstream.TimeWindows;

/** Before 3.0. */
final class Windows {
    static TimeWindows minutes() {
        return TimeWindows.of(Duration.ofMinutes(1)).grace(Duration.ofHours(1));
    }

    private Windows() {}
}
