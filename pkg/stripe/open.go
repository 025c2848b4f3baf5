package stripe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// opening is what a gateway has learnt on the way to its term of office.
type opening struct {
	opts      Options
	sb        *cluster.Superblock   // the newest seen; then the first of the new epoch
	nodes     []Node                // in the order of sb.Nodes
	hellos    map[int]chunk.Hello   // of those that answer
	grants    map[int]chunk.Granted // of those that granted
	epoch     uint32
	nonce     uint64
	watermark chunk.Version // the highest W known
	granted   time.Duration // on opts.Clock: when a quorum had granted
}

// Open obtains the volume's next term of office, decides what the last one
// left open, and returns when the array may serve (design, section 8). Errors:
// ErrNotFound, ErrTooFewNodes (with the names of those that are missing; it may
// succeed later), ErrDeposed when another gateway opened at the same time.
func Open(ctx context.Context, opts Options, id chunk.VolumeID) (*Array, error) {
	a, err := open(ctx, opts.withDefaults(), id)
	if err != nil {
		return nil, fmt.Errorf("open volume %s: %w", id, err)
	}
	return a, nil
}

func open(ctx context.Context, opts Options, id chunk.VolumeID) (*Array, error) {
	o, err := survey(ctx, opts, id)
	if err != nil {
		return nil, err
	}
	if err := o.campaign(ctx, id); err != nil {
		return nil, err
	}
	wasClean := o.sb.Clean
	if !wasClean {
		if err := o.awaitLate(ctx, id); err != nil {
			return nil, err
		}
	}
	if err := o.judgeNodes(); err != nil {
		return nil, err
	}
	a, err := newArray(opts, o)
	if err != nil {
		return nil, err
	}
	if err := a.takeOffice(ctx, o, wasClean); err != nil {
		a.end(err)
		a.tasks.Wait()
		return nil, err
	}
	return a, nil
}

