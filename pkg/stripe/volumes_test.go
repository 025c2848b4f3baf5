package stripe

import (
	"context"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// busyCard takes its time to read a superblock, and to make one durable.
type busyCard struct {
	chunk.Store
	read, write time.Duration
}

func (c busyCard) Superblock(ctx context.Context, id chunk.VolumeID) (chunk.Superblock, error) {
	if !rest(ctx, c.read) {
		return chunk.Superblock{}, chunk.ErrUnavailable
	}
	return c.Store.Superblock(ctx, id)
}

func (c busyCard) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if !rest(ctx, c.write) {
		return chunk.ErrUnavailable
	}
	return c.Store.PutSuperblock(ctx, term, sb)
}

// TestVolumesOnBusyCards: what a card is asked may take it longer than NodeTimeout;
// one that does not even say hello is not waited for so long.
func TestVolumesOnBusyCards(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		timeout := r.opts.withDefaults().NodeTimeout
		r.links[7].Freeze()
		for i := range r.opts.Nodes {
			r.opts.Nodes[i].Store = busyCard{r.links[i], timeout * 3 / 2, 3 * timeout}
		}
		begin := time.Now()
		id, err := Create(r.Context(), r.opts, "busy", r.geometry())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 5*timeout {
			t.Errorf("it took %s", took)
		}
		if err := Delete(r.Context(), r.opts, id); err != nil {
			t.Error(err)
		}
	})
}
