package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/chunkstore"
	"rozobox/pkg/metrics/host"
)

// RunChunkserver serves the store of one card until ctx ends; then it
// finishes what it has begun and closes the store cleanly.
func RunChunkserver(ctx context.Context, config *ChunkserverConfig, logger *slog.Logger) error {
	s, err := openChunkserver(config, host.New(boottime), nil, logger)
	if err != nil {
		return err
	}
	limiting, end := context.WithCancel(ctx)
	defer end()
	go limitMemory(limiting, s.store)
	return s.run(ctx)
}

const (
	// What a chunk server may take, without its program: for requests under way
	// and files, for a chunk in the index, and for what a volume has beside its
	// chunks (the index of bumps, at most).
	memoryOfServer = 24 << 20
	memoryOfChunk  = 32
	memoryOfVolume = 2 << 20

	// memoryEvery is how often that is computed anew. A card takes some thousand
	// chunks a second.
	memoryEvery = 10 * time.Second
)

// limitMemory has the process collect its garbage earlier than when it has doubled,
// where that would take more memory than the store's size justifies. It returns
// when ctx ends, at once where the user has set GOMEMLIMIT.
func limitMemory(ctx context.Context, store chunk.Store) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	for {
		if s, err := store.Stat(ctx); err == nil {
			debug.SetMemoryLimit(memoryOfServer + memoryOfChunk*int64(s.Chunks) + memoryOfVolume*int64(len(s.Volumes)))
		}
		if pause(ctx, memoryEvery); ctx.Err() != nil {
			return
		}
	}
}

// chunkserver is an open store and the address that it is served on.
type chunkserver struct {
	store    *chunkstore.Store
	server   *chunkrpc.Server
	exporter *exporter // nil for none
}

// openChunkserver opens the store and takes the address. The sampler is of this
// machine, and may be shared; the lesson is the demo's, or nil.
func openChunkserver(
	config *ChunkserverConfig, machine *host.Sampler, lesson *lesson, logger *slog.Logger,
) (*chunkserver, error) {
	logger = logger.With("node", config.ID)
	creds, err := config.credentials()
	if err != nil {
		return nil, err
	}
	store, err := chunkstore.Open(chunkstore.Options{
		Dir:      config.Data,
		Node:     chunk.NodeID(config.ID),
		Capacity: uint64(config.Capacity),
		Logger:   logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open the store in %s (data): %w", config.Data, err)
	}
	exporter, err := listenMetrics(config, store, logger)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	server, err := chunkrpc.Listen(chunkrpc.ServerOptions{
		Transport:   config.Transport,
		Addr:        config.Listen,
		Credentials: creds,
		Store:       lesson.over(hosted{store, machine}),
		Cable:       lesson.end(),
		Logger:      logger,
	})
	if err != nil {
		err = fmt.Errorf("listen on %s (listen): %w", config.Listen, err)
		return nil, errors.Join(err, exporter.close(), store.Close())
	}
	logger.Info("chunk server is listening", "addr", server.Addr().String(),
		"transport", config.Transport, "data", config.Data)
	return &chunkserver{store: store, server: server, exporter: exporter}, nil
}

// run serves until ctx ends, then closes the store.
func (s *chunkserver) run(ctx context.Context) error {
	servers, serving := errgroup.WithContext(ctx)
	servers.Go(func() error { return s.server.Serve(serving) })
	servers.Go(func() error { return s.exporter.serve(serving) })
	return errors.Join(servers.Wait(), s.store.Close())
}

// hosted is a store that tells of its machine too, when it is asked.
type hosted struct {
	chunk.Store
	machine *host.Sampler
}

// Stat implements chunk.Catalog.
func (h hosted) Stat(ctx context.Context) (chunk.Stat, error) {
	s, err := h.Store.Stat(ctx)
	if err == nil {
		s.Host = h.machine.Sample()
	}
	return s, err
}
