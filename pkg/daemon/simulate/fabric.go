package simulate

import (
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// fabric is what connects gateways with nodes. Its methods do not wait, but for
// close; they are called one at a time.
type fabric interface {
	// connect makes the way of a new gateway to a node. A nil fates is none.
	connect(i int, fates func() chunktest.Fate) way
	// suffer has a node feel what ails it, on top of what the ways to it feel.
	suffer(i int, h harm)
	// close ends all that the fabric itself has started.
	close()
}

// way is what lies between one gateway and one node.
type way interface {
	// node is the node, for clients and for the background.
	node() (front, back chunk.Store)
	suffer(h harm)
	// close ends the connection and waits for what was under way.
	close()
}

// direct has each gateway call the stores of the nodes. Nothing is doubled in
// the background: what clients wrote is sent again until it is acknowledged,
// and so may come twice; what repair does is sent once, but may be under way for
// longer than anybody waits.
type direct struct {
	*shelf
}

func (d direct) connect(i int, fates func() chunktest.Fate) way {
	n := d.nodes[i]
	var store chunk.Store = n.store
	if d.between != nil {
		store = d.between(i, store)
	}
	front := &chunktest.Link{Store: store, Fates: fates}
	back := &chunktest.Link{Store: store, Fates: func() (f chunktest.Fate) {
		if fates != nil {
			f = fates()
			f.Late, f.Again = 3*f.Again, 0
		}
		if d.calm.Load() {
			f.Late = 0
		}
		if late := n.late.Load(); late > 0 {
			f.Late, f.Adrift = time.Duration(late), true
		}
		return f
	}}
	return &pair{i, front, back}
}

func (direct) suffer(int, harm) {}
func (direct) close()           {}

// pair is a way within memory.
type pair struct {
	number      int // of the node
	front, back *chunktest.Link
}

func (p *pair) node() (front, back chunk.Store) { return p.front, p.back }

func (p *pair) close() {
	p.front.Close()
	p.back.Close()
}

// suffer makes the links feel what ails their node. Those to each node take a
// time of their own, so that messages that are sent together do not arrive
// together.
func (p *pair) suffer(h harm) {
	for _, l := range []*chunktest.Link{p.front, p.back} {
		l.Delay(time.Millisecond + time.Duration(p.number)*10*time.Microsecond + h.slow)
		if h == (harm{slow: h.slow}) {
			l.Heal()
		}
		if h.cut {
			l.Cut()
		}
		if h.parted {
			l.Part()
		}
		if h.frozen || h.mute {
			l.Freeze()
		}
		if h.deaf {
			l.LoseReplies()
		}
	}
}
