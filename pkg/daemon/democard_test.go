package daemon

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/daemon/film"
	"rozobox/pkg/metrics"
)

// shortFilm lasts for 8 seconds.
func shortFilm() *film.Film {
	const size = 2 << 20
	return &film.Film{Name: "short", Size: size, BytesPerSecond: size / 8,
		Reader: bytes.NewReader(random(3, size))}
}

// lessonRig is a demo with a film, and somebody who watches.
type lessonRig struct {
	t        *testing.T
	info     DemoInfo
	pictures <-chan metrics.Cluster
}

func startLesson(t *testing.T, over chunkrpc.Transport) *lessonRig {
	t.Helper()
	info, _ := startDemoWith(t, DemoOptions{
		Dir: filepath.Join(t.TempDir(), "demo"), Transport: over, Film: shortFilm(),
	})
	client, err := NewClient(info.Watch)
	if err != nil {
		t.Fatal(err)
	}
	return &lessonRig{t, info, client.Watch(t.Context(), nil)}
}

func (r *lessonRig) act(card string, a Action) {
	r.t.Helper()
	if err := r.info.Act(card, a); err != nil {
		r.t.Fatal(err)
	}
}

func (r *lessonRig) await(what string, ok func(metrics.Cluster) bool) metrics.Cluster {
	r.t.Helper()
	return await(r.t, r.pictures, what, ok)
}

// awaitCard waits until a card is as it should be.
func (r *lessonRig) awaitCard(id, what string, ok func(metrics.Card) bool) {
	r.t.Helper()
	r.await(id+" "+what, func(p metrics.Cluster) bool {
		i := slices.IndexFunc(p.Cards, func(c metrics.Card) bool { return c.ID == id })
		return i >= 0 && ok(p.Cards[i])
	})
}

func unavailable(c metrics.Card) bool { return c.State == metrics.Unavailable }
func wellAgain(c metrics.Card) bool   { return c.State != metrics.Unavailable && c.Sync == metrics.In }

// awaitFilm waits until the film has gone on by a few pieces, and has its hash.
func (r *lessonRig) awaitFilm(when string) {
	r.t.Helper()
	var from uint64
	r.await("the film goes on "+when, func(p metrics.Cluster) bool {
		if p.Film == nil {
			return false
		}
		if p.Film.WrongBytes > 0 {
			r.t.Fatalf("%s: %+v", when, p.Film)
		}
		if from == 0 {
			from = p.Film.CheckedBytes
		}
		return from > 0 && p.Film.CheckedBytes > from+2*128<<10
	})
}

// Whatever a lesson does to one card, over either transport, it is seen, the
// film goes on, and the card comes back.
func TestALessonWithOneCard(t *testing.T) {
	for _, over := range []chunkrpc.Transport{chunkrpc.QUIC, chunkrpc.TLS} {
		t.Run(string(over), func(t *testing.T) {
			t.Parallel() // they mostly wait
			r := startLesson(t, over)
			r.awaitFilm("before the lesson")
			for _, a := range []Action{Unplug, Freeze, Wipe} {
				r.act("pi3", a)
				r.awaitCard("pi3", string(a), unavailable)
				r.awaitFilm(string(a))
				r.act("pi3", Plug)
				r.awaitCard("pi3", "after "+string(a), wellAgain)
			}
			for _, text := range []string{past[Wipe], "node came back with less than it had"} {
				r.await("told: "+text, func(p metrics.Cluster) bool {
					return slices.ContainsFunc(p.Events, func(e metrics.Event) bool {
						return e.Node == "pi3" && strings.HasPrefix(e.Text, text)
					})
				})
			}
		})
	}
}

// With more cards away than the film can do without it waits, says why, and
// goes on when one returns.
func TestAFilmWaitsForTheThirdCard(t *testing.T) {
	t.Parallel()
	r := startLesson(t, "")
	r.awaitFilm("before the lesson")
	for _, id := range []string{"pi1", "pi2", "pi3"} {
		r.act(id, Unplug)
	}
	r.await("the film waits", func(p metrics.Cluster) bool {
		return p.Film != nil && strings.Contains(p.Film.Why, "pi1, pi2, pi3 do not answer") && p.Film.StalledSeconds > 0
	})
	r.act("pi2", Plug)
	r.awaitFilm("with one card back")
}

func TestAFilmPlaysFromASlowCard(t *testing.T) {
	t.Parallel()
	r := startLesson(t, "")
	p := r.await("the film is read from cards", func(p metrics.Cluster) bool {
		return p.Gateway != nil && p.Film != nil && p.Film.CheckedBytes > 0 && reading(p, filmName) != ""
	})
	id, before := reading(p, filmName), p.Gateway.HedgedReads
	r.act(id, Slow)
	r.await("reads that do not wait for it", func(p metrics.Cluster) bool {
		return p.Gateway != nil && p.Gateway.HedgedReads > before
	})
	r.awaitFilm("from a slow card")
	r.act(id, Plug)
	r.awaitCard(id, "after it was slow", wellAgain)
}

// reading returns a card that gave a data chunk of the stripe that was read last, if
// that is one of the volume: parity is asked only while another card is not well.
// Rates would not do: they may still be those of the volume's opening, which reads
// from all cards.
func reading(p metrics.Cluster, volume string) string {
	if p.Stripe == nil || p.Stripe.Volume != volume {
		return ""
	}
	for _, c := range p.Stripe.Chunks {
		if c.Used && !c.Parity {
			return c.Node
		}
	}
	return ""
}
