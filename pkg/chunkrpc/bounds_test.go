package chunkrpc

import (
	"context"
	"sync"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// othersWork fails the test unless every lane but that of the writes answers.
func othersWork(t *testing.T, c *Client, term chunk.Term) {
	t.Helper()
	background := c.Background()
	for name, call := range map[string]func(ctx context.Context) error{
		"beat": func(ctx context.Context) error { _, err := c.Beat(ctx, term); return err },
		"read": func(ctx context.Context) error {
			_, err := c.Read(ctx, term, []chunk.Get{{Block: 9}})
			return err
		},
		"background read": func(ctx context.Context) error {
			_, err := background.Read(ctx, term, []chunk.Get{{Block: 9}})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := call(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// Writes wait in the store, far more of them than the server holds at once, or
// far more bytes.
func TestI9FullLaneIsBoundedAndBlocksNoOther(t *testing.T) {
	for name, test := range map[string]struct {
		writes, ops, size int
		most              int32
	}{
		"requests": {writes: 4 * maxHandlers, ops: 1, size: 16, most: maxHandlers},
		"bytes":    {writes: 20, ops: 8, size: chunk.MaxChunkSize, most: 2},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, over Transport) {
				r := newRig(t, over)
				store := newSlow(r.memory)
				store.writes, r.store = true, store
				r.serve(t)
				c := r.client(t)
				term := grant(t, c)
				var wg sync.WaitGroup
				for i := range test.writes {
					wg.Go(func() { writeBatch(t, c, term, uint64(i+1), test.ops, test.size) })
				}
				time.Sleep(time.Second)
				if n := store.under.Load(); n != test.most {
					t.Errorf("%d writes are under way, want %d", n, test.most)
				}
				othersWork(t, c, term)
				close(store.gate)
				wg.Wait()
				if n := store.most.Load(); n != test.most {
					t.Errorf("%d writes were under way at once, want at most %d", n, test.most)
				}
			})
		})
	}
}

func writeBatch(t *testing.T, c *Client, term chunk.Term, seq uint64, ops, size int) {
	batch := make([]chunk.Op, ops)
	for i := range batch {
		batch[i] = put(uint64(i), seq, make([]byte, size))
	}
	if _, err := c.Write(t.Context(), term, batch); err != nil {
		t.Error(err)
	}
}

// The replies of reads count too, until the client has taken them.
func TestI9RepliesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		store := newSlow(r.memory)
		store.reads, r.store = true, store
		r.serve(t)
		c := r.client(t)
		term := grant(t, c)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				gets := make([]chunk.Get, 8)
				for i := range gets {
					gets[i].Dst = make([]byte, chunk.MaxChunkSize)
				}
				if _, err := c.Read(t.Context(), term, gets); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		if n := store.under.Load(); n != 2 {
			t.Errorf("%d reads are under way, want 2", n)
		}
		close(store.gate)
		wg.Wait()
	})
}
