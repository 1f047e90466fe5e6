package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

func first[K comparable](all map[K]error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func kafkaGo() {
	ctx, cancel := context.WithTimeout(context.Background(), 6*limit)
	defer cancel()
	topic, group := run+"-kgo", run+"-kgo-group"
	cl := &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: limit}
	call("CreateTopics", func() error {
		answer, err := cl.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 2, ReplicationFactor: 1}}})
		if err != nil {
			return err
		}
		return first(answer.Errors)
	})
	metadata := func() (*kafka.MetadataResponse, error) {
		return cl.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	}
	_ = until(func() bool { answer, err := metadata(); return err == nil && answer.Topics[0].Error == nil })
	call("Metadata", func() error {
		answer, err := metadata()
		if err != nil {
			return err
		}
		return must(len(answer.Topics[0].Partitions) == 2)
	})
	call("Metadata all", func() error { _, err := cl.Metadata(ctx, &kafka.MetadataRequest{}); return err })
	call("ApiVersions", func() error {
		answer, err := cl.ApiVersions(ctx, &kafka.ApiVersionsRequest{})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("CreatePartitions", func() error {
		answer, err := cl.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}}})
		if err != nil {
			return err
		}
		return first(answer.Errors)
	})
	_ = until(func() bool { answer, err := metadata(); return err == nil && len(answer.Topics[0].Partitions) == 3 })
	call("DescribeConfigs", func() error {
		resource := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}
		answer, err := cl.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{resource}})
		if err != nil {
			return err
		}
		return answer.Resources[0].Error
	})
	call("AlterConfigs", func() error {
		configs := []kafka.AlterConfigRequestConfig{{Name: "retention.ms", Value: "60000"}}
		resource := kafka.AlterConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: configs}
		answer, err := cl.AlterConfigs(ctx, &kafka.AlterConfigsRequest{Resources: []kafka.AlterConfigRequestResource{resource}})
		if err != nil {
			return err
		}
		return first(answer.Errors)
	})
	call("IncrementalAlterConfigs", func() error {
		configs := []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "70000", ConfigOperation: kafka.ConfigOperationSet}}
		resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: configs}
		answer, err := cl.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}})
		if err != nil {
			return err
		}
		return answer.Resources[0].Error
	})
	call("Writer.WriteMessages", func() error {
		writer := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 10 * time.Millisecond, Balancer: &kafka.RoundRobin{}}
		defer writer.Close()
		var messages []kafka.Message
		for n := range records {
			messages = append(messages, kafka.Message{Key: []byte("k"), Value: []byte(fmt.Sprint(n)), Time: time.UnixMilli(base + int64(n))})
		}
		return writer.WriteMessages(ctx, messages...)
	})
	call("ListOffsets", func() error {
		answer, err := cl.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
			topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0), kafka.TimeOffsetOf(0, time.UnixMilli(base))}}})
		if err != nil {
			return err
		}
		return answer.Topics[topic][0].Error
	})
	call("Reader.ReadMessage", func() error {
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, Partition: 1, MaxWait: 200 * time.Millisecond})
		defer reader.Close()
		_, err := reader.ReadMessage(ctx)
		return err
	})
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, GroupID: group, StartOffset: kafka.FirstOffset,
		MaxWait: 200 * time.Millisecond, RebalanceTimeout: 5 * time.Second})
	call("Reader.FetchMessage group", func() error {
		for range records {
			message, err := reader.FetchMessage(ctx)
			if err != nil {
				return err
			}
			if err := reader.CommitMessages(ctx, message); err != nil {
				return err
			}
		}
		return nil
	})
	call("ListGroups", func() error {
		answer, err := cl.ListGroups(ctx, &kafka.ListGroupsRequest{})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("DescribeGroups", func() error {
		answer, err := cl.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
		if err != nil {
			return err
		}
		return must(len(answer.Groups[0].Members) == 1)
	})
	call("OffsetFetch", func() error {
		answer, err := cl.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0, 1, 2}}})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("Reader.Close", func() error { return reader.Close() })
	call("ConsumerOffsets", func() error {
		_, err := cl.ConsumerOffsets(ctx, kafka.TopicAndGroup{Topic: topic, GroupId: group})
		return err
	})
	call("OffsetDelete", func() error {
		answer, err := cl.OffsetDelete(ctx, &kafka.OffsetDeleteRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
		if err != nil {
			return err
		}
		return errors.Join(answer.Error, answer.Topics[topic][0].Error)
	})
	call("DeleteGroups", func() error {
		answer, err := cl.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
		if err != nil {
			return err
		}
		return first(answer.Errors)
	})
	call("ListPartitionReassignments", func() error {
		answer, err := cl.ListPartitionReassignments(ctx, &kafka.ListPartitionReassignmentsRequest{Timeout: limit})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("DescribeACLs", func() error {
		filter := kafka.ACLFilter{ResourceTypeFilter: kafka.ResourceTypeAny, ResourcePatternTypeFilter: kafka.PatternTypeAny,
			Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny}
		answer, err := cl.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: filter})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("DescribeUserScramCredentials", func() error {
		answer, err := cl.DescribeUserScramCredentials(ctx, &kafka.DescribeUserScramCredentialsRequest{})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("DescribeClientQuotas", func() error {
		answer, err := cl.DescribeClientQuotas(ctx, &kafka.DescribeClientQuotasRequest{})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("ElectLeaders", func() error {
		answer, err := cl.ElectLeaders(ctx, &kafka.ElectLeadersRequest{Topic: topic, Partitions: []int{0}, Timeout: limit})
		if err != nil {
			return err
		}
		return answer.Error
	})
	call("DeleteTopics", func() error {
		answer, err := cl.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		return first(answer.Errors)
	})
}
