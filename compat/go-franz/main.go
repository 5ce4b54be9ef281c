// What users of franz-go do, checked by what comes back.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const count = 500

var timestampMs = time.Now().Add(-time.Hour).UnixMilli() // young enough for retention

var limit, _ = context.WithTimeout(context.Background(), 4*time.Minute)

func client(options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.AllowAutoTopicCreation(),
	}, options...)...)
	must(err)
	return made
}

func produce(topic string, first, count int, options ...kgo.Opt) {
	producer := client(options...)
	defer producer.Close()
	var records []*kgo.Record
	for n := first; n < first+count; n++ {
		records = append(records, &kgo.Record{
			Topic:     topic,
			Key:       fmt.Appendf(nil, "key-%d", n),
			Value:     fmt.Appendf(nil, "value-%d", n),
			Headers:   []kgo.RecordHeader{{Key: "n", Value: fmt.Appendf(nil, "%d", n)}, {Key: "n", Value: []byte{}}},
			Timestamp: time.UnixMilli(timestampMs + int64(n)),
		})
	}
	must(producer.ProduceSync(limit, records...).FirstErr())
}

func take(consumer *kgo.Client, count int) (taken []*kgo.Record) {
	waiting, cancel := context.WithTimeout(limit, 30*time.Second)
	defer cancel()
	for len(taken) < count && waiting.Err() == nil {
		taken = append(taken, consumer.PollFetches(waiting).Records()...)
	}
	return
}

func assigned(topic string, at int64, options ...kgo.Opt) *kgo.Client {
	offset := kgo.NewOffset().At(at)
	partitions := map[string]map[int32]kgo.Offset{topic: {0: offset}}
	return client(append(options, kgo.ConsumePartitions(partitions))...)
}

func cameBack(records []*kgo.Record, first, count int) {
	equal(len(records), count, "count")
	for at, record := range records {
		n := first + at
		equal(string(record.Key), fmt.Sprintf("key-%d", n), "key")
		equal(string(record.Value), fmt.Sprintf("value-%d", n), "value")
		equal(record.Offset, int64(n), "offset")
		equal(record.Timestamp.UnixMilli(), timestampMs+int64(n), "timestamp")
		equal(len(record.Headers), 2, "headers")
		equal(string(record.Headers[0].Value), fmt.Sprint(n), "header")
	}
}

func roundTrip(options ...kgo.Opt) {
	topic := newTopic()
	produce(topic, 0, count, options...)
	consumer := assigned(topic, 0)
	defer consumer.Close()
	cameBack(take(consumer, count), 0, count)
}

func values(records []*kgo.Record) (found []string) {
	for _, record := range records {
		found = append(found, string(record.Value))
	}
	return
}

func main() {
	check("produce and consume", func() { roundTrip(kgo.ProducerBatchCompression(kgo.NoCompression())) })
	check("gzip", func() { roundTrip(kgo.ProducerBatchCompression(kgo.GzipCompression())) })
	check("snappy", func() { roundTrip(kgo.ProducerBatchCompression(kgo.SnappyCompression())) })
	check("lz4", func() { roundTrip(kgo.ProducerBatchCompression(kgo.Lz4Compression())) })
	check("zstd", func() { roundTrip(kgo.ProducerBatchCompression(kgo.ZstdCompression())) })
	check("acks 0 and 1", func() {
		roundTrip(kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
		roundTrip(kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.NoAck()))
	})
	check("too large a record is refused", tooLarge)
	check("group: commit and resume", commitAndResume)
	check("group: two members share, one leaves", share)
	check("group: cooperative", func() { shareBy(kgo.Balancers(kgo.CooperativeStickyBalancer())) })
	check("admin: topics", adminTopics)
	check("admin: configs", adminConfigs)
	check("admin: groups and lag", adminGroups)
	check("admin: offsets", adminOffsets)
	check("admin: delete records", adminDeleteRecords)
	check("Redpanda Console: cluster", consoleCluster)
	check("Redpanda Console: topics", consoleTopics)
	check("Redpanda Console: groups", consoleGroups)
	check("transactions: committed and aborted", transactions)
	check("transactions: group session", groupSession)
}

