import java.time.Duration;
import org.apache.kafka.streams.kstream.TimeWindows;

/** Since 3.0. */
final class Windows {
    static TimeWindows minutes() {
        return TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofHours(1));
    }

    private Windows() {}
}
