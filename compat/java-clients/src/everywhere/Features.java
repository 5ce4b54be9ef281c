import java.util.Objects;
import java.util.concurrent.Callable;

/** Runs named checks one after the other and reports each as a JSON line. A check fails by any exception. */
final class Features {
    static final String BOOTSTRAP = System.getenv("FLOE_BOOTSTRAP");

    interface Check {
        void run() throws Exception;
    }

    static void check(String feature, Check check) {
        long started = System.nanoTime();
        String result = "pass";
        String reason = "";
        try {
            check.run();
        } catch (Throwable error) {
            error.printStackTrace();
            Throwable cause = error.getCause() == null ? error : error.getCause();
            result = "fail";
            reason = cause.getClass().getSimpleName() + ": " + cause.getMessage();
        }
        System.out.printf(
                "{\"feature\": \"%s\", \"result\": \"%s\", \"reason\": \"%s\"}%n", feature, result, escaped(reason));
        System.err.printf("%s took %d ms%n", feature, (System.nanoTime() - started) / 1_000_000);
    }

    static void equal(Object actual, Object expected, String what) {
        if (!Objects.equals(actual, expected)) {
            throw new AssertionError(what + ": expected " + shortly(expected) + ", got " + shortly(actual));
        }
    }

    static void isTrue(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("not so: " + what);
        }
    }

    static void until(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + 30_000_000_000L;
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("in 30 s it did not come true: " + what);
            }
            Thread.sleep(20);
        }
    }

    /** Asserts that the check fails with an exception of this class, or caused by one. */
    static void refused(Class<? extends Throwable> expected, Check check) throws Exception {
        try {
            check.run();
        } catch (Throwable error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                if (expected.isInstance(cause)) {
                    return;
                }
            }
            throw new AssertionError("expected " + expected.getSimpleName() + ", got " + error, error);
        }
        throw new AssertionError("was not refused with " + expected.getSimpleName());
    }

    private static String shortly(Object value) {
        String text = String.valueOf(value);
        return text.length() < 200 ? text : text.substring(0, 200) + "…";
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\"", "'").replaceAll("\\s+", " ");
    }

    private Features() {}
}
