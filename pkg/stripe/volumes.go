package stripe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// view is what the nodes that answer know.
type view struct {
	hellos map[int]chunk.Hello // by index in Options.Nodes
	newest map[chunk.VolumeID]*cluster.Superblock
	lively map[chunk.VolumeID][]int // nodes that do not know of a deletion, if there was one
}

// look asks all nodes for all their superblocks. The error tells of damaged
// ones; the view is as good as can be all the same.
func look(ctx context.Context, opts Options) (*view, error) {
	v := &view{
		hellos: map[int]chunk.Hello{}, newest: map[chunk.VolumeID]*cluster.Superblock{},
		lively: map[chunk.VolumeID][]int{},
	}
	var mu sync.Mutex // guards v and damage
	var damage []error
	ask(ctx, opts, opts.Nodes, writePatience, func(ctx context.Context, i int, n Node) {
		hello, sbs, err := superblocks(ctx, opts, n)
		mu.Lock()
		defer mu.Unlock()
		if hello.Node != "" {
			v.hellos[i] = hello
		}
		damage = append(damage, err)
		for _, sb := range sbs {
			if newer(sb, v.newest[sb.Volume]) {
				v.newest[sb.Volume] = sb
			}
			if !sb.Deleted {
				v.lively[sb.Volume] = append(v.lively[sb.Volume], i)
			}
		}
	})
	return v, errors.Join(damage...)
}

// greet asks a node who it is. One that says nothing within NodeTimeout is not
// waited for; what another is asked next may take it longer.
func greet(ctx context.Context, opts Options, n Node) (chunk.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, opts.NodeTimeout)
	defer cancel()
	return n.Store.Hello(ctx)
}

// superblocks returns what a node says of itself, and its superblocks. A node
// that does not answer returns nothing.
func superblocks(
	ctx context.Context, opts Options, n Node,
) (hello chunk.Hello, list []*cluster.Superblock, err error) {
	hello, err = greet(ctx, opts, n)
	if err != nil {
		return chunk.Hello{}, nil, nil
	}
	for _, v := range hello.Volumes {
		record, err := n.Store.Superblock(ctx, v.ID)
		if errors.Is(err, chunk.ErrUnknownVolume) {
			continue // a grant without a superblock: a creation that got no further
		}
		if err != nil {
			return hello, list, fmt.Errorf("node %s: superblock of %s: %w", n.ID, v.ID, err)
		}
		sb, err := cluster.Decode(record)
		if err != nil {
			return hello, list, fmt.Errorf("node %s: %w", n.ID, err)
		}
		list = append(list, sb)
	}
	return hello, list, nil
}

// missing says why a volume was not found.
func (v *view) missing(opts Options) error {
	if len(v.hellos) < len(opts.Nodes) {
		return fmt.Errorf("no node that answers knows it, %d of %d do: %w",
			len(v.hellos), len(opts.Nodes), ErrTooFewNodes)
	}
	return ErrNotFound
}

