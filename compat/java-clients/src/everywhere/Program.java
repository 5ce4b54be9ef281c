/** Runs the checks of every part that this version of the client could compile. */
public final class Program {
    private static final String[] PARTS = {
        "Records", "Groups", "Headers", "Transactions", "AdminTopics", "AdminMore", "AdminBefore28", "AdminBefore40",
        "AdminSince28", "AdminAbsent", "AdminSince39", "ConsumerProtocol", "AdminSince43"
    };

    public static void main(String[] arguments) throws Exception {
        for (String part : PARTS) {
            Class<?> found;
            try {
                found = Class.forName(part);
            } catch (ClassNotFoundException absent) {
                continue;
            }
            found.getDeclaredMethod("run").invoke(null);
        }
        System.out.flush();
        Runtime.getRuntime().halt(0); // some checks leave clients behind whose close would wait
    }

    private Program() {}
}
