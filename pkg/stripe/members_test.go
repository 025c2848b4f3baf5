package stripe

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/cluster"
)

// begin calls f in a goroutine, and returns when it waits for something.
func (r *rig) begin(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

// rejoin lets a node go out, and follow again.
func (r *rig) rejoin(a *Array, n int) {
	r.Helper()
	r.links[n].Cut()
	time.Sleep(time.Second)
	r.links[n].Heal()
	for a.Follow(n) != nil {
		time.Sleep(beatEvery)
	}
}

// TestNodeIsNotLostThatHasComeInMeanwhile: it was out when Lose looked; before
// its update another one took it in.
func TestNodeIsNotLostThatHasComeInMeanwhile(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		defer r.abandon(a)
		r.rejoin(a, 3)
		a.super <- struct{}{}
		joined := r.begin(func() error { return a.Join(r.Context(), 3) })
		time.Sleep(beatEvery)
		lost := r.begin(func() error { return a.Lose(r.Context(), 3) })
		<-a.super
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		if err := <-lost; !errors.Is(err, ErrRefused) {
			t.Errorf("giving up a node that is in: %v", err)
		}
		if m := a.superblock().Nodes[3]; m.State != cluster.In {
			t.Errorf("the node is %s", m.State)
		}
	})
}

// TestI4BlankCardDoesNotComeIn: the card is replaced when all is done but the
// record that the node is in, which another update holds up.
func TestI4BlankCardDoesNotComeIn(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		defer r.abandon(a)
		r.write(a, 1, 1)
		r.flush(a)
		home := int(a.place.Place(1)[0])
		r.rejoin(a, home)
		a.super <- struct{}{}
		joined := r.begin(func() error { return a.Join(r.Context(), home) })
		time.Sleep(2 * beatEvery)
		r.stores[home].Wipe()
		time.Sleep(5 * beatEvery)
		<-a.super
		if err := <-joined; !errors.Is(err, ErrInterrupted) {
			t.Errorf("joining with another card: %v", err)
		}
		if m := a.superblock().Nodes[home]; m.State == cluster.In {
			t.Error("a blank card is in")
		}
		r.expect(a, 1, 1)
	})
}
