package simulate

import (
	"context"
	"slices"
	"time"

	"rozobox/pkg/cluster"
)

// mishap is something that goes wrong, or is done at a bad moment.
type mishap struct {
	name   string
	weight int
	happen func(h *history, ctx context.Context) bool // false: not now
}

// The bounds of how long things last.
const (
	longestAilment = 6 * time.Second
	longestOutage  = 3 * time.Second
	slowest        = 400 * time.Millisecond
)

// mishaps returns those that may happen: all, or the one of a name.
func mishaps(only string) []mishap {
	all := []mishap{
		{"crash", 20, (*history).crash},
		{"cut", 10, (*history).cut},
		{"mute", 5, (*history).mute},
		{"deaf", 5, (*history).deafen},
		{"freeze", 10, (*history).freeze},
		{"slow", 5, (*history).slow},
		{"gateway killed", 8, (*history).killGateway},
		{"gateway closed", 3, (*history).closeGateway},
		{"gateway replaced", 4, (*history).replaceGateway},
		{"power", 3, (*history).power},
		{"lonely version", 4, (*history).lonely},
		{"thin version", 6, (*history).thin},
		{"newcomer", 6, (*history).newcomer},
		{"late repair", 4, (*history).lateRepair},
		{"damage", 5, (*history).damage},
		{"wipe", 4, (*history).wipe},
		{"node lost", 3, (*history).lose},
		{"node replaced", 3, (*history).replace},
		{"old image", 4, (*history).oldImage},
		{"full", 2, (*history).fill},
	}
	if only == "" {
		return all
	}
	return slices.DeleteFunc(all, func(m mishap) bool { return m.name != only })
}

// mishap draws what happens next, and lets it happen.
func (h *history) mishap(ctx context.Context) {
	total := 0
	for _, m := range h.mishaps {
		total += m.weight
	}
	draw := h.rng.IntN(total)
	for _, m := range h.mishaps {
		if draw -= m.weight; draw < 0 {
			if m.happen(h, ctx) {
				h.mu.Lock()
				h.faults[m.name]++
				h.mu.Unlock()
			}
			return
		}
	}
}

// victim draws a node that is well, if one more may ail.
func (h *history) victim() (int, bool) {
	h.shelf.mu.Lock()
	defer h.shelf.mu.Unlock()
	ailing := 0
	for _, n := range h.nodes {
		if n.harm != (harm{}) {
			ailing++
		}
	}
	i := h.rng.IntN(len(h.nodes))
	return i, ailing < h.limit && h.nodes[i].harm == (harm{})
}

// ail lets a node ail for a while.
func (h *history) ail(i int, x harm, longest time.Duration) {
	d := time.Duration(h.rng.Int64N(int64(longest)))
	h.note("%s: %+v for %s", h.nodes[i].id, x, d)
	h.afflict(i, x)
	h.cures.Go(func() {
		time.Sleep(d)
		h.note("%s is well again", h.nodes[i].id)
		h.afflict(i, harm{})
	})
}

func (h *history) crash(context.Context) bool {
	i, ok := h.victim()
	if ok {
		unheard := h.rng.IntN(2) == 0 // its end is: nobody closes its connections
		dead := harm{cut: true, parted: unheard}
		h.afflict(i, dead)
		h.stop(i, loss(h.rng))
		h.ail(i, dead, []time.Duration{1, longestOutage, longestAilment}[h.rng.IntN(3)])
	}
	return ok
}

func (h *history) cut(context.Context) bool { return h.ailOne(harm{parted: true}) }

func (h *history) mute(context.Context) bool { return h.ailOne(harm{mute: true}) }

func (h *history) deafen(context.Context) bool { return h.ailOne(harm{deaf: true}) }

func (h *history) freeze(context.Context) bool { return h.ailOne(harm{frozen: true}) }

func (h *history) slow(context.Context) bool {
	return h.ailOne(harm{slow: time.Duration(h.rng.Int64N(int64(slowest)))})
}

func (h *history) ailOne(x harm) bool {
	i, ok := h.victim()
	if ok {
		h.ail(i, x, longestAilment)
	}
	return ok
}

func (h *history) killGateway(ctx context.Context) bool {
	h.kill(h.current())
	h.reopen(ctx)
	return true
}

// reopen starts a gateway after a while.
func (h *history) reopen(ctx context.Context) {
	time.Sleep(time.Duration(h.rng.Int64N(int64(longestOutage))))
	if _, err := h.open(ctx); err != nil {
		h.fail("reopen: %v", err)
	}
}

func (h *history) closeGateway(ctx context.Context) bool {
	if err := h.shut(h.current(), time.Minute); err != nil {
		h.note("not closed cleanly: %v", err)
	}
	h.reopen(ctx)
	return true
}

