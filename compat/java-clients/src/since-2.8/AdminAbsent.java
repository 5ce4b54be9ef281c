import java.util.Arrays;
import java.util.Collections;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.ResourceNotFoundException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** Users, quotas and tokens: what can be asked says that there are none, what cannot be done is refused at once. */
final class AdminAbsent {
    private static final long AT_ONCE_NS = 10_000_000_000L; // a request that is tried again takes 30 s and more

    static void run() {
        try (AdminClient admin = AdminClient.create(Clients.properties())) {
            Features.check("admin: createAcls refuses", () -> acls(admin));
            Features.check("admin: describeClientQuotas", () -> Features.equal(
                    admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get(),
                    Collections.emptyMap(), "quotas"));
            Features.check("admin: describeUserScramCredentials", () -> users(admin));
            Features.check("admin: alterClientQuotas is refused at once", () -> refusedAtOnce(admin.alterClientQuotas(
                    Collections.singletonList(new ClientQuotaAlteration(
                            new ClientQuotaEntity(Collections.singletonMap("user", "u")),
                            Collections.singletonList(new ClientQuotaAlteration.Op("producer_byte_rate", 1.0)))))
                    .all()));
            Features.check("admin: alterUserScramCredentials is refused at once", () -> refusedAtOnce(
                    admin.alterUserScramCredentials(Arrays.asList(
                            new UserScramCredentialDeletion("u", ScramMechanism.SCRAM_SHA_256))).all()));
            Features.check("admin: delegation tokens are refused at once", () -> {
                refusedAtOnce(admin.createDelegationToken().delegationToken());
                refusedAtOnce(admin.describeDelegationToken().delegationTokens());
            });
        }
    }

    private static void acls(AdminClient admin) throws Exception {
        AclBinding binding = new AclBinding(
                new ResourcePattern(ResourceType.TOPIC, "t", PatternType.LITERAL),
                new AccessControlEntry("User:u", "*", AclOperation.READ, AclPermissionType.ALLOW));
        Features.refused(
                SecurityDisabledException.class, () -> admin.createAcls(Collections.singletonList(binding)).all().get());
    }

    private static void users(AdminClient admin) throws Exception {
        Features.equal(admin.describeUserScramCredentials().all().get(), Collections.emptyMap(), "users");
        Features.refused(
                ResourceNotFoundException.class,
                () -> admin.describeUserScramCredentials(Collections.singletonList("u")).description("u").get());
    }

    static void refusedAtOnce(KafkaFuture<?> answer) throws Exception {
        long started = System.nanoTime();
        Features.refused(UnsupportedVersionException.class, answer::get);
        Features.isTrue(System.nanoTime() - started < AT_ONCE_NS, "refused at once");
    }

    private AdminAbsent() {}
}
