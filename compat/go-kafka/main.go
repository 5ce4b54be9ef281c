// What users of segmentio's kafka-go do, checked by what comes back.
package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

const count = 300

var (
	timestampMs = time.Now().Add(-time.Hour).UnixMilli() // young enough for retention
	limit, _    = context.WithTimeout(context.Background(), 4*time.Minute)
	admin       = &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second}
)

func create(partitions int) string {
	topic := newTopic()
	made, err := admin.CreateTopics(limit, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
	})
	must(err)
	must(made.Errors[topic])
	return topic
}

func messages(first, count int) (made []kafka.Message) {
	for n := first; n < first+count; n++ {
		made = append(made, kafka.Message{
			Key:     fmt.Appendf(nil, "key-%d", n),
			Value:   fmt.Appendf(nil, "value-%d", n),
			Headers: []kafka.Header{{Key: "n", Value: fmt.Append(nil, n)}},
			Time:    time.UnixMilli(timestampMs + int64(n)),
		})
	}
	return
}

func produce(topic string, first, count int, change func(*kafka.Writer)) {
	writer := &kafka.Writer{
		Addr: kafka.TCP(bootstrap), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond,
	}
	change(writer)
	must(writer.WriteMessages(limit, messages(first, count)...))
	must(writer.Close())
}

func plain(*kafka.Writer) {}

func take(reader *kafka.Reader, count int) (taken []kafka.Message) {
	waiting, cancel := context.WithTimeout(limit, 30*time.Second)
	defer cancel()
	for len(taken) < count {
		message, err := reader.FetchMessage(waiting)
		must(err)
		taken = append(taken, message)
	}
	return
}

func readerAt(topic string, offset int64) *kafka.Reader {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{bootstrap}, Topic: topic, MaxWait: 100 * time.Millisecond, MaxBytes: 10_000_000,
	})
	must(reader.SetOffset(offset))
	return reader
}

func cameBack(records []kafka.Message, first, count int) {
	equal(len(records), count, "count")
	for at, record := range records {
		n := first + at
		equal(string(record.Key), fmt.Sprintf("key-%d", n), "key")
		equal(string(record.Value), fmt.Sprintf("value-%d", n), "value")
		equal(record.Offset, int64(n), "offset")
		equal(record.Time.UnixMilli(), timestampMs+int64(n), "timestamp")
		equal(string(record.Headers[0].Value), fmt.Sprint(n), "header")
	}
}

func roundTrip(change func(*kafka.Writer)) {
	topic := create(1)
	produce(topic, 0, count, change)
	reader := readerAt(topic, 0)
	defer reader.Close()
	cameBack(take(reader, count), 0, count)
}

func compressed(codec kafka.Compression) func() {
	return func() { roundTrip(func(writer *kafka.Writer) { writer.Compression = codec }) }
}

func main() {
	check("produce and consume", func() { roundTrip(plain) })
	check("gzip", compressed(kafka.Gzip))
	check("snappy", compressed(kafka.Snappy))
	check("lz4", compressed(kafka.Lz4))
	check("zstd", compressed(kafka.Zstd))
	check("acks 0 and 1", func() {
		roundTrip(func(writer *kafka.Writer) { writer.RequiredAcks = kafka.RequireOne })
		roundTrip(func(writer *kafka.Writer) { writer.RequiredAcks = kafka.RequireNone })
	})
	check("too large a record is refused", tooLarge)
	check("a low-level connection", connection)
	check("group: commit and resume", commitAndResume)
	check("group: two members share, one leaves", share)
	check("admin: topics", adminTopics)
	check("admin: configs", adminConfigs)
	check("admin: offsets by time", adminOffsets)
	check("admin: offsets of a group", adminGroupOffsets)
}

func tooLarge() {
	writer := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: create(1), BatchBytes: 5_000_000, RequiredAcks: kafka.RequireAll}
	defer writer.Close()
	err := writer.WriteMessages(limit, kafka.Message{Value: make([]byte, 2_000_000)})
	equal(strings.Contains(fmt.Sprint(err), "Message Size Too Large"), true, fmt.Sprint(err))
}