// lonely lets one node hear what no other does, then takes it and the gateway
// away: it returns with versions that nobody else knows.
func (h *history) lonely(ctx context.Context) bool {
	i, ok := h.victim()
	if !ok || h.unwell() > 0 {
		return false
	}
	h.note("only %s hears the gateway", h.nodes[i].id)
	for j := range h.nodes {
		h.afflict(j, harm{cut: j != i})
	}
	time.Sleep(time.Duration(h.rng.IntN(100)) * time.Millisecond)
	h.kill(h.current())
	for j := range h.nodes {
		h.afflict(j, harm{cut: j == i})
	}
	h.ail(i, harm{cut: true}, longestAilment)
	h.reopen(ctx)
	return true
}

// replaceGateway opens the volume on a second gateway while the first goes on,
// or is paused and goes on later.
func (h *history) replaceGateway(ctx context.Context) bool {
	first := h.current()
	paused := h.rng.IntN(2) == 0
	h.note("gateway %s is to be replaced, paused %v", first.name, paused)
	h.pause(first.lines, paused)
	h.paused.Store(paused)
	defer h.paused.Store(false)
	if _, err := h.open(ctx); err != nil {
		h.fail("second gateway: %v", err)
		return true
	}
	time.Sleep(time.Duration(h.rng.Int64N(int64(longestOutage))))
	h.pause(first.lines, false)
	time.Sleep(time.Duration(h.rng.Int64N(int64(longestOutage))))
	h.kill(first)
	return true
}

// power takes all nodes down, with the gateway.
func (h *history) power(ctx context.Context) bool {
	if h.limit <= parity {
		return false
	}
	h.kill(h.current())
	h.cures.Wait()
	for i := range h.nodes {
		h.stop(i, loss(h.rng))
	}
	for i := range h.nodes {
		h.afflict(i, harm{})
	}
	h.reopen(ctx)
	return true
}

// harmable returns whether one more chunk of each stripe may be destroyed for
// good: counting the nodes that are away or not in, and the chunks that are
// damaged, no stripe may ever lack more than m.
func (h *history) harmable(blocks map[uint64]int) bool {
	g := h.current()
	return g != nil && g.array.Err() == nil && g.array.Status().UnderProtected == 0 &&
		h.unwell()+worst(blocks) < parity
}

func worst(blocks map[uint64]int) (most int) {
	for _, n := range blocks {
		most = max(most, n)
	}
	return most
}

// damage flips bits in one chunk of some blocks.
func (h *history) damage(context.Context) bool {
	i := h.rng.IntN(len(h.nodes))
	node := h.nodes[i]
	held := node.store.Held(h.volume)
	damaged := h.damaged()
	hit := 0
	for _, e := range held {
		if h.rng.IntN(3) > 0 || !h.harmable(map[uint64]int{e.Block: damaged[e.Block]}) {
			continue
		}
		node.store.Damage(h.volume, e.Block, e.Index)
		damaged[e.Block]++
		hit++
	}
	h.note("%s: %d chunks are damaged", node.id, hit)
	return hit > 0
}

// wipe puts a blank card into a node.
func (h *history) wipe(context.Context) bool {
	i, ok := h.victim()
	if !ok || !h.harmable(h.damaged()) {
		return false
	}
	h.afflict(i, harm{cut: true})
	h.nodes[i].store.Wipe()
	h.note("%s: a blank card", h.nodes[i].id)
	h.ail(i, harm{cut: true}, longestOutage)
	return true
}

// oldImage takes an image of a card, or puts one back that is so old that the
// superblock knows of a later W on it: nobody could tell a younger one.
func (h *history) oldImage(context.Context) bool {
	i, ok := h.victim()
	n := h.nodes[i]
	if n.image == nil {
		n.image = n.store.Image()
		h.note("%s: an image is taken at W %s", n.id, n.image.Watermark(h.volume))
		return true
	}
	if !ok || !h.harmable(h.damaged()) || !h.tellable(i) {
		return false
	}
	h.afflict(i, harm{cut: true})
	h.note("%s: an old image of W %s", n.id, n.image.Watermark(h.volume))
	n.store.Load(n.image)
	n.image = nil
	h.ail(i, harm{cut: true}, longestOutage)
	return true
}

func (h *history) tellable(i int) bool {
	m := h.current().array.Status().Superblock.Nodes[i]
	return m.State == cluster.In && m.Mark > h.nodes[i].image.Watermark(h.volume)
}

// fill leaves no room on a card for a while.
func (h *history) fill(context.Context) bool {
	i, ok := h.victim()
	if !ok {
		return false
	}
	d := time.Duration(h.rng.Int64N(int64(longestAilment)))
	h.note("%s: no space for %s", h.nodes[i].id, d)
	h.nodes[i].store.SetCapacity(0)
	h.cures.Go(func() {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			h.mu.Lock()
			h.full = time.Now()
			h.mu.Unlock()
		}
		h.nodes[i].store.SetCapacity(1 << 30)
		h.note("%s: there is space again", h.nodes[i].id)
	})
	return true
}
