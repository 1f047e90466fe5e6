package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func codeOf(err error) string {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Message
	}
	return ""
}

func franz() {
	ctx, cancel := context.WithTimeout(context.Background(), 6*limit)
	defer cancel()
	topic, group := run+"-fgo", run+"-fgo-group"
	cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)

	call("Ping", func() error { return cl.Ping(ctx) })
	call("adm.CreateTopic", func() error { _, err := adm.CreateTopic(ctx, 2, 1, nil, topic); return err })
	call("adm.CreateTopic again", func() error { _, err := adm.CreateTopic(ctx, 2, 1, nil, topic); return err })
	call("adm.ValidateCreateTopics", func() error {
		answers, err := adm.ValidateCreateTopics(ctx, 1, 1, nil, topic+"-x")
		if err != nil {
			return err
		}
		return answers.Error()
	})
	_ = until(func() bool {
		details, err := adm.ListTopics(ctx, topic)
		return err == nil && details.Has(topic)
	})
	call("adm.ListTopics", func() error {
		details, err := adm.ListTopics(ctx)
		if err != nil {
			return err
		}
		return must(details.Has(topic))
	})
	call("adm.Metadata", func() error {
		metadata, err := adm.Metadata(ctx, topic)
		if err != nil {
			return err
		}
		return must(len(metadata.Brokers) == 1 && len(metadata.Topics[topic].Partitions) == 2)
	})
	call("adm.ApiVersions", func() error { _, err := adm.ApiVersions(ctx); return err })
	call("adm.CreatePartitions", func() error {
		answers, err := adm.CreatePartitions(ctx, 1, topic)
		if err != nil {
			return err
		}
		return answers.Error()
	})
	call("adm.DescribeTopicConfigs", func() error {
		answers, err := adm.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return err
		}
		return answers[0].Err
	})
	call("adm.DescribeBrokerConfigs", func() error {
		answers, err := adm.DescribeBrokerConfigs(ctx)
		if err != nil {
			return err
		}
		return answers[0].Err
	})
	text := "60000"
	config := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &text}}
	call("adm.AlterTopicConfigs", func() error {
		answers, err := adm.AlterTopicConfigs(ctx, config, topic)
		if err != nil {
			return err
		}
		return answers[0].Err
	})
	call("adm.AlterTopicConfigsState", func() error {
		answers, err := adm.AlterTopicConfigsState(ctx, config, topic)
		if err != nil {
			return err
		}
		return answers[0].Err
	})
	call("ProduceSync", func() error {
		for n := range records {
			record := &kgo.Record{Topic: topic, Partition: int32(n % 3), Key: []byte("k"), Value: []byte(fmt.Sprint(n))}
			if err := cl.ProduceSync(ctx, record).FirstErr(); err != nil {
				return err
			}
		}
		return nil
	})
	call("adm.ListEndOffsets", func() error {
		offsets, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		offset, _ := offsets.Lookup(topic, 0)
		return must(offset.Offset == 10, offset)
	})
	call("adm.ListStartOffsets", func() error { offsets, err := adm.ListStartOffsets(ctx, topic); return errors.Join(err, offsets.Error()) })
	call("adm.ListCommittedOffsets", func() error { offsets, err := adm.ListCommittedOffsets(ctx, topic); return errors.Join(err, offsets.Error()) })
	call("adm.ListOffsetsAfterMilli", func() error { offsets, err := adm.ListOffsetsAfterMilli(ctx, base, topic); return errors.Join(err, offsets.Error()) })
	call("adm.ListMaxTimestampOffsets", func() error { offsets, err := adm.ListMaxTimestampOffsets(ctx, topic); return errors.Join(err, offsets.Error()) })
	call("adm.DescribeAllLogDirs", func() error {
		dirs, err := adm.DescribeAllLogDirs(ctx, nil)
		if err != nil {
			return err
		}
		size := int64(0)
		for _, broker := range dirs {
			broker.EachPartition(func(partition kadm.DescribedLogDirPartition) {
				if partition.Topic == topic {
					size += partition.Size
				}
			})
		}
		return must(size > 0, size)
	})
	call("adm.DescribeProducers", func() error {
		topics := kadm.TopicsSet{}
		topics.Add(topic, 0)
		described, err := adm.DescribeProducers(ctx, topics)
		if err != nil {
			return err
		}
		return must(len(described[topic].Partitions[0].ActiveProducers) == 1)
	})
	consumer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics("^"+topic+"$"),
		kgo.ConsumeRegex(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		panic(err)
	}
	call("PollFetches pattern", func() error {
		seen := 0
		for seen < records {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			seen += fetches.NumRecords()
		}
		return nil
	})
	call("CommitUncommittedOffsets", func() error { return consumer.CommitUncommittedOffsets(ctx) })
	call("adm.ListGroups", func() error {
		groups, err := adm.ListGroups(ctx)
		if err != nil {
			return err
		}
		_, there := groups[group]
		return must(there)
	})
	call("adm.DescribeGroups", func() error {
		groups, err := adm.DescribeGroups(ctx, group)
		if err != nil {
			return err
		}
		return must(len(groups[group].Members) == 1)
	})
	call("adm.FetchOffsets", func() error {
		offsets, err := adm.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		offset, _ := offsets.Lookup(topic, 0)
		return must(offset.At == 10, offset.At)
	})
	call("adm.Lag", func() error { lags, err := adm.Lag(ctx, group); return errors.Join(err, lags.Error()) })
	call("adm.DeleteGroup active", func() error { answer, err := adm.DeleteGroup(ctx, group); return errors.Join(err, answer.Err) })
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	call("adm.DeleteOffsets active", func() error {
		answers, err := adm.DeleteOffsets(ctx, group, set)
		return errors.Join(err, answers.Error())
	})
	call("LeaveGroupContext", func() error { err := consumer.LeaveGroupContext(ctx); consumer.Close(); return err })
	call("adm.CommitOffsets", func() error {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 4, LeaderEpoch: -1})
		answers, err := adm.CommitOffsets(ctx, group, offsets)
		return errors.Join(err, answers.Error())
	})
	call("adm.DeleteOffsets", func() error {
		answers, err := adm.DeleteOffsets(ctx, group, set)
		if err := errors.Join(err, answers.Error()); err != nil {
			return err
		}
		left, err := adm.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		_, there := left.Lookup(topic, 0)
		return must(!there)
	})
	call("adm.DeleteGroup", func() error { answer, err := adm.DeleteGroup(ctx, group); return errors.Join(err, answer.Err) })
	call("adm.ListPartitionReassignments", func() error { _, err := adm.ListPartitionReassignments(ctx, nil); return err })
	call("adm.ListTransactions", func() error { _, err := adm.ListTransactions(ctx, nil, nil); return err })
	call("adm.DescribeACLs", func() error {
		builder := kadm.NewACLs().Topics(topic).Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral).Allow("User:a").AllowHosts("*")
		answers, err := adm.DescribeACLs(ctx, builder)
		if err != nil {
			return err
		}
		return answers[0].Err
	})
	call("adm.DescribeUserSCRAMs", func() error { _, err := adm.DescribeUserSCRAMs(ctx); return err })
	call("adm.DescribeClientQuotas", func() error { _, err := adm.DescribeClientQuotas(ctx, false, nil); return err })
	call("adm.DescribeQuorum", func() error {
		request := kmsg.NewPtrDescribeQuorumRequest()
		asked := kmsg.NewDescribeQuorumRequestTopic()
		asked.Topic = "__cluster_metadata"
		asked.Partitions = []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}
		request.Topics = append(request.Topics, asked)
		answer, err := request.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return errors.Join(kerr.ErrorForCode(answer.ErrorCode), kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode))
	})
	call("adm.ElectLeaders", func() error { _, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, set); return err })
	call("adm.DeleteRecords", func() error {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 2})
		answers, err := adm.DeleteRecords(ctx, offsets)
		return errors.Join(err, answers.Error())
	})
	call("BeginTransaction", func() error {
		transactional, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(run+"-fgo-tx"))
		if err != nil {
			return err
		}
		defer transactional.Close()
		if err := transactional.BeginTransaction(); err != nil {
			return err
		}
		if err := transactional.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
			return err
		}
		return transactional.EndTransaction(ctx, kgo.TryAbort)
	})
	call("adm.DeleteTopics", func() error { answers, err := adm.DeleteTopics(ctx, topic); return errors.Join(err, answers.Error()) })
}
