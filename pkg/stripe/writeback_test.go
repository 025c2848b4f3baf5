package stripe

import (
	"errors"
	"testing"
	"time"
)

// In writeback mode a write is replied to, and read, while its holders are
// silent; a flush waits for them; and the death of the gateway, which loses it,
// shows in the incarnation. A clean end loses nothing, and shows nothing.
func TestWriteback(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.opts.Writeback = true
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		for _, l := range r.links {
			l.Freeze()
		}
		r.write(a, 1, 2)
		r.write(a, 2, 1)
		r.expect(a, 1, 2)
		if err := a.Flush(r.patience(500 * time.Millisecond)); err == nil {
			t.Error("a flush was replied to while no node answered")
		}
		for _, l := range r.links {
			l.Heal()
		}
		r.flush(a)
		r.write(a, 1, 3)
		r.close(a)

		a = r.open()
		r.expect(a, 1, 3)
		r.expect(a, 2, 1)
		if got := a.Incarnation(); got != 0 {
			t.Errorf("incarnation %d after a clean end, want 0", got)
		}
		r.write(a, 3, 1)
		r.abandon(a)

		r.opts.Writeback = false
		a = r.open()
		r.expect(a, 3, 0, 1)
		if got := a.Incarnation(); got != 1 {
			t.Errorf("incarnation %d after the death of a gateway in writeback mode, want 1", got)
		}
		r.abandon(a)
		a = r.open()
		if got := a.Incarnation(); got != 1 {
			t.Errorf("incarnation %d after the death of one that was not, want 1", got)
		}
		r.close(a)
	})
}

// TestI7WritebackReplyNeedsTheLeaseStill: a write may wait long for its block,
// after it was let in. If the lease ends meanwhile, a successor may serve by
// then, and would not show what is replied to here.
func TestI7WritebackReplyNeedsTheLeaseStill(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.opts.Writeback = true
		a := r.open()
		_, release, err := a.quiet(r.Context(), []uint64{1})
		if err != nil {
			t.Fatal(err)
		}
		ctx := r.patience(3 * defaultLease)
		replied := make(chan error, 1)
		go func() { replied <- a.WriteBlock(ctx, 1, content(1, 1)) }()
		time.Sleep(time.Millisecond)
		for _, l := range r.links {
			l.Freeze()
		}
		time.Sleep(defaultLease)
		release()
		if err := <-replied; !errors.Is(err, ErrTooFewNodes) {
			t.Errorf("a write that waited until the lease had ended: %v", err)
		}
		for _, l := range r.links {
			l.Heal()
		}
		r.write(a, 1, 2)
		r.close(a)
	})
}
