package simulate

import (
	"context"
	"math/rand/v2"
	"time"

	"rozobox/pkg/cluster"
	"rozobox/pkg/stripe"
)

// thin lets a version be flushed that stands on five nodes, of which one loses
// its chunk and another is away when the next gateway opens, while W is not
// known yet. Three of the four chunks needed are left: the opening must wait,
// not take an older version (I1).
func (h *history) thin(ctx context.Context) bool {
	g := h.current()
	if len(h.nodes) != 8 || h.unwell()+worst(h.damaged()) > 0 || g.array.Err() != nil {
		return false
	}
	h.note("a thin version is to be flushed")
	g.manager.Pause()
	order := h.rng.Perm(len(h.nodes))
	block := h.rng.IntN(blocks)
	h.goOut(order[:2])
	h.afflict(order[0], harm{})
	h.afflict(order[1], harm{})
	h.goOut(order[2:3])
	c := &client{h, rand.New(rand.NewPCG(h.rng.Uint64(), 0))}
	err := c.write(ctx, g, block*perBlock, perBlock, false)
	if err == nil {
		err = c.flush(ctx, g)
	}
	thin := err == nil && g.array.Status().Superblock.CountIn() == 5
	h.kill(g)
	h.afflict(order[2], harm{})
	if thin {
		h.note("it is: only chunks on nodes other than %v", order[:3])
		h.spoil(order[3], uint64(block))
		h.ail(order[4], harm{cut: true}, longestOutage)
	}
	h.reopen(ctx)
	return true
}

// newcomer takes the power of a node at the moment that it has come in, and all
// that it has not synced: nothing of what it was given may be among that.
func (h *history) newcomer(context.Context) bool {
	i, ok := h.victim()
	g := h.current()
	if !ok || h.unwell() > 1 {
		return false
	}
	in := func() bool { return g.array.Status().Superblock.Nodes[i].State == cluster.In }
	h.note("%s will lose its power when it has come in", h.nodes[i].id)
	h.afflict(i, harm{cut: true})
	time.Sleep(time.Second)
	h.afflict(i, harm{})
	for end := time.Now().Add(longestAilment); !in() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	h.stop(i, func(int) int { return 0 })
	h.ail(i, harm{cut: true}, longestOutage)
	return true
}

// lateRepair gives up the repair of a block while its request is under way, has
// the block trimmed and the tombstone reclaimed: nothing of it may come back,
// however late the request arrives (I6).
func (h *history) lateRepair(ctx context.Context) bool {
	g := h.current()
	i := h.rng.IntN(len(h.nodes))
	block := uint64(h.rng.IntN(blocks))
	if g.array.Err() != nil || !h.harmable(h.damaged()) || h.unwell() > 0 || h.spoil(i, block) == 0 {
		return false
	}
	h.note("a repair of block %d on %s is given up", block, h.nodes[i].id)
	h.nodes[i].late.Store(int64(latestStray))
	impatient, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, _, err := g.array.Heal(impatient, block, stripe.Healing{Node: stripe.AllNodes, Verify: true})
	h.nodes[i].late.Store(0)
	h.note("repair: %v", err)
	c := &client{h, rand.New(rand.NewPCG(h.rng.Uint64(), 0))}
	if c.trim(ctx, g, int(block)*perBlock, perBlock, false) != nil || c.flush(ctx, g) != nil {
		return true
	}
	for end := time.Now().Add(latestStray); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if found, _ := g.array.Tombstones(ctx, block, block+1); len(found) > 0 {
			h.note("reclaim: %v", g.array.Reclaim(ctx, found))
		}
	}
	return true
}

// stubborn is how long an operator goes on asking for what is refused.
const stubborn = 20 * time.Second

// insist asks again and again for what may be refused for a while.
func insist(command func() error) (err error) {
	for end := time.Now().Add(stubborn); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = command(); err == nil {
			return nil
		}
	}
	return err
}

// lose gives a node up as soon as its chunks are rebuilt. Later some card comes
// back under its id, perhaps for another gateway.
func (h *history) lose(ctx context.Context) bool {
	i, ok := h.victim()
	g := h.current()
	if !ok || g.array.Err() != nil || h.unwell() > 0 {
		return false
	}
	h.afflict(i, harm{cut: true})
	err := insist(func() error { return g.manager.Lose(ctx, i) })
	h.note("%s is given up: %v", h.nodes[i].id, err)
	if err != nil {
		h.afflict(i, harm{})
		return true
	}
	if h.rng.IntN(2) == 0 {
		h.kill(g)
		h.reopen(ctx)
	}
	h.returnReplaced(ctx, i)
	return true
}

// replace takes the card of a node for gone while the node is away.
func (h *history) replace(ctx context.Context) bool {
	i, ok := h.victim()
	if !ok || h.unwell() > 0 || !h.harmable(h.damaged()) {
		return false
	}
	h.afflict(i, harm{cut: true})
	h.returnReplaced(ctx, i)
	return true
}

// returnReplaced tells the gateway that a node's card is gone, and lets the node
// return: with a blank card, or with the old one after all.
func (h *history) returnReplaced(ctx context.Context, i int) {
	g := h.current()
	if g == nil {
		return // it could not be opened, which was noted
	}
	if err := insist(func() error { return g.manager.Replace(ctx, i) }); err != nil {
		h.fail("%s cannot be replaced: %v", h.nodes[i].id, err)
	} else if h.rng.IntN(2) == 0 {
		h.nodes[i].store.Wipe()
		h.nodes[i].image = nil
	}
	h.note("%s is replaced", h.nodes[i].id)
	h.afflict(i, harm{})
}

// goOut cuts nodes off and waits until they must have been declared out.
func (h *history) goOut(nodes []int) {
	for _, i := range nodes {
		h.afflict(i, harm{cut: true})
	}
	time.Sleep(300 * time.Millisecond)
}

// spoil damages what a node holds of a block, and returns how many records.
func (h *history) spoil(i int, block uint64) (hit int) {
	for _, e := range h.nodes[i].store.Held(h.volume) {
		if e.Block == block {
			h.note("%s: chunk %d of block %d is damaged", h.nodes[i].id, e.Index, block)
			h.nodes[i].store.Damage(h.volume, block, e.Index)
			hit++
		}
	}
	return hit
}
