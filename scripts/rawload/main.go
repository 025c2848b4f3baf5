// Command rawload measures what this machine could do at most for a gateway and its
// chunk servers.
//
//	rawload [--transport quic|tls] serve CLUSTER NODE=ADDR
//	rawload [--transport quic|tls] [--seconds N] write|read|rewrite CLUSTER NODE=ADDR...
//	rawload [--seconds N] sync FOLDER
//
// The first two are the transport: nodes that keep nothing, until they are killed,
// and a client that asks them as a gateway does. CLUSTER is a folder that rozobox
// init has made. With write or read it is a gateway whose disk is written or read in
// order, in batches of 64 chunks of 8 KiB; it prints the bytes of all chunks a second,
// in MB. With rewrite the disk is written 4 KiB here and there, 32 times at once; it
// prints how many such writes eight nodes take a second.
//
// The third is the disk: 4 KiB in each of six files, all synced, again and again. It
// prints how often a second.
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

	// rewrites are in one of the two batches that a node gets at once, when eight nodes
	// share 32 writes with six operations each. They are more than in most of a
	// gateway's, which has no such even stream.
	rewriteOps, rewritesOut = 12, 2
	patchSize               = 4 << 10
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
		return errors.New("want serve, write, read or rewrite, a cluster's folder, and NODE=ADDR; or sync, and a folder")
	}
	switch verb, cluster, nodes := args[0], args[1], args[2:]; verb {
	case "serve":
		return serve(ctx, cluster, nodes[0])
	case "write", "read", "rewrite":
		return load(ctx, cluster, nodes, verb)
	default:
		return fmt.Errorf("%q is none of serve, write, read, rewrite", verb)
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

func (sink) Write(_ context.Context, _ chunk.Term, ops []chunk.Op) (ack chunk.Ack, err error) {
	for i, op := range ops {
		if op.Kind != chunk.OpSwap {
			continue
		}
		if ack.Olds == nil {
			ack.Olds = make([]chunk.Old, len(ops))
		}
		ack.Olds[i] = chunk.Old{Base: 1, Data: make([]byte, len(op.Data))}
	}
	return ack, nil
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

// load asks all nodes at once, for so many seconds.
func load(ctx context.Context, cluster string, nodes []string, verb string) error {
	creds, err := credentials(cluster, "gateway")
	if err != nil {
		return err
	}
	out, worth := batchesOut, float64(batchSize*chunkSize)/1e6 // MB
	if verb == "rewrite" {
		out, worth = rewritesOut, float64(rewriteOps)/6 // writes
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*seconds)*time.Second)
	defer cancel()
	var batches atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, len(nodes)*out)
	began := time.Now()
	for _, node := range nodes {
		id, addr, _ := strings.Cut(node, "=")
		client := chunkrpc.NewClient(chunkrpc.ClientOptions{
			Transport: chunkrpc.Transport(*transport), Node: chunk.NodeID(id), Addr: addr, Credentials: creds,
		})
		defer client.Close()
		for range out {
			group.Go(func() {
				if err := repeat(ctx, batch(client, verb), &batches); ctx.Err() == nil {
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
	fmt.Printf("%.1f\n", float64(batches.Load())*worth/time.Since(began).Seconds())
	return nil
}

// repeat sends one batch after the other until ctx ends, or one fails.
func repeat(ctx context.Context, send func(context.Context) error, batches *atomic.Int64) error {
	for {
		if err := send(ctx); err != nil {
			return err
		}
		batches.Add(1)
	}
}

// batch makes one, and returns what sends it.
func batch(client *chunkrpc.Client, verb string) func(context.Context) error {
	if verb == "read" {
		gets := make([]chunk.Get, batchSize)
		for i := range gets {
			gets[i] = chunk.Get{Block: uint64(i), Dst: make([]byte, chunkSize)}
		}
		return func(ctx context.Context) error {
			_, err := client.Read(ctx, chunk.Term{}, gets)
			return err
		}
	}
	ops := puts()
	if verb == "rewrite" {
		ops = rewrites()
	}
	return func(ctx context.Context) error {
		_, err := client.Write(ctx, chunk.Term{}, ops)
		return err
	}
}

func puts() (ops []chunk.Op) {
	for i := range uint64(batchSize) {
		ops = append(ops, chunk.Op{Kind: chunk.OpPut, Block: i, Version: 1, Data: make([]byte, chunkSize)})
	}
	return ops
}

// rewrites are of each six operations the one that swaps, the two that patch parity,
// and the three that change nothing but the version.
func rewrites() (ops []chunk.Op) {
	for i := range uint64(rewriteOps) {
		op := chunk.Op{Kind: chunk.OpPatch, Block: i, Version: 2, Base: 1}
		switch i % 6 {
		case 0:
			op.Kind, op.Data = chunk.OpSwap, make([]byte, patchSize)
		case 1, 2:
			op.Data = make([]byte, patchSize)
		}
		ops = append(ops, op)
	}
	return ops
}

// syncFiles writes a page of each of six files and syncs them at once, for so many
// seconds. The files do not grow, as those of a chunk server do not that is synced
// often.
func syncFiles(folder string) error {
	const page, pages = 4 << 10, 1 << 10
	files := make([]*os.File, 6)
	for i := range files {
		name := filepath.Join(folder, fmt.Sprintf("rawload-%d", i))
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|syscall.O_DSYNC, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(name)
		defer f.Close()
		if _, err := f.Write(make([]byte, pages*page)); err != nil {
			return err
		}
		files[i] = f
	}
	rounds, began := 0, time.Now()
	for ; time.Since(began) < time.Duration(*seconds)*time.Second; rounds++ {
		var group errgroup.Group
		for _, f := range files {
			group.Go(func() error {
				_, err := f.WriteAt(make([]byte, page), int64(rounds%pages*page))
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
