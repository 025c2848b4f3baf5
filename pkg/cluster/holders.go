package cluster

// NoHolder stands in a list of holders where no node can take the chunk.
const NoHolder = -1

// Holders fills holders, one entry per chunk index, with the node that a
// version of the chunk must reach: its home if that is in, else a spare that
// is in, else NoHolder. placed is the block's permutation from Place. A spare
// that stands already and is in stays, so that the copies of a version do not
// move when another node goes. The caller starts with NoHolder everywhere.
func Holders(holders []int8, placed []uint8, nodes []Member) {
	for i, n := range holders {
		if home := placed[i]; nodes[home].State == In {
			holders[i] = int8(home)
		} else if n != NoHolder && nodes[n].State != In {
			holders[i] = NoHolder
		}
	}
	spares := placed[len(holders):]
	for i, n := range holders {
		for n == NoHolder && len(spares) > 0 {
			if s := spares[0]; nodes[s].State == In && !taken(holders, s) {
				n = int8(s)
			}
			spares = spares[1:]
		}
		holders[i] = n
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
