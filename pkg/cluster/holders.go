package cluster

// NoHolder stands in a list of holders where no node can take the chunk.
const NoHolder = -1

// Holders fills holders, one entry per chunk index, with the node that a new
// version of the chunk must reach: its home if that is in, else the next spare
// that is in and not taken yet, else NoHolder. placed is the block's
// permutation from Place. Entries that already name a node which is in are
// kept, so that the copies of a version do not move when another node goes.
// The caller starts with NoHolder everywhere.
func Holders(holders []int8, placed []uint8, nodes []Member) {
	for i, n := range holders {
		if n != NoHolder && nodes[n].State != In {
			holders[i] = NoHolder
		}
	}
	width, spare := len(holders), len(holders)
	for i, n := range holders {
		if n != NoHolder {
			continue
		}
		if home := placed[i]; nodes[home].State == In {
			holders[i] = int8(home)
			continue
		}
		for spare < len(placed) && (nodes[placed[spare]].State != In || taken(holders[:width], placed[spare])) {
			spare++
		}
		if spare < len(placed) {
			holders[i] = int8(placed[spare])
			spare++
		}
	}
}

func taken(holders []int8, node uint8) bool {
	for _, n := range holders {
		if n == int8(node) {
			return true
		}
	}
	return false
}

// CountIn counts the nodes that are in.
func (s *Superblock) CountIn() (n int) {
	for i := range s.Nodes {
		if s.Nodes[i].State == In {
			n++
		}
	}
	return n
}

// MinIn returns how many nodes must stay in: k, so that each new block can be
// read, and N-k-m+1, so that each block has a home that is in and can say what
// is current. No node may be declared out below that: then I/O waits.
func (s *Superblock) MinIn() int {
	return max(s.Geometry.Data, len(s.Nodes)-s.Geometry.Width()+1)
}
