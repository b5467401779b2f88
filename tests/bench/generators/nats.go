// A JetStream key-value bucket of three replicas. A get asks the leader of the bucket's stream (which asks nobody whether
// it still leads); a stale one is answered by any replica.

package main

import (
	"bytes"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

const bucket = "bench"

func openNats(endpoint string, all []string, operation string) (connection, error) {
	link, problem := nats.Connect("nats://"+endpoint, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if problem != nil {
		return nil, problem
	}
	within := patience
	if operation == "writes" {
		within = attempt
	}
	stream, problem := link.JetStream(nats.MaxWait(within))
	if problem != nil {
		return nil, problem
	}
	for deadline := time.Now().Add(20 * time.Second); operation == "load"; {
		_, problem = stream.CreateKeyValue(
			&nats.KeyValueConfig{Bucket: bucket, Replicas: 3, History: 1, Storage: nats.FileStorage})
		if problem == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, problem
		}
		time.Sleep(200 * time.Millisecond)
	}
	subject := "$KV." + bucket + "."
	if operation == "put" || operation == "writes" || operation == "load" {
		return func(_ string, key string, within time.Duration) error {
			_, problem := stream.Publish(subject+key, value, nats.AckWait(within))
			return problem
		}, nil
	}
	values, problem := stream.KeyValue(bucket)
	if problem != nil {
		return nil, problem
	}
	checked := func(found []byte, problem error) error {
		if problem == nil && !bytes.Equal(found, value) {
			return errors.New("the answer is not the value")
		}
		return problem
	}
	return func(operation string, key string, _ time.Duration) error {
		if operation == "get" {
			found, problem := stream.GetLastMsg("KV_"+bucket, subject+key)
			if problem != nil {
				return problem
			}
			return checked(found.Data, nil)
		}
		entry, problem := values.Get(key)
		if problem != nil {
			return problem
		}
		return checked(entry.Value(), nil)
	}, nil
}

func main() { run(openNats) }
