package main

import (
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Redpanda Console is built on this client; these are the requests of its first pages.

// pagesNeed are the requests without which it switches a page or a button off. Its pages about users need
// AlterUserScramCredentials, which Floe does not have.
var pagesNeed = []kmsg.Key{
	kmsg.DescribeConfigs, kmsg.DescribeGroups, kmsg.ListGroups, kmsg.DeleteRecords, kmsg.OffsetCommit, kmsg.DeleteGroups,
	kmsg.OffsetDelete, kmsg.ListPartitionReassignments, kmsg.IncrementalAlterConfigs, kmsg.AlterPartitionAssignments,
	kmsg.DescribeClientQuotas, kmsg.DescribeUserSCRAMCredentials,
}

func consoleCluster() {
	topic := newTopic()
	produce(topic, 0, 100)
	admin := kadm.NewClient(client())
	defer admin.Close()
	cluster, err := admin.Metadata(limit)
	must(err)
	equal(len(cluster.Brokers), 1, "brokers")
	equal(cluster.Controller, cluster.Brokers[0].NodeID, "controller")
	equal(len(cluster.Cluster), 22, "length of the cluster's id")
	equal(cluster.Topics.Has(topic), true, "the topic")
	cluster.Topics.EachPartition(func(partition kadm.PartitionDetail) {
		must(partition.Err)
		equal(partition.ISR, partition.Replicas, "in sync")
		equal(len(partition.OfflineReplicas), 0, "offline")
	})
	versions, err := admin.ApiVersions(limit)
	must(err)
	for _, broker := range versions {
		must(broker.Err)
		fmt.Fprintf(os.Stderr, "guessed version: %s\n", broker.VersionGuess())
		for _, key := range pagesNeed {
			if _, has := broker.KeyMaxVersion(key.Int16()); !has {
				panic("a page would be switched off for want of " + key.Name())
			}
		}
	}
	rules := kmsg.NewPtrDescribeACLsRequest()
	rules.ResourceType = kmsg.ACLResourceTypeAny
	rules.ResourcePatternType = kmsg.ACLResourcePatternTypeAny
	rules.Operation = kmsg.ACLOperationAny
	rules.PermissionType = kmsg.ACLPermissionTypeAny
	told, err := rules.RequestWith(limit, client())
	must(err)
	equal(kerr.ErrorForCode(told.ErrorCode), error(kerr.SecurityDisabled), "no authorizer")
}

func consoleTopics() {
	topic := newTopic()
	produce(topic, 0, 100)
	admin := kadm.NewClient(client())
	defer admin.Close()
	topics, err := admin.ListTopicsWithInternal(limit)
	must(err)
	described := kmsg.NewPtrDescribeConfigsRequest()
	for _, name := range topics.Names() {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
		resource.ConfigNames = []string{"cleanup.policy"}
		described.Resources = append(described.Resources, resource)
	}
	settings, err := described.RequestWith(limit, client())
	must(err)
	equal(len(settings.Resources), len(topics), "topics with settings")
	for _, resource := range settings.Resources {
		must(kerr.ErrorForCode(resource.ErrorCode))
		equal(len(resource.Configs), 1, "settings that were asked for")
		equal(resource.Configs[0].Name, "cleanup.policy", "the setting")
	}
	folders, err := admin.DescribeAllLogDirs(limit, nil)
	must(err)
	sizes := map[string]int64{}
	folders.Each(func(folder kadm.DescribedLogDir) {
		must(folder.Err)
		folder.Topics.Each(func(partition kadm.DescribedLogDirPartition) { sizes[partition.Topic] += partition.Size })
	})
	for _, name := range topics.Names() {
		if _, has := sizes[name]; !has {
			panic("no size of " + name)
		}
	}
	equal(sizes[topic] > 1000, true, "a plausible size")
}

func consoleGroups() {
	topic := newTopic()
	produce(topic, 0, 100)
	consumer := client(kgo.ConsumerGroup("group-"+topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer consumer.Close()
	take(consumer, 100)
	offsets := map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 40}}}
	consumer.CommitOffsetsSync(limit, offsets, nil)
	admin := kadm.NewClient(client())
	defer admin.Close()
	listed, err := admin.ListGroups(limit)
	must(err)
	groups, err := admin.DescribeGroups(limit, listed.Groups()...)
	must(err)
	must(groups.Error())
	found := groups["group-"+topic]
	equal(found.State, "Stable", "state")
	equal(len(found.Members), 1, "members")
	assigned, _ := found.Members[0].Assigned.AsConsumer()
	equal(assigned.Topics[0].Topic, topic, "assigned")
	committed := admin.FetchManyOffsets(limit, listed.Groups()...)
	must(committed.Error())
	at, _ := committed["group-"+topic].Fetched.Lookup(topic, 0)
	equal(at.At, int64(40), "committed")
	ends, err := admin.ListEndOffsets(limit, topic)
	must(err)
	end, _ := ends.Lookup(topic, 0)
	equal(end.Offset-at.At, int64(60), "lag")
	moves, err := admin.ListPartitionReassignments(limit, nil)
	must(err)
	equal(len(moves), 0, "partitions on the move")
}