func connection() {
	topic := create(1)
	leader, err := kafka.DialLeader(limit, "tcp", bootstrap, topic, 0)
	must(err)
	defer leader.Close()
	_, err = leader.WriteMessages(messages(0, 20)...)
	must(err)
	first, last, err := leader.ReadOffsets()
	must(err)
	equal([]int64{first, last}, []int64{0, 20}, "offsets")
	_, err = leader.Seek(5, kafka.SeekStart)
	must(err)
	message, err := leader.ReadMessage(1_000_000)
	must(err)
	equal(string(message.Value), "value-5", "value")
}

func member(topic, group string) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{bootstrap}, GroupTopics: []string{topic}, GroupID: group, StartOffset: kafka.FirstOffset,
		MaxWait: 100 * time.Millisecond, HeartbeatInterval: 200 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond,
	})
}

func commitAndResume() {
	topic := create(1)
	produce(topic, 0, count, plain)
	first := member(topic, "group-"+topic)
	taken := take(first, count)
	cameBack(taken, 0, count)
	must(first.CommitMessages(limit, taken[99]))
	must(first.Close())
	second := member(topic, "group-"+topic)
	defer second.Close()
	cameBack(take(second, count-100), 100, count-100)
}

func assigned(group string, partitions ...int) func() bool {
	return func() bool {
		found, err := admin.DescribeGroups(limit, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
		must(err)
		if found.Groups[0].GroupState != "Stable" || len(found.Groups[0].Members) != len(partitions) {
			return false
		}
		for at, one := range found.Groups[0].Members {
			if len(one.MemberAssignments.Topics) != 1 || len(one.MemberAssignments.Topics[0].Partitions) != partitions[at] {
				return false
			}
		}
		return true
	}
}

func share() {
	topic := create(4)
	group := "group-" + topic
	one := member(topic, group)
	defer one.Close()
	until("one has all", assigned(group, 4))
	two := member(topic, group)
	until("a half each", assigned(group, 2, 2))
	must(two.Close())
	until("one has all again", assigned(group, 4))
}

func adminTopics() {
	topic := create(2)
	_, err := admin.CreatePartitions(limit, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}},
	})
	must(err)
	until("3 partitions", func() bool { // it keeps metadata for some seconds
		found, err := admin.Metadata(limit, &kafka.MetadataRequest{Topics: []string{topic}})
		must(err)
		return len(found.Topics[0].Partitions) == 3
	})
	deleted, err := admin.DeleteTopics(limit, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	must(err)
	must(deleted.Errors[topic])
	until("gone", func() bool {
		found, err := admin.Metadata(limit, &kafka.MetadataRequest{})
		must(err)
		return !slices.ContainsFunc(found.Topics, func(one kafka.Topic) bool { return one.Name == topic })
	})
}

func adminConfigs() {
	topic := create(1)
	changed, err := admin.IncrementalAlterConfigs(limit, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "55555"}},
		}},
	})
	must(err)
	must(changed.Resources[0].Error)
	found, err := admin.DescribeConfigs(limit, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"},
		}},
	})
	must(err)
	equal(found.Resources[0].ConfigEntries[0].ConfigValue, "55555", "retention.ms")
}

func adminOffsets() {
	topic := create(1)
	produce(topic, 0, 100, plain)
	at := time.UnixMilli(timestampMs + 33)
	found, err := admin.ListOffsets(limit, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0), kafka.TimeOffsetOf(0, at)}},
	})
	must(err)
	offsets := found.Topics[topic][0]
	equal([]int64{offsets.FirstOffset, offsets.LastOffset}, []int64{0, 100}, "first and last")
	_, there := offsets.Offsets[33]
	equal(there, true, "offset by time")
}

func adminGroupOffsets() {
	topic := create(1)
	produce(topic, 0, 100, plain)
	group := "group-" + topic
	_, err := admin.OffsetCommit(limit, &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 42}}},
	})
	must(err)
	found, err := admin.OffsetFetch(limit, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	must(err)
	equal(found.Topics[topic][0].CommittedOffset, int64(42), "offset")
	reader := member(topic, group)
	defer reader.Close()
	cameBack(take(reader, 58), 42, 58)
}
