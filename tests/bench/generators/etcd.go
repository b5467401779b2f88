// etcd's gRPC API, without its client library: the few fields of Put and Range are written by hand.

package main

import (
	"bytes"
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
)

// Messages are bytes as they are.
type plain struct{}

func (plain) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }

func (plain) Unmarshal(data []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (plain) Name() string { return "proto" }

// A field of protobuf that holds bytes, at most 16,383 of them.
func field(number byte, data []byte) []byte {
	head := []byte{number<<3 | 2}
	if len(data) >= 128 {
		head = append(head, byte(len(data))|0x80, byte(len(data)>>7))
	} else {
		head = append(head, byte(len(data)))
	}
	return append(head, data...)
}

func openEtcd(endpoint string, _ []string, _ string) (connection, error) {
	link, problem := grpc.Dial(endpoint, grpc.WithInsecure(), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	if problem != nil {
		return nil, problem
	}
	return func(operation string, key string, within time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		// PutRequest and RangeRequest: key is 1; value is 2; serializable is 7.
		request, answer := field(1, []byte(key)), []byte(nil)
		switch operation {
		case "put", "load":
			request = append(request, field(2, value)...)
			return link.Invoke(ctx, "/etcdserverpb.KV/Put", &request, &answer)
		case "stale":
			request = append(request, 7<<3, 1)
		}
		if problem := link.Invoke(ctx, "/etcdserverpb.KV/Range", &request, &answer); problem != nil {
			return problem
		}
		if !bytes.Contains(answer, value) {
			return errors.New("the answer does not hold the value of " + key)
		}
		return nil
	}, nil
}

func main() { run(openEtcd) }
