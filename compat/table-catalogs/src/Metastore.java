import java.sql.DriverManager;
import java.sql.SQLException;
import org.apache.hadoop.hive.conf.HiveConf;
import org.apache.hadoop.hive.metastore.HiveMetaStore;
import org.apache.hadoop.hive.metastore.txn.TxnDbUtil;

/**
 * Hive's metastore as it is. "make" as the only argument makes its database, with the tables of locks and transactions
 * that schematool makes elsewhere and that its jars have only as a method.
 */
public class Metastore {
    public static void main(String[] arguments) throws Throwable {
        if (!arguments[0].equals("make")) {
            HiveMetaStore.main(arguments);
            return;
        }
        HiveConf conf = new HiveConf();
        TxnDbUtil.prepDb(conf);
        new HiveMetaStore.HMSHandler("make", conf, true);
        try {
            DriverManager.getConnection("jdbc:derby:;shutdown=true");
        } catch (SQLException ended) {
            System.exit(0);
        }
    }
}
