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
