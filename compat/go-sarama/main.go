// What users of sarama do, checked by what comes back.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const count = 500

var timestampMs = time.Now().Add(-time.Hour).UnixMilli() // young enough for retention

func config() *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.MaxVersion
	made.Producer.Return.Successes = true
	made.Producer.RequiredAcks = sarama.WaitForAll
	made.Producer.Partitioner = sarama.NewManualPartitioner
	made.Consumer.Offsets.Initial = sarama.OffsetOldest
	made.Consumer.MaxWaitTime = 100 * time.Millisecond
	made.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	return made
}

func messages(topic string, first, count int, settings *sarama.Config) (made []*sarama.ProducerMessage) {
	for n := first; n < first+count; n++ {
		message := &sarama.ProducerMessage{
			Topic:     topic,
			Key:       sarama.StringEncoder(fmt.Sprintf("key-%d", n)),
			Value:     sarama.StringEncoder(fmt.Sprintf("value-%d", n)),
			Timestamp: time.UnixMilli(timestampMs + int64(n)),
		}
		if settings.Version.IsAtLeast(sarama.V0_11_0_0) {
			message.Headers = []sarama.RecordHeader{{Key: []byte("n"), Value: fmt.Append(nil, n)}}
		}
		made = append(made, message)
	}
	return
}

func produce(topic string, first, count int, settings *sarama.Config) {
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, settings)
	must(err)
	defer producer.Close()
	must(producer.SendMessages(messages(topic, first, count, settings)))
}

func take(topic string, from int64, count int, settings *sarama.Config) (taken []*sarama.ConsumerMessage) {
	consumer, err := sarama.NewConsumer([]string{bootstrap}, settings)
	must(err)
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, from)
	must(err)
	defer partition.Close()
	limit := time.After(30 * time.Second)
	for len(taken) < count {
		select {
		case message := <-partition.Messages():
			taken = append(taken, message)
		case <-limit:
			return
		}
	}
	return
}

func cameBack(records []*sarama.ConsumerMessage, first, count int, withHeaders bool) {
	equal(len(records), count, "count")
	for at, record := range records {
		n := first + at
		equal(string(record.Key), fmt.Sprintf("key-%d", n), "key")
		equal(string(record.Value), fmt.Sprintf("value-%d", n), "value")
		equal(record.Offset, int64(n), "offset")
		equal(record.Timestamp.UnixMilli(), timestampMs+int64(n), "timestamp")
		if withHeaders {
			equal(string(record.Headers[0].Value), fmt.Sprint(n), "header")
		}
	}
}

func roundTrip(change func(*sarama.Config)) {
	settings := config()
	change(settings)
	topic := newTopic()
	produce(topic, 0, count, settings)
	cameBack(take(topic, 0, count, config()), 0, count, settings.Version.IsAtLeast(sarama.V0_11_0_0))
}

func compressed(codec sarama.CompressionCodec) func() {
	return func() { roundTrip(func(settings *sarama.Config) { settings.Producer.Compression = codec }) }
}

func main() {
	sarama.Logger = log.New(io.Discard, "", 0)
	check("produce and consume", func() { roundTrip(func(*sarama.Config) {}) })
	check("gzip", compressed(sarama.CompressionGZIP))
	check("snappy", compressed(sarama.CompressionSnappy))
	check("lz4", compressed(sarama.CompressionLZ4))
	check("zstd", compressed(sarama.CompressionZSTD))
	check("acks 1", func() { roundTrip(func(c *sarama.Config) { c.Producer.RequiredAcks = sarama.WaitForLocal }) })
	check("idempotent producer", func() { roundTrip(idempotent) })
	check("as a client of Kafka 0.10", func() { roundTrip(func(c *sarama.Config) { c.Version = sarama.V0_10_0_0 }) })
	check("as a client of Kafka 1.0", func() { roundTrip(func(c *sarama.Config) { c.Version = sarama.V1_0_0_0 }) })
	check("as a client of Kafka 2.1", func() { roundTrip(func(c *sarama.Config) { c.Version = sarama.V2_1_0_0 }) })
	check("too large a record is refused", tooLarge)
	check("group: commit and resume", commitAndResume)
	check("group: two members share, one leaves", share)
	check("admin: topics", adminTopics)
	check("admin: configs", adminConfigs)
	check("admin: groups", adminGroups)
	check("admin: offsets and delete records", adminOffsets)
	check("transactions: committed and aborted", transactions)
	check("transactions: offsets and records together", offsetsInTransaction)
}

