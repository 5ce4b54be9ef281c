import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.checkpoint.LeaderEpochCheckpointFile;
import org.apache.kafka.storage.internals.log.*;
import org.apache.kafka.server.common.*;

public class Golden {
    static String hex(ByteBuffer b) {
        b = b.duplicate(); byte[] a = new byte[b.remaining()]; b.get(a);
        return HexFormat.of().formatHex(a);
    }
    static Compression codec(String n) {
        switch (n) { case "gzip": return Compression.gzip().build(); case "snappy": return Compression.snappy().build();
            case "lz4": return Compression.lz4().build(); case "zstd": return Compression.zstd().build(); default: return Compression.NONE; }
    }
    static void fill(MemoryRecordsBuilder b, int magic) {
        Header[] h = {new RecordHeader("trace", "abc".getBytes()), new RecordHeader("none", null)};
        Header[] no = {};
        byte[] big = new byte[1000]; for (int i = 0; i < big.length; i++) big[i] = (byte) ('a' + i % 7);
        b.append(1500000000000L, "key-0".getBytes(), "value-0".getBytes(), magic == 2 ? h : no);
        b.append(1500000000500L, (byte[]) null, "no key".getBytes());
        b.append(1500000000250L, "no value".getBytes(), (byte[]) null);
        b.append(1500000001000L, "".getBytes(), big);
    }
    public static void main(String[] a) throws Exception {
        if (a.length > 0) { read(a[0]); return; }
        for (int magic = 0; magic <= 2; magic++)
            for (String c : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
                if (c.equals("zstd") && magic < 2) continue;
                for (TimestampType t : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
                    if (magic == 0 && t == TimestampType.LOG_APPEND_TIME) continue;
                    MemoryRecordsBuilder b = MemoryRecords.builder(ByteBuffer.allocate(8192), (byte) magic, codec(c), 
                        magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : t, 5L, t == TimestampType.LOG_APPEND_TIME ? 1600000000000L : RecordBatch.NO_TIMESTAMP);
                    fill(b, magic);
                    System.out.println("magic" + magic + "-" + c + (t == TimestampType.LOG_APPEND_TIME ? "-append-time" : "") + " " + hex(b.build().buffer()));
                }
            }
        MemoryRecordsBuilder p = MemoryRecords.builder(ByteBuffer.allocate(8192), (byte) 2, codec("none"), TimestampType.CREATE_TIME, 100L, RecordBatch.NO_TIMESTAMP, 4242L, (short) 7, Integer.MAX_VALUE - 1, true, 33);
        fill(p, 2);
        System.out.println("transactional " + hex(p.build().buffer()));
        System.out.println("commit " + hex(MemoryRecords.withEndTransactionMarker(104L, 1500000002000L, 33, 4242L, (short) 7, new EndTransactionMarker(ControlRecordType.COMMIT, 12)).buffer()));
        System.out.println("abort " + hex(MemoryRecords.withEndTransactionMarker(104L, 1500000002000L, 33, 4242L, (short) 7, new EndTransactionMarker(ControlRecordType.ABORT, 12)).buffer()));
        // wal files
        File dir = Files.createTempDirectory("g").toFile();
        TopicPartition tp = new TopicPartition("t", 0);
        ProducerStateManager m = new ProducerStateManager(tp, dir, 900000, new ProducerStateManagerConfig(86400000, false), Time.SYSTEM);
        ProducerAppendInfo i = m.prepareUpdate(4242L, AppendOrigin.CLIENT);
        i.appendDataBatch((short) 7, 0, 3, 1500000001000L, new LogOffsetMetadata(100L), 103L, true); m.update(i);
        i = m.prepareUpdate(5L, AppendOrigin.CLIENT);
        i.appendDataBatch((short) 0, Integer.MAX_VALUE - 1, 1, 1500000003000L, new LogOffsetMetadata(104L), 107L, false); m.update(i);
        i = m.prepareUpdate(6L, AppendOrigin.CLIENT);
        i.appendDataBatch((short) 2, 0, 0, 1500000004000L, new LogOffsetMetadata(108L), 108L, true); m.update(i);
        i = m.prepareUpdate(6L, AppendOrigin.COORDINATOR);
        m.completeTxn(i.appendEndTxnMarker(new EndTransactionMarker(ControlRecordType.ABORT, 9), (short) 3, 109L, 1500000005000L, (short) 2).get()); m.update(i);
        m.updateMapEndOffset(110L); m.takeSnapshot();
        System.out.println("snapshot " + HexFormat.of().formatHex(Files.readAllBytes(new File(dir, "00000000000000000110.snapshot").toPath())));
        File tf = new File(dir, "00000000000000000000.txnindex");
        TransactionIndex x = new TransactionIndex(0, tf);
        x.append(new AbortedTxn(6L, 108L, 109L, 100L)); x.append(new AbortedTxn(4242L, 100L, 120L, 121L)); x.flush(); x.close();
        System.out.println("txnindex " + HexFormat.of().formatHex(Files.readAllBytes(tf.toPath())));
        LeaderEpochCheckpointFile l = new LeaderEpochCheckpointFile(LeaderEpochCheckpointFile.newFile(dir), new LogDirFailureChannel(1));
        l.write(List.of(new EpochEntry(0, 0L), new EpochEntry(3, 1500L), new EpochEntry(4, 1L << 40)));
        System.out.println("leader-epoch-checkpoint " + HexFormat.of().formatHex(Files.readAllBytes(LeaderEpochCheckpointFile.newFile(dir).toPath())));
    }
    static String show(ByteBuffer b) { return b == null ? "null" : hex(b); }
    static void read(String file) throws Exception {
        for (String line : Files.readAllLines(new File(file).toPath())) {
            String[] kv = line.split(" ");
            if (kv[0].startsWith("snapshot") ) {
                File f = File.createTempFile("golden", ".snapshot"); Files.write(f.toPath(), HexFormat.of().parseHex(kv[1]));
                System.out.println(kv[0] + " " + ProducerStateManager.readSnapshot(f)); continue;
            }
            if (kv[0].startsWith("leader-epoch")) {
                File d = Files.createTempDirectory("g").toFile(); Files.write(LeaderEpochCheckpointFile.newFile(d).toPath(), HexFormat.of().parseHex(kv[1]));
                System.out.println(kv[0] + " " + new LeaderEpochCheckpointFile(LeaderEpochCheckpointFile.newFile(d), new LogDirFailureChannel(1)).read()); continue;
            }
            if (kv[0].startsWith("txnindex")) {
                File f = File.createTempFile("golden", ".txnindex"); Files.write(f.toPath(), HexFormat.of().parseHex(kv[1]));
                System.out.println(kv[0] + " " + new TransactionIndex(0, f).allAbortedTxns()); continue;
            }
            MemoryRecords r = MemoryRecords.readableRecords(ByteBuffer.wrap(HexFormat.of().parseHex(kv[1])));
            StringBuilder s = new StringBuilder(kv[0]);
            for (MutableRecordBatch b : r.batches()) {
                b.ensureValid();
                s.append(" [" + b.magic() + " " + b.compressionType() + " " + b.baseOffset() + "-" + b.lastOffset() + " " + b.producerId() + "/" + b.producerEpoch() + "/" + b.baseSequence() + "-" + b.lastSequence() + " " + b.isTransactional() + " " + b.isControlBatch() + " " + b.timestampType() + " " + b.maxTimestamp() + " " + b.partitionLeaderEpoch() + "]");
                for (org.apache.kafka.common.record.internal.Record x : b) {
                    x.ensureValid();
                    s.append(" (" + x.offset() + " " + x.timestamp() + " " + show(x.key()) + " " + show(x.value()).hashCode() + " " + x.headers().length + ")");
                }
            }
            System.out.println(s);
        }
    }
}
