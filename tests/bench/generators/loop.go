// The closed loop that etcd.go and nats.go share: clients that each do one operation after the other, over at most eight
// connections. See native.py for what it is given and what it prints.

package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const connectionsMax = 8
const valueBytes = 100

// An attempt of the writer that goes on over a failure.
const attempt = 250 * time.Millisecond
const patience = 10 * time.Second

// A connection does one operation on a key, within a time.
type connection func(operation string, key string, within time.Duration) error

// Opens one connection to one endpoint.
type opener func(endpoint string, all []string, operation string) (connection, error)

var value = []byte(strings.Repeat("x", valueBytes))

type told struct {
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	Total      int64   `json:"total"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Worst      float64 `json:"worst_ms"`
	Errors     int64   `json:"errors"`
	Error      *string `json:"error"`
	Threads    int     `json:"threads"`
	CpuShare   float64 `json:"cpu_share"`
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return float64(used.Utime.Sec+used.Stime.Sec) + float64(used.Utime.Usec+used.Stime.Usec)/1e6
}

func fail(problem error) {
	fmt.Fprintln(os.Stderr, problem)
	os.Exit(1)
}

func run(open opener) {
	endpoints := flag.String("endpoints", "", "host:port, several with commas")
	operation := flag.String("operation", "put", "put, get, stale, load or writes")
	clients := flag.Int("clients", 1, "operations in flight")
	seconds := flag.Float64("seconds", 3, "measured")
	warmup := flag.Float64("warmup", 0.5, "seconds before")
	keys := flag.Int("keys", 10000, "how many")
	flag.Parse()
	all := strings.Split(*endpoints, ",")
	if *operation == "writes" {
		writes(open, all)
		return
	}
	connections := make([]connection, min(*clients, connectionsMax))
	for i := range connections {
		opened, problem := open(all[i%len(all)], all, *operation)
		if problem != nil {
			fail(problem)
		}
		connections[i] = opened
	}
	names := make([]string, *keys)
	for i := range names {
		names[i] = fmt.Sprintf("key%d", i)
	}
	loading := *operation == "load"
	var next, total, errors int64
	var first atomic.Value
	var group sync.WaitGroup
	times := make([][]float64, *clients)
	begun := time.Now()
	from := begun.Add(time.Duration(*warmup * float64(time.Second)))
	until := from.Add(time.Duration(*seconds * float64(time.Second)))
	var cpu float64
	measuring := time.AfterFunc(time.Until(from), func() { cpu = cpuSeconds() })
	defer measuring.Stop()
	for client := 0; client < *clients; client++ {
		group.Add(1)
		go func(client int) {
			defer group.Done()
			mine := make([]float64, 0, 1<<14)
			for {
				number := atomic.AddInt64(&next, 1) - 1
				start := time.Now()
				if (loading && number >= int64(*keys)) || (!loading && start.After(until)) {
					break
				}
				// A prime that does not divide the number of keys: every key, in an order that jumps.
				key := names[(number*7919)%int64(*keys)]
				problem := connections[client%len(connections)](*operation, key, patience)
				end := time.Now()
				atomic.AddInt64(&total, 1)
				if problem != nil {
					atomic.AddInt64(&errors, 1)
					first.CompareAndSwap(nil, problem.Error())
					time.Sleep(20 * time.Millisecond)
				} else if loading || (end.After(from) && end.Before(until)) {
					mine = append(mine, float64(end.Sub(start).Nanoseconds())/1e6)
				}
			}
			times[client] = mine
		}(client)
	}
	group.Wait()
	share := (cpuSeconds() - cpu) / time.Since(from).Seconds()
	measured := *seconds
	if loading {
		measured = time.Since(begun).Seconds()
	}
	merged := []float64{}
	for _, mine := range times {
		merged = append(merged, mine...)
	}
	sort.Float64s(merged)
	at := func(part float64) float64 {
		if len(merged) == 0 {
			return 0
		}
		return merged[int(part*float64(len(merged)-1))]
	}
	answer := told{Operations: len(merged), Seconds: measured, Total: total, P50: at(0.5), P99: at(0.99), Worst: at(1),
		Errors: errors, Threads: runtime.GOMAXPROCS(0), CpuShare: share}
	if text, ok := first.Load().(string); ok {
		answer.Error = &text
	}
	if problem := json.NewEncoder(os.Stdout).Encode(answer); problem != nil {
		fail(problem)
	}
}

// One write after the other; after a failure at the next endpoint.
func writes(open opener, all []string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	connections := make([]connection, len(all))
	for i, endpoint := range all {
		opened, problem := open(endpoint, all, "writes")
		if problem != nil {
			fail(problem)
		}
		connections[i] = opened
	}
	out := bufio.NewWriter(os.Stdout)
	for turn := 0; ; {
		if problem := connections[turn%len(connections)]("put", "failover", attempt); problem != nil {
			turn++
			time.Sleep(2 * time.Millisecond)
			continue
		}
		fmt.Fprintln(out, ".")
		if problem := out.Flush(); problem != nil {
			return
		}
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
