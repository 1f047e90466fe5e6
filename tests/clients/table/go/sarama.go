package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// reader counts what a group reads, and commits it.
type reader struct {
	seen chan struct{}
}

func (reader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "note")
		session.Commit()
		r.seen <- struct{}{}
	}
	return nil
}

func saramaCalls() {
	topic, group := run+"-sar", run+"-sar-group"
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Net.MaxOpenRequests = 1
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	cl, err := sarama.NewClient([]string{bootstrap}, config)
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	admin, err := sarama.NewClusterAdminFromClient(cl)
	if err != nil {
		panic(err)
	}

	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1}
	call("admin.CreateTopic", func() error { return admin.CreateTopic(topic, detail, false) })
	call("admin.CreateTopic again", func() error { return admin.CreateTopic(topic, detail, false) })
	_ = until(func() bool { topics, err := admin.ListTopics(); _, there := topics[topic]; return err == nil && there })
	call("admin.ListTopics", func() error {
		topics, err := admin.ListTopics()
		if err != nil {
			return err
		}
		return must(topics[topic].NumPartitions == 2)
	})
	call("admin.DescribeTopics", func() error {
		topics, err := admin.DescribeTopics([]string{topic})
		if err != nil {
			return err
		}
		return must(len(topics[0].Partitions) == 2)
	})
	call("admin.DescribeCluster", func() error { _, _, err := admin.DescribeCluster(); return err })
	call("admin.CreatePartitions", func() error { return admin.CreatePartitions(topic, 3, nil, false) })
	call("admin.DescribeConfig", func() error {
		_, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
		return err
	})
	value := "60000"
	call("admin.AlterConfig", func() error {
		return admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"retention.ms": &value}, false)
	})
	call("admin.IncrementalAlterConfig", func() error {
		entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
		return admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": entry}, false)
	})
	_ = until(func() bool { _ = cl.RefreshMetadata(topic); partitions, _ := cl.Partitions(topic); return len(partitions) == 3 })
	producer, err := sarama.NewSyncProducerFromClient(cl)
	if err != nil {
		panic(err)
	}
	call("producer.SendMessage", func() error {
		for n := range records {
			message := &sarama.ProducerMessage{Topic: topic, Partition: int32(n % 3), Key: sarama.StringEncoder("k"),
				Value: sarama.StringEncoder(fmt.Sprint(n)), Timestamp: time.UnixMilli(base + int64(n))}
			if _, _, err := producer.SendMessage(message); err != nil {
				return err
			}
		}
		return nil
	})
	call("client.GetOffset", func() error {
		newest, err := cl.GetOffset(topic, 0, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		at, err := cl.GetOffset(topic, 0, base+3)
		if err != nil {
			return err
		}
		return must(newest == 10 && at == 1, newest, at)
	})
	call("consumer.ConsumePartition", func() error {
		consumer, err := sarama.NewConsumerFromClient(cl)
		if err != nil {
			return err
		}
		partition, err := consumer.ConsumePartition(topic, 0, 5)
		if err != nil {
			return err
		}
		message := <-partition.Messages()
		if err := partition.Close(); err != nil {
			return err
		}
		return must(message.Offset == 5)
	})
	seen := make(chan struct{}, 100)
	members, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- members.Consume(ctx, []string{topic}, reader{seen}) }()
	call("group.Consume", func() error {
		for range records {
			select {
			case <-seen:
			case <-time.After(limit):
				return sarama.ErrRequestTimedOut
			}
		}
		return nil
	})
	call("admin.ListConsumerGroups", func() error {
		groups, err := admin.ListConsumerGroups()
		if err != nil {
			return err
		}
		_, there := groups[group]
		return must(there)
	})
	call("admin.DescribeConsumerGroups", func() error {
		groups, err := admin.DescribeConsumerGroups([]string{group})
		if err != nil {
			return err
		}
		return must(len(groups[0].Members) == 1, groups[0].State)
	})
	call("admin.DeleteConsumerGroup active", func() error { return admin.DeleteConsumerGroup(group) })
	cancel()
	call("group.Close", func() error { <-ended; return members.Close() })
	call("admin.ListConsumerGroupOffsets", func() error {
		offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1, 2}})
		if err != nil {
			return err
		}
		return must(offsets.GetBlock(topic, 0).Offset == 10)
	})
	call("admin.DeleteConsumerGroupOffset", func() error { return admin.DeleteConsumerGroupOffset(group, topic, 0) })
	call("admin.DeleteConsumerGroup", func() error { return admin.DeleteConsumerGroup(group) })
	call("admin.DescribeLogDirs", func() error {
		brokers, _, err := admin.DescribeCluster()
		if err != nil {
			return err
		}
		_, err = admin.DescribeLogDirs([]int32{brokers[0].ID()})
		return err
	})
	call("admin.ListPartitionReassignments", func() error { _, err := admin.ListPartitionReassignments(topic, []int32{0}); return err })
	call("admin.ListAcls", func() error {
		filter := sarama.AclFilter{ResourceType: sarama.AclResourceAny, ResourcePatternTypeFilter: sarama.AclPatternAny,
			Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny, Version: 1}
		_, err := admin.ListAcls(filter)
		return err
	})
	call("admin.DescribeUserScramCredentials", func() error { _, err := admin.DescribeUserScramCredentials(nil); return err })
	call("admin.DescribeClientQuotas", func() error { _, err := admin.DescribeClientQuotas(nil, false); return err })
	call("admin.DeleteRecords", func() error { return admin.DeleteRecords(topic, map[int32]int64{0: 2}) })
	call("admin.DeleteTopic", func() error { return admin.DeleteTopic(topic) })
}
