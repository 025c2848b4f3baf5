package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/repair"
	"rozobox/pkg/stripe"
)

var (
	// errNoNode means that the configuration has no node of that name.
	errNoNode = errors.New("no such node")
	// errNotServed means that a volume is not open, so nothing about it can
	// be found out or changed now.
	errNotServed = errors.New("not served now")
)

// NodeChange is the answer to POST /v1/nodes/ID/lost and /v1/nodes/ID/replace.
type NodeChange struct {
	Volumes []string `json:"volumes"` // the names of those that were changed
}

// memberChange is what can be done to a node by hand, in one volume after the
// other.
type memberChange struct {
	name string
	done func(cluster.State) bool // there is nothing to change
	may  func(*repair.Manager, context.Context, int) error
	do   func(*repair.Manager, context.Context, int) error
}

var (
	giveUp = memberChange{
		name: "give up",
		done: func(s cluster.State) bool { return s == cluster.Lost },
		may:  (*repair.Manager).MayLose, do: (*repair.Manager).Lose,
	}
	replaceCard = memberChange{
		name: "replace the card of",
		done: func(cluster.State) bool { return false },
		may:  (*repair.Manager).MayReplace, do: (*repair.Manager).Replace,
	}
)

// seat is a node's place in a volume that is served.
type seat struct {
	volume  string
	n       int
	manager *repair.Manager
}

// changeMember changes a node in every volume that has it, or in none when one
// refuses. It returns the names of the volumes that it changed. The caller
// lets one change go on at a time.
func (g *Gateway) changeMember(ctx context.Context, id string, c memberChange) ([]string, error) {
	seats, err := g.seats(id, c)
	for _, s := range seats {
		if err == nil {
			err = s.wrap(c.may(s.manager, ctx, s.n))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s node %s: %w", c.name, id, err)
	}
	changed := []string{}
	for _, s := range seats {
		if err := s.wrap(c.do(s.manager, ctx, s.n)); err != nil {
			return nil, fmt.Errorf("%s node %s (done: %q; ask again): %w", c.name, id, changed, err)
		}
		changed = append(changed, s.volume)
	}
	return changed, nil
}

func (s seat) wrap(err error) error {
	if err != nil {
		return fmt.Errorf("volume %q: %w", s.volume, err)
	}
	return nil
}

// seats returns where a node must be changed.
func (g *Gateway) seats(id string, c memberChange) (seats []seat, err error) {
	if err := g.checkNode(id); err != nil {
		return nil, err
	}
	already := 0
	for _, s := range g.list() {
		n := s.superblock().Index(chunk.NodeID(id))
		if n < 0 {
			continue // it is younger than the volume
		}
		if c.done(s.superblock().Nodes[n].State) {
			already++
			continue
		}
		manager, err := s.repairs()
		if err != nil {
			return nil, err
		}
		seats = append(seats, seat{s.sb.Name, n, manager})
	}
	if already > 0 && len(seats) == 0 {
		return nil, fmt.Errorf("that is done already: %w", stripe.ErrRefused)
	}
	return seats, nil
}

// checkNode refuses an unknown node, and an answer before the volumes are known.
func (g *Gateway) checkNode(id string) error {
	var known []string
	for _, p := range g.peers {
		known = append(known, p.ID)
	}
	if !slices.Contains(known, id) {
		return fmt.Errorf("%w: the cluster has %s", errNoNode, strings.Join(known, ", "))
	}
	select {
	case <-g.ready:
		return nil
	default:
		return fmt.Errorf("the gateway is still opening its volumes: %w", errNotServed)
	}
}

// repairs returns what repairs the volume.
func (s *served) repairs() (*repair.Manager, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.manager != nil:
		return s.manager, nil
	case s.why != "":
		return nil, fmt.Errorf("volume %q is %s (%s): %w", s.sb.Name, s.state, s.why, errNotServed)
	}
	return nil, fmt.Errorf("volume %q is %s: %w", s.sb.Name, s.state, errNotServed)
}
