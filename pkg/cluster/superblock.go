package cluster

import (
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"rozobox/pkg/chunk"
)

// State says how far a node of a volume is trusted. The zero value is none of
// them, so that a forgotten state is refused instead of trusted.
type State uint8

const (
	// In means that the node has every version that it is a holder of.
	In State = iota + 1
	// Out means that the node may miss versions after Member.Since.
	Out
	// Lost means that the node was given up: it has no vote, and its chunks
	// live on spares.
	Lost
)

// String returns the state in the words that people and programs see.
func (s State) String() string {
	switch s {
	case In:
		return "in"
	case Out:
		return "out"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Member is what a volume records of one of its nodes.
type Member struct {
	ID       chunk.NodeID
	Weight   uint16           // share of chunks relative to the other nodes, at least 1
	Store    chunk.StoreID    // zero: the node has not shown its card yet
	Instance chunk.InstanceID // the start of the node that the state was recorded of
	State    State
	Since    chunk.Version // Out, Lost: it may miss versions above; 0 when In
	Behind   bool          // Out, Lost: it was replaced, or its log was cut off
	Mark     chunk.Version // a W that the node's log held durably; less means that it was cut off
}

// Superblock is the replicated record of a volume. Nodes is never changed in
// place but for what is recorded of a node: placement uses its ids and weights.
type Superblock struct {
	Volume      chunk.VolumeID
	Name        string
	Deleted     bool
	Geometry    Geometry
	Number      uint64 // of this update, from 1
	Epoch       uint32 // under which this update was written
	Watermark   chunk.Version
	Incarnation uint32 // raised when an opening may have lost replied writes
	Clean       bool   // the last gateway flushed and closed
	Writeback   bool   // the gateway of this epoch replies before its nodes have what is written
	Generation  uint32 // of the node list
	Nodes       []Member
}

// Members counts the nodes that are not lost: N in the rules on quorums.
func (s *Superblock) Members() int {
	n := 0
	for i := range s.Nodes {
		if s.Nodes[i].State != Lost {
			n++
		}
	}
	return n
}

// Quorum returns how many members must agree, N-m: any two quorums meet,
// because at least k+m > 2m nodes are members.
func (s *Superblock) Quorum() int { return s.Members() - s.Geometry.Parity }

// WriteQuorum returns how many chunks a write needs at least: k+1, or k where
// the members are just enough for a stripe.
func (s *Superblock) WriteQuorum() int {
	if s.Members() > s.Geometry.Width() {
		return s.Geometry.Data + 1
	}
	return s.Geometry.Data
}

// Index returns the place of a node in Nodes, which is also what Placement
// calls it, or -1.
func (s *Superblock) Index(id chunk.NodeID) int {
	return slices.IndexFunc(s.Nodes, func(m Member) bool { return m.ID == id })
}

// Clone returns a copy that shares nothing with s.
func (s *Superblock) Clone() *Superblock {
	c := *s
	c.Nodes = slices.Clone(s.Nodes)
	return &c
}

// Validate refuses a superblock that breaks a bound or contradicts itself.
func (s *Superblock) Validate() error {
	if s.Volume == (chunk.VolumeID{}) {
		return errors.New("volume id is zero")
	}
	if s.Number == 0 {
		return errors.New("number is 0")
	}
	if s.Epoch == 0 || s.Epoch > chunk.MaxEpoch {
		return fmt.Errorf("epoch %d is not from 1 to %d", s.Epoch, chunk.MaxEpoch)
	}
	if err := ValidateName(s.Name); err != nil {
		return err
	}
	if err := s.Geometry.Validate(); err != nil {
		return err
	}
	return s.validateNodes()
}

func (s *Superblock) validateNodes() error {
	if len(s.Nodes) > chunk.MaxNodes {
		return fmt.Errorf("%d nodes: more than %d", len(s.Nodes), chunk.MaxNodes)
	}
	for i := range s.Nodes {
		m := &s.Nodes[i]
		if err := m.validate(); err != nil {
			return err
		}
		if s.Index(m.ID) != i {
			return fmt.Errorf("node %s appears twice", m.ID)
		}
	}
	if s.Members() < s.Geometry.Width() {
		return fmt.Errorf("%d nodes that are not lost: a stripe needs %d",
			s.Members(), s.Geometry.Width())
	}
	return nil
}

func (m *Member) validate() error {
	if err := ValidateNodeID(m.ID); err != nil {
		return err
	}
	switch {
	case m.Weight == 0:
		return fmt.Errorf("node %s: weight is 0", m.ID)
	case m.State < In || m.State > Lost:
		return fmt.Errorf("node %s: %s is unknown", m.ID, m.State)
	case m.State == In && (m.Since != 0 || m.Behind):
		return fmt.Errorf("node %s is in, and yet out since %s", m.ID, m.Since)
	}
	return nil
}

// MaxNodeID bounds a node's id, in bytes.
const MaxNodeID = 64

// ValidateNodeID refuses what is no node id: 1 to MaxNodeID letters, digits,
// '.', '_' and '-', which are the same bytes in a file name, a URI and a
// certificate.
func ValidateNodeID(id chunk.NodeID) error {
	if len(id) == 0 || len(id) > MaxNodeID {
		return fmt.Errorf("node id of %d bytes: 1 to %d are allowed", len(id), MaxNodeID)
	}
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("node id %q: only letters, digits, '.', '_' and '-' are allowed", string(id))
		}
	}
	return nil
}

// ValidateName refuses what is no volume name: 1 to chunk.MaxName bytes of
// UTF-8 without control characters, because it is also an NBD export name,
// and people read it on terminals.
func ValidateName(name string) error {
	if len(name) == 0 || len(name) > chunk.MaxName {
		return fmt.Errorf("volume name of %d bytes: 1 to %d are allowed", len(name), chunk.MaxName)
	}
	control := func(r rune) bool { return unicode.IsControl(r) }
	if !utf8.ValidString(name) || slices.ContainsFunc([]rune(name), control) {
		return fmt.Errorf("volume name %q: not printable UTF-8", name)
	}
	return nil
}