// takeOffice makes the first superblock of the term durable, recovers, and
// waits until the predecessor's lease has certainly ended.
func (a *Array) takeOffice(ctx context.Context, o *opening, wasClean bool) error {
	if err := a.expelCutOff(ctx, o); err != nil {
		return err
	}
	if err := a.update(ctx, asItIs); err != nil {
		return err
	}
	if err := a.recover(ctx, o); err != nil {
		return err
	}
	if err := a.noteRestarts(ctx); err != nil {
		return err
	}
	// A quarter more than the lease, for clocks that do not run alike.
	rest := o.granted + a.opts.Lease*5/4 - a.opts.Clock()
	if wasClean || rest <= 0 {
		return nil
	}
	select {
	case <-time.After(rest):
		return nil
	case <-a.life.Done():
		return a.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noteRestarts records which start each node is known by, if that has changed:
// what earlier ones had in memory is on the nodes again.
func (a *Array) noteRestarts(ctx context.Context) error {
	a.mu.Lock()
	restarts := a.restartsLocked()
	a.mu.Unlock()
	if !restarts {
		return nil
	}
	return a.update(ctx, asItIs)
}

// ask calls f for each node at once, with a bound on each call in node timeouts,
// and waits for all of them.
func ask(ctx context.Context, opts Options, nodes []Node, patience time.Duration, f func(context.Context, int, Node)) {
	ctx, cancel := context.WithTimeout(ctx, patience*opts.NodeTimeout)
	defer cancel()
	var group sync.WaitGroup
	for i, n := range nodes {
		group.Go(func() { f(ctx, i, n) })
	}
	group.Wait()
}

// survey finds the volume's newest superblock, and the nodes that answer. It
// fails unless they are a quorum: nothing has been changed until then.
func survey(ctx context.Context, opts Options, id chunk.VolumeID) (*opening, error) {
	found, _ := look(ctx, opts)
	sb := found.newest[id]
	if sb == nil || sb.Deleted {
		return nil, found.missing(opts)
	}
	o := &opening{opts: opts, sb: sb, hellos: map[int]chunk.Hello{}, grants: map[int]chunk.Granted{}}
	for i, m := range sb.Nodes {
		at := slices.IndexFunc(opts.Nodes, func(n Node) bool { return n.ID == m.ID })
		if at < 0 {
			return nil, fmt.Errorf("volume %q has a node %s that the configuration lacks", sb.Name, m.ID)
		}
		o.nodes = append(o.nodes, opts.Nodes[at])
		if hello, answers := found.hellos[at]; answers {
			o.hellos[i] = hello
		}
	}
	return o, o.quorum("answer", func(i int) (chunk.StoreID, bool) {
		h, ok := o.hellos[i]
		return h.Store, ok && !h.ReadOnly
	})
}

// quorum fails unless enough members, with their recorded cards, did it.
func (o *opening) quorum(did string, store func(i int) (chunk.StoreID, bool)) error {
	count, missing := 0, []string(nil)
	for i, m := range o.sb.Nodes {
		if m.State == cluster.Lost {
			continue
		}
		if s, ok := store(i); ok && s == m.Store {
			count++
			continue
		}
		missing = append(missing, string(m.ID))
	}
	if count >= o.sb.Quorum() {
		return nil
	}
	return fmt.Errorf("%d of the %d nodes needed %s, waiting for %s: %w",
		count, o.sb.Quorum(), did, strings.Join(missing, ", "), ErrTooFewNodes)
}

// campaign asks for the grants of the next epoch.
func (o *opening) campaign(ctx context.Context, id chunk.VolumeID) error {
	o.epoch = o.sb.Epoch
	for _, h := range o.hellos {
		for _, v := range h.Volumes {
			if v.ID == id {
				o.epoch = max(o.epoch, v.Epoch)
			}
		}
	}
	o.epoch++
	o.nonce = randomNonce()
	refusal := o.obtain(ctx, id, slices.Collect(maps.Keys(o.hellos)))
	o.granted = o.opts.Clock()
	if err := o.quorum("grant", func(i int) (chunk.StoreID, bool) {
		g, ok := o.grants[i]
		return g.Store, ok
	}); err != nil {
		return fmt.Errorf("%w: last refusal: %w", err, refusal)
	}
	return o.learn(id)
}

// obtain asks these nodes for their grants, and returns the last refusal.
func (o *opening) obtain(ctx context.Context, id chunk.VolumeID, who []int) (refusal error) {
	var nodes []Node
	for _, i := range who {
		nodes = append(nodes, o.nodes[i])
	}
	var mu sync.Mutex // guards o.grants and refusal
	ask(ctx, o.opts, nodes, 1, func(ctx context.Context, at int, n Node) {
		g, err := n.Store.Grant(ctx, id, o.epoch, o.nonce)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			refusal = err
			return
		}
		o.grants[who[at]] = g
	})
	return refusal
}

// awaitLate gives members that have not granted one NodeTimeout more. Where all
// machines were switched on at once, those that come last may have what is needed to
// decide a block; and the predecessor's lease must run out in any case. That began
// when a quorum had granted: grants after that do not put it off.
func (o *opening) awaitLate(ctx context.Context, id chunk.VolumeID) error {
	patience, cancel := context.WithTimeout(ctx, o.opts.NodeTimeout)
	defer cancel()
	for late := o.late(); len(late) > 0 && patience.Err() == nil; late = o.late() {
		_ = o.obtain(patience, id, late) // one that refuses is as good as away
		select {
		case <-time.After(beatEvery):
		case <-patience.Done():
		}
	}
	return o.learn(id)
}

// late returns the members that have not granted.
func (o *opening) late() (late []int) {
	for i, m := range o.sb.Nodes {
		if _, granted := o.grants[i]; !granted && m.State != cluster.Lost {
			late = append(late, i)
		}
	}
	return late
}

func randomNonce() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// learn takes the newest superblock and the highest W from the grants: nothing
// of an older epoch can change them any more on these nodes.
func (o *opening) learn(id chunk.VolumeID) error {
	for i, g := range o.grants {
		o.watermark = max(o.watermark, g.Watermark)
		if g.Superblock.Number == 0 {
			continue
		}
		sb, err := cluster.Decode(g.Superblock)
		if err != nil {
			o.opts.Logger.Error("damaged superblock", "node", o.nodes[i].ID, "error", err)
			continue
		}
		if newer(sb, o.sb) {
			o.sb = sb
		}
	}
	o.watermark = max(o.watermark, o.sb.Watermark)
	if o.sb.Deleted {
		return fmt.Errorf("volume %s: %w", id, ErrNotFound)
	}
	return nil
}

// newer orders superblocks: by epoch, then number.
func newer(a, b *cluster.Superblock) bool {
	if b == nil || a.Epoch != b.Epoch {
		return b == nil || a.Epoch > b.Epoch
	}
	return a.Number > b.Number
}

// judgeNodes decides which nodes are in for the new term (I4): a member that
// does not answer is out since W; one whose log was cut off, or that shows an
// old image, is out since its own W; one whose card was replaced is out since 0.
func (o *opening) judgeNodes() error {
	sb := o.sb.Clone()
	lossy := o.mayHaveLost()
	for i := range sb.Nodes {
		m := &sb.Nodes[i]
		g, answers := o.grants[i]
		known := answers && g.Store == m.Store
		switch {
		case m.State == cluster.Lost:
		case known && shown(g, *m) >= m.Mark:
		case known:
			since := shown(g, *m)
			if m.State == cluster.Out {
				since = min(since, m.Since)
			}
			m.State, m.Since, m.Behind = cluster.Out, since, true
		case answers:
			m.State, m.Since, m.Behind = cluster.Out, 0, true
		case m.State == cluster.In:
			m.State, m.Since = cluster.Out, o.watermark
		}
	}
	if lossy {
		sb.Incarnation++
	}
	sb.Clean, sb.Writeback = false, o.opts.Writeback
	if in := sb.CountIn(); in < sb.MinIn() {
		return fmt.Errorf("%d of the %d up-to-date nodes needed answer: %w", in, sb.MinIn(), ErrTooFewNodes)
	}
	o.sb = sb
	return nil
}

// mayHaveLost reports whether writes that the last term replied to may be gone with
// the memory of nodes, or of the gateway (I7). A write is on every node that was in,
// up to k+m: with fewer of them, fewer may have restarted. Of those that are out, an
// opening that got no further may have put some there: so that all count for m.
func (o *opening) mayHaveLost() bool {
	lost, lostIn := 0, 0
	for i, m := range o.sb.Nodes {
		g, answers := o.grants[i]
		if m.State == cluster.Lost || answers && g.Store == m.Store && g.Instance == m.Instance {
			continue
		}
		lost++
		if m.State == cluster.In {
			lostIn++
		}
	}
	geo := o.sb.Geometry
	spare := min(geo.Width(), o.sb.CountIn()) - geo.Data
	return !o.sb.Clean && (o.sb.Writeback || lost > geo.Parity || lostIn > spare)
}