func tooLarge() {
	producer := client(kgo.ProducerBatchMaxBytes(5_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer producer.Close()
	err := producer.ProduceSync(limit, &kgo.Record{Topic: newTopic(), Value: make([]byte, 2_000_000)}).FirstErr()
	equal(errors.Is(err, kerr.MessageTooLarge), true, fmt.Sprint(err))
}

func commitAndResume() {
	topic := newTopic()
	produce(topic, 0, count)
	group := []kgo.Opt{
		kgo.ConsumerGroup("group-" + topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	first := client(group...)
	cameBack(take(first, count), 0, count)
	first.CommitOffsetsSync(limit, map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 200}}}, nil)
	first.Close()
	second := client(group...)
	defer second.Close()
	cameBack(take(second, count-200), 200, count-200)
}

func share() { shareBy(kgo.Balancers(kgo.RangeBalancer())) }

type member struct {
	client *kgo.Client
	mutex  sync.Mutex
	has    map[int32]bool
}

func newMember(topic string, balancer kgo.Opt) *member {
	made := &member{has: map[int32]bool{}}
	change := func(value bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			made.mutex.Lock()
			defer made.mutex.Unlock()
			for _, partition := range partitions[topic] {
				if value {
					made.has[partition] = true
				} else {
					delete(made.has, partition)
				}
			}
		}
	}
	made.client = client(balancer, kgo.ConsumerGroup("group-"+topic), kgo.ConsumeTopics(topic),
		kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	return made
}

func (member *member) count() int {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	return len(member.has)
}

func shareBy(balancer kgo.Opt) {
	topic := newTopic()
	admin := kadm.NewClient(client())
	defer admin.Close()
	_, err := admin.CreateTopic(limit, 4, 1, nil, topic)
	must(err)
	one := newMember(topic, balancer)
	until("one has all", func() bool { return one.count() == 4 })
	two := newMember(topic, balancer)
	until("a half each", func() bool { return one.count() == 2 && two.count() == 2 })
	two.client.Close()
	until("one has all again", func() bool { return one.count() == 4 })
	one.client.Close()
}

func adminTopics() {
	admin := kadm.NewClient(client())
	defer admin.Close()
	topic, retention := newTopic(), "77777"
	_, err := admin.CreateTopic(limit, 3, 1, map[string]*string{"retention.ms": &retention}, topic)
	must(err)
	found, err := admin.ListTopics(limit, topic)
	must(err)
	equal(len(found[topic].Partitions), 3, "partitions")
	_, err = admin.CreateTopic(limit, 3, 1, nil, topic)
	equal(err, error(kerr.TopicAlreadyExists), "created twice")
	_, err = admin.UpdatePartitions(limit, 5, topic)
	must(err)
	found, err = admin.ListTopics(limit, topic)
	must(err)
	equal(len(found[topic].Partitions), 5, "partitions after")
	_, err = admin.DeleteTopic(limit, topic)
	must(err)
	found, err = admin.ListTopics(limit)
	must(err)
	equal(found.Has(topic), false, "still there")
}

func adminConfigs() {
	admin := kadm.NewClient(client())
	defer admin.Close()
	topic, value := newTopic(), "55555"
	_, err := admin.CreateTopic(limit, 1, 1, nil, topic)
	must(err)
	_, err = admin.AlterTopicConfigs(limit, []kadm.AlterConfig{{Name: "retention.ms", Value: &value}}, topic)
	must(err)
	found, err := admin.DescribeTopicConfigs(limit, topic)
	must(err)
	for _, config := range found[0].Configs {
		if config.Key == "retention.ms" {
			equal(*config.Value, value, "retention.ms")
			return
		}
	}
	panic("retention.ms is not described")
}

func adminGroups() {
	topic := newTopic()
	produce(topic, 0, 100)
	consumer := client(kgo.ConsumerGroup("group-"+topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	take(consumer, 100)
	consumer.CommitOffsetsSync(limit, map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 40}}}, nil)
	admin := kadm.NewClient(client())
	defer admin.Close()
	lags, err := admin.Lag(limit, "group-"+topic)
	must(err)
	equal(lags["group-"+topic].State, "Stable", "state")
	equal(lags["group-"+topic].Lag.Total(), int64(60), "lag")
	consumer.Close()
	_, err = admin.DeleteGroup(limit, "group-"+topic)
	must(err)
	groups, err := admin.ListGroups(limit)
	must(err)
	_, there := groups["group-"+topic]
	equal(there, false, "the group after its deletion")
}

func adminOffsets() {
	topic := newTopic()
	produce(topic, 0, 100)
	admin := kadm.NewClient(client())
	defer admin.Close()
	end, err := admin.ListEndOffsets(limit, topic)
	must(err)
	equal(end[topic][0].Offset, int64(100), "end")
	found, err := admin.ListOffsetsAfterMilli(limit, timestampMs+33, topic)
	must(err)
	equal(found[topic][0].Offset, int64(33), "by time")
}

func adminDeleteRecords() {
	topic := newTopic()
	produce(topic, 0, 100)
	admin := kadm.NewClient(client())
	defer admin.Close()
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 30, LeaderEpoch: -1})
	_, err := admin.DeleteRecords(limit, before)
	must(err)
	consumer := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer consumer.Close()
	cameBack(take(consumer, 70), 30, 70)
}

func transactions() {
	topic := newTopic()
	producer := client(kgo.TransactionalID("tx-" + topic))
	defer producer.Close()
	var expected []string
	for round := range 6 {
		must(producer.BeginTransaction())
		for n := range 20 {
			value := fmt.Sprintf("%d-%d", round, n)
			producer.Produce(limit, &kgo.Record{Topic: topic, Value: []byte(value)}, nil)
			if round%2 == 0 {
				expected = append(expected, value)
			}
		}
		must(producer.Flush(limit))
		must(producer.EndTransaction(limit, kgo.TransactionEndTry(round%2 == 0)))
	}
	committed := assigned(topic, 0, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer committed.Close()
	equal(values(take(committed, len(expected))), expected, "committed")
}

func groupSession() {
	from, to := newTopic(), newTopic()
	produce(from, 0, 100)
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(bootstrap), kgo.TransactionalID("tx-"+from),
		kgo.ConsumerGroup("group-"+from), kgo.ConsumeTopics(from), kgo.AllowAutoTopicCreation(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	must(err)
	defer session.Close()
	var expected []string
	for len(expected) < 100 {
		fetched := session.PollFetches(limit).Records()
		must(session.Begin())
		for _, record := range fetched {
			expected = append(expected, string(record.Value))
			session.Produce(limit, &kgo.Record{Topic: to, Value: record.Value}, nil)
		}
		committed, err := session.End(limit, kgo.TryCommit)
		must(err)
		equal(committed, true, "committed")
	}
	consumer := assigned(to, 0, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer consumer.Close()
	equal(values(take(consumer, 100)), expected, "copied")
}
