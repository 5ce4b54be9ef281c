/** Groups of the consumer protocol (KIP-848), by the checks of the classic one. */
final class ConsumerProtocol {
    private static final String[] SETTINGS = {"group.protocol", "consumer"};

    static void run() {
        Features.check("consumer protocol: commit and resume", () -> Groups.commitAndResume(SETTINGS));
        Features.check("consumer protocol: two members share, one leaves", () -> Groups.share(SETTINGS));
        Features.check("consumer protocol: autocommit", () -> Groups.autocommit(SETTINGS));
        Features.check("consumer protocol: a new topic matches the pattern", () -> Groups.pattern(SETTINGS));
    }

    private ConsumerProtocol() {}
}
