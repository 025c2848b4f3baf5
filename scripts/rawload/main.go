// Command rawload measures what this machine could do at most for a gateway and its
// chunk servers.
//
//	rawload [--transport quic|tls] serve CLUSTER NODE=ADDR
//	rawload [--transport quic|tls] [--seconds N] write|read CLUSTER NODE=ADDR...
//	rawload [--seconds N] sync FOLDER
//
// The first two are the transport: nodes that keep nothing, until they are killed,
// and a client that asks them as a gateway does whose disk is read or written in
// order, in batches of 64 chunks of 8 KiB. It prints the bytes of all chunks a
// second, in MB. CLUSTER is a folder that rozobox init has made.
//
// The third is the disk: 4 KiB more in each of six files, all synced, again and
// again. It prints how often a second.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/daemon"
)

const (
	chunkSize  = 8 << 10
	batchSize  = 64
	batchesOut = 4 // to each node at once
)

var (
	transport = flag.String("transport", "quic", "quic or tls")
	seconds   = flag.Int("seconds", 5, "how long to write or read")
)

func main() {
	daemon.RelaxTimers()
	flag.Parse()
	if err := run(context.Background(), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "rawload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "sync" {
		return syncFiles(args[1])
	}
	if len(args) < 3 {
		return errors.New("want serve, write or read, a cluster's folder, and NODE=ADDR; or sync, and a folder")
	}
	switch verb, cluster, nodes := args[0], args[1], args[2:]; verb {
	case "serve":
		return serve(ctx, cluster, nodes[0])
	case "write", "read":
		return load(ctx, cluster, nodes, verb == "read")
	default:
		return fmt.Errorf("%q is none of serve, write, read", verb)
	}
}

// credentials reads those of one part of a cluster.
func credentials(cluster, part string) (c chunkrpc.Credentials, err error) {
	file := func(name string) string { return filepath.Join(cluster, part, name) }
	if c.Certificate, err = tls.LoadX509KeyPair(file(part+".crt"), file(part+".key")); err != nil {
		return c, err
	}
	if c.Identity, err = chunkrpc.IdentityOf(c.Certificate.Leaf); err != nil {
		return c, err
	}
	pem, err := os.ReadFile(file("ca.crt"))
	if err != nil {
		return c, err
	}
	c.CA = x509.NewCertPool()
	c.CA.AppendCertsFromPEM(pem)
	return c, nil
}

// sink is a store that takes everything, keeps nothing, and gives zeroes.
type sink struct{ *chunktest.Memory }

func (sink) Write(context.Context, chunk.Term, []chunk.Op) (chunk.Ack, error) {
	return chunk.Ack{}, nil
}

func (sink) Read(_ context.Context, _ chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	chunks := make([]chunk.Chunk, len(gets))
	for i := range chunks {
		chunks[i] = chunk.Chunk{Version: 1, State: chunk.Present}
	}
	return chunks, nil
}

func serve(ctx context.Context, cluster, node string) error {
	id, addr, _ := strings.Cut(node, "=")
	creds, err := credentials(cluster, id)
	if err != nil {
		return err
	}
	server, err := chunkrpc.Listen(chunkrpc.ServerOptions{
		Transport: chunkrpc.Transport(*transport), Addr: addr, Credentials: creds,
		Store: sink{chunktest.NewMemory(chunk.NodeID(id))},
	})
	if err != nil {
		return err
	}
	return server.Serve(ctx)
}

// load reads or writes for so many seconds, all nodes at once.
func load(ctx context.Context, cluster string, nodes []string, read bool) error {
	creds, err := credentials(cluster, "gateway")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*seconds)*time.Second)
	defer cancel()
	var batches atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, len(nodes)*batchesOut)
	began := time.Now()
	for _, node := range nodes {
		id, addr, _ := strings.Cut(node, "=")
		client := chunkrpc.NewClient(chunkrpc.ClientOptions{
			Transport: chunkrpc.Transport(*transport), Node: chunk.NodeID(id), Addr: addr, Credentials: creds,
		})
		defer client.Close()
		for range batchesOut {
			group.Go(func() {
				if err := repeat(ctx, client, read, &batches); ctx.Err() == nil {
					cancel()
					failed <- fmt.Errorf("node %s: %w", id, err)
				}
			})
		}
	}
	group.Wait()
	if len(failed) > 0 {
		return <-failed
	}
	fmt.Printf("%.1f\n", float64(batches.Load()*batchSize*chunkSize)/time.Since(began).Seconds()/1e6)
	return nil
}

// repeat sends one batch after the other until ctx ends, or one fails.
func repeat(ctx context.Context, client *chunkrpc.Client, read bool, batches *atomic.Int64) error {
	room := make([]byte, batchSize*chunkSize)
	ops, gets := make([]chunk.Op, batchSize), make([]chunk.Get, batchSize)
	for i := range batchSize {
		data := room[i*chunkSize:][:chunkSize]
		ops[i] = chunk.Op{Kind: chunk.OpPut, Block: uint64(i), Version: 1, Data: data}
		gets[i] = chunk.Get{Block: uint64(i), Dst: data}
	}
	for {
		var err error
		if read {
			_, err = client.Read(ctx, chunk.Term{}, gets)
		} else {
			_, err = client.Write(ctx, chunk.Term{}, ops)
		}
		if err != nil {
			return err
		}
		batches.Add(1)
	}
}

// syncFiles appends to six files and syncs them at once, for so many seconds.
func syncFiles(folder string) error {
	files := make([]*os.File, 6)
	for i := range files {
		name := filepath.Join(folder, fmt.Sprintf("rawload-%d", i))
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|syscall.O_DSYNC, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(name)
		defer f.Close()
		files[i] = f
	}
	rounds, began := 0, time.Now()
	for ; time.Since(began) < time.Duration(*seconds)*time.Second; rounds++ {
		var group errgroup.Group
		for _, f := range files {
			group.Go(func() error {
				_, err := f.Write(make([]byte, 4<<10))
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	fmt.Printf("%.0f\n", float64(rounds)/time.Since(began).Seconds())
	return nil
}