func idempotent(settings *sarama.Config) {
	settings.Producer.Idempotent = true
	settings.Net.MaxOpenRequests = 1
}

func tooLarge() {
	settings := config()
	settings.Producer.MaxMessageBytes = 5_000_000
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, settings)
	must(err)
	defer producer.Close()
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: newTopic(), Value: sarama.ByteEncoder(make([]byte, 2_000_000))})
	equal(errors.Is(err, sarama.ErrMessageSizeTooLarge), true, fmt.Sprint(err))
}

// member is a consumer of a group that runs until stopped.
type member struct {
	mutex    sync.Mutex
	has      []int32
	taken    []*sarama.ConsumerMessage
	commitAt int64
	group    sarama.ConsumerGroup
	stop     context.CancelFunc
	done     chan struct{}
}

func newMember(topic, group string, commitAt int64) *member {
	settings := config()
	settings.Consumer.Offsets.AutoCommit.Enable = false
	made := &member{commitAt: commitAt, done: make(chan struct{})}
	var err error
	made.group, err = sarama.NewConsumerGroup([]string{bootstrap}, group, settings)
	must(err)
	var running context.Context
	running, made.stop = context.WithCancel(context.Background())
	go func() {
		defer close(made.done)
		for running.Err() == nil {
			if err := made.group.Consume(running, []string{topic}, made); err != nil {
				return
			}
		}
	}()
	return made
}

func (member *member) Setup(session sarama.ConsumerGroupSession) error {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	member.has = nil
	for _, partitions := range session.Claims() {
		member.has = append(member.has, partitions...)
	}
	return nil
}

func (member *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (member *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			member.mutex.Lock()
			member.taken = append(member.taken, message)
			member.mutex.Unlock()
			if message.Offset+1 == member.commitAt {
				session.MarkOffset(message.Topic, message.Partition, message.Offset+1, "so far")
				session.Commit()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (member *member) counts() (partitions, taken int) {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	return len(member.has), len(member.taken)
}

func (member *member) close() {
	member.stop()
	<-member.done
	must(member.group.Close())
}

func commitAndResume() {
	topic := newTopic()
	produce(topic, 0, count, config())
	first := newMember(topic, "group-"+topic, 200)
	until("all", func() bool { _, taken := first.counts(); return taken == count })
	first.close()
	second := newMember(topic, "group-"+topic, 0)
	until("the rest", func() bool { _, taken := second.counts(); return taken == count-200 })
	second.close()
	cameBack(second.taken, 200, count-200, true)
}

func share() {
	topic := newTopic()
	admin := newAdmin()
	defer admin.Close()
	must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 4, ReplicationFactor: 1}, false))
	has := func(member *member, count int) bool { partitions, _ := member.counts(); return partitions == count }
	one := newMember(topic, "group-"+topic, 0)
	until("one has all", func() bool { return has(one, 4) })
	two := newMember(topic, "group-"+topic, 0)
	until("a half each", func() bool { return has(one, 2) && has(two, 2) })
	two.close()
	until("one has all again", func() bool { return has(one, 4) })
	one.close()
}

func newAdmin() sarama.ClusterAdmin {
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, config())
	must(err)
	return admin
}