// Find returns the superblocks of all volumes that the answering nodes know
// and that are not deleted, by name. A damaged superblock is reported in the
// error beside the result.
func Find(ctx context.Context, opts Options) ([]*cluster.Superblock, error) {
	v, err := look(ctx, opts.withDefaults())
	var list []*cluster.Superblock
	for _, sb := range v.newest {
		if !sb.Deleted {
			list = append(list, sb)
		}
	}
	slices.SortFunc(list, func(a, b *cluster.Superblock) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list, err
}

// Create makes a volume over all nodes of opts and claims its name on a
// quorum. Nodes that do not answer are out since 0. Errors: ErrExists,
// ErrTooFewNodes; then there is no volume.
func Create(ctx context.Context, opts Options, name string, geo cluster.Geometry) (chunk.VolumeID, error) {
	opts = opts.withDefaults()
	sb, err := newSuperblock(ctx, opts, name, geo)
	if err != nil {
		return chunk.VolumeID{}, fmt.Errorf("create volume %q: %w", name, err)
	}
	if err := putEverywhere(ctx, opts, sb, sb.Quorum()); err != nil {
		// Give up the name where it was claimed; nodes that cannot be reached
		// now hear of the deletion when the next gateway finds the claim.
		sb.Number, sb.Epoch, sb.Deleted = sb.Number+1, sb.Epoch+1, true
		_ = putEverywhere(context.WithoutCancel(ctx), opts, sb, 0)
		return chunk.VolumeID{}, fmt.Errorf("create volume %q: %w", name, err)
	}
	return sb.Volume, nil
}

func newSuperblock(
	ctx context.Context, opts Options, name string, geo cluster.Geometry,
) (*cluster.Superblock, error) {
	v, err := look(ctx, opts)
	if err != nil {
		return nil, err
	}
	for _, other := range v.newest {
		if other.Name == name && !other.Deleted {
			return nil, ErrExists
		}
	}
	if len(v.newest) >= chunk.MaxVolumes {
		return nil, fmt.Errorf("the cluster has %d volumes, the most it can have", len(v.newest))
	}
	sb := &cluster.Superblock{Name: name, Geometry: geo, Number: 1, Epoch: 1, Clean: true}
	rand.Read(sb.Volume[:])
	for i, n := range opts.Nodes {
		m := cluster.Member{ID: n.ID, Weight: 1, State: cluster.Out, Behind: true}
		if h, ok := v.hellos[i]; ok {
			m = cluster.Member{ID: n.ID, Weight: 1, State: cluster.In, Store: h.Store, Instance: h.Instance}
		}
		sb.Nodes = append(sb.Nodes, m)
	}
	if err := sb.Validate(); err != nil {
		return nil, err
	}
	if len(v.hellos) < sb.Quorum() || sb.CountIn() < sb.MinIn() {
		return nil, fmt.Errorf("%d of %d nodes answer: %w", len(v.hellos), len(opts.Nodes), ErrTooFewNodes)
	}
	return sb, nil
}

// putEverywhere stores a superblock under a grant of the next epoch on all
// nodes of opts, and fails unless enough of them have it.
func putEverywhere(ctx context.Context, opts Options, sb *cluster.Superblock, enough int) error {
	nonce, record := randomNonce(), sb.Encode()
	term := chunk.Term{Volume: sb.Volume, Epoch: sb.Epoch + 1, Nonce: nonce}
	var mu sync.Mutex // guards stored and errs
	stored, errs := 0, []error(nil)
	ask(ctx, opts, opts.Nodes, syncPatience, func(ctx context.Context, _ int, n Node) {
		err := claim(ctx, opts, n, term, record)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			stored++
		}
		errs = append(errs, err)
	})
	if stored >= enough {
		return nil
	}
	err := errors.Join(errs...)
	if errors.Is(err, chunk.ErrNameTaken) {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return fmt.Errorf("stored on %d of %d nodes: %w: %w", stored, enough, ErrTooFewNodes, err)
}

// claim stores a superblock on one node, if it answers.
func claim(ctx context.Context, opts Options, n Node, term chunk.Term, record chunk.Superblock) error {
	if _, err := greet(ctx, opts, n); err != nil {
		return err
	}
	if _, err := n.Store.Grant(ctx, term.Volume, term.Epoch, term.Nonce); err != nil {
		return err
	}
	return n.Store.PutSuperblock(ctx, term, record)
}

// FinishDeletions tells nodes that were away when a volume was deleted, so that
// they give up its name and its chunks. Nodes that do not answer now hear of it
// the next time.
func FinishDeletions(ctx context.Context, opts Options) error {
	opts = opts.withDefaults()
	v, err := look(ctx, opts)
	errs := []error{err}
	for id, sb := range v.newest {
		if !sb.Deleted || len(v.lively[id]) == 0 {
			continue
		}
		behind := opts
		behind.Nodes = nil
		for _, i := range v.lively[id] {
			behind.Nodes = append(behind.Nodes, opts.Nodes[i])
		}
		errs = append(errs, putEverywhere(ctx, behind, sb, len(behind.Nodes)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("finish deletions: %w", err)
	}
	return nil
}

// Delete deletes a volume and all its data: it takes the volume from whoever
// serves it, then records on a quorum that it is deleted. Errors: ErrNotFound,
// ErrTooFewNodes, ErrDeposed.
func Delete(ctx context.Context, opts Options, id chunk.VolumeID) error {
	opts = opts.withDefaults()
	o, err := survey(ctx, opts, id)
	if err == nil {
		err = o.campaign(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	sb := o.sb.Clone()
	sb.Number, sb.Epoch, sb.Deleted = sb.Number+1, o.epoch, true
	return o.bury(ctx, sb)
}

// bury stores the deleted superblock under the grants of o.
func (o *opening) bury(ctx context.Context, sb *cluster.Superblock) error {
	term := chunk.Term{Volume: sb.Volume, Epoch: o.epoch, Nonce: o.nonce}
	record := sb.Encode()
	var mu sync.Mutex // guards stored and errs
	stored, errs := 0, []error(nil)
	ask(ctx, o.opts, o.nodes, syncPatience, func(ctx context.Context, i int, n Node) {
		if _, granted := o.grants[i]; !granted {
			return
		}
		err := n.Store.PutSuperblock(ctx, term, record)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && o.grants[i].Store == sb.Nodes[i].Store {
			stored++
		}
		errs = append(errs, err)
	})
	if stored >= sb.Quorum() {
		return nil
	}
	return fmt.Errorf("delete volume %q: stored on %d of %d nodes: %w: %w",
		sb.Name, stored, sb.Quorum(), ErrTooFewNodes, errors.Join(errs...))
}