func adminTopics() {
	admin := newAdmin()
	defer admin.Close()
	topic, retention := newTopic(), "77777"
	detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}
	must(admin.CreateTopic(topic, detail, false))
	equal(errors.Is(admin.CreateTopic(topic, detail, false), sarama.ErrTopicAlreadyExists), true, "created twice")
	must(admin.CreatePartitions(topic, 5, nil, false))
	found, err := admin.ListTopics()
	must(err)
	equal(found[topic].NumPartitions, int32(5), "partitions")
	equal(*found[topic].ConfigEntries["retention.ms"], "77777", "retention.ms")
	must(admin.DeleteTopic(topic))
	found, err = admin.ListTopics()
	must(err)
	_, there := found[topic]
	equal(there, false, "there after its deletion")
}

func adminConfigs() {
	admin := newAdmin()
	defer admin.Close()
	topic, value := newTopic(), "55555"
	must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false))
	entries := map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
	}
	must(admin.IncrementalAlterConfig(sarama.TopicResource, topic, entries, false))
	found, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}})
	must(err)
	equal(len(found), 1, "entries")
	equal(found[0].Value, value, "retention.ms")
}

func adminGroups() {
	topic := newTopic()
	group := "group-" + topic
	produce(topic, 0, 100, config())
	consumer := newMember(topic, group, 40)
	until("all", func() bool { _, taken := consumer.counts(); return taken == 100 })
	admin := newAdmin()
	defer admin.Close()
	found, err := admin.DescribeConsumerGroups([]string{group})
	must(err)
	equal(found[0].State, "Stable", "state")
	offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	must(err)
	equal(offsets.GetBlock(topic, 0).Offset, int64(40), "offset")
	consumer.close()
	must(admin.DeleteConsumerGroup(group))
	groups, err := admin.ListConsumerGroups()
	must(err)
	_, there := groups[group]
	equal(there, false, "there after its deletion")
}

func adminOffsets() {
	topic := newTopic()
	produce(topic, 0, 100, config())
	client, err := sarama.NewClient([]string{bootstrap}, config())
	must(err)
	defer client.Close()
	end, err := client.GetOffset(topic, 0, sarama.OffsetNewest)
	must(err)
	equal(end, int64(100), "end")
	found, err := client.GetOffset(topic, 0, timestampMs+33)
	must(err)
	equal(found, int64(33), "by time")
	admin := newAdmin()
	defer admin.Close()
	must(admin.DeleteRecords(topic, map[int32]int64{0: 30}))
	cameBack(take(topic, sarama.OffsetOldest, 70, config()), 30, 70, true)
}

func transactional(id string) sarama.SyncProducer {
	settings := config()
	idempotent(settings)
	settings.Producer.Transaction.ID = id
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, settings)
	must(err)
	return producer
}

func transactions() {
	topic := newTopic()
	producer := transactional("tx-" + topic)
	defer producer.Close()
	for round := range 4 {
		must(producer.BeginTxn())
		must(producer.SendMessages(messages(topic, round*10, 10, config())))
		if round%2 == 0 {
			must(producer.CommitTxn())
		} else {
			must(producer.AbortTxn())
		}
	}
	settings := config()
	settings.Consumer.IsolationLevel = sarama.ReadCommitted
	var expected, found []string
	for _, round := range []int{0, 2} {
		for n := range 10 {
			expected = append(expected, fmt.Sprintf("value-%d", round*10+n))
		}
	}
	for _, record := range take(topic, 0, 20, settings) {
		found = append(found, string(record.Value))
	}
	equal(found, expected, "committed")
}

func offsetsInTransaction() {
	topic := newTopic()
	produce(topic, 0, 100, config())
	producer := transactional("tx-" + topic)
	defer producer.Close()
	must(producer.BeginTxn())
	must(producer.SendMessages(messages(topic+"-copy", 0, 10, config())))
	offsets := map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: 0, Offset: 10}}}
	must(producer.AddOffsetsToTxn(offsets, "group-"+topic))
	must(producer.CommitTxn())
	consumer := newMember(topic, "group-"+topic, 0)
	until("the rest", func() bool { _, taken := consumer.counts(); return taken == 90 })
	consumer.close()
	cameBack(consumer.taken, 10, 90, true)
}
