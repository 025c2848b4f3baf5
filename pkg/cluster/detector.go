package cluster

import "time"

// Detector decides which nodes to declare out. It is pure: it sees what the
// heartbeats found, and the time, only through Check.
type Detector struct {
	// Timeout is how long a node may be silent.
	Timeout time.Duration

	checked time.Duration // when Check was last called
	grace   time.Duration // until then nobody is judged by the clock
	blink   time.Duration // until then nobody is judged by a closed connection
}

// Vital is what heartbeats found of one node.
type Vital struct {
	Answered time.Duration // when the newest heartbeat was sent that was answered
	Closed   bool          // the last one failed at once: there is no connection
	Unfit    bool          // it answers, but not as the card that is recorded
}

// Check returns the nodes, by index, to declare out now: those that are in and
// silent, as long as a quorum of the members answers and enough nodes stay in.
// Where too few answer, the fault is more likely here, or all cards have lost
// power together: then nobody is declared out, and I/O waits. When enough answer
// again, the others have Timeout to return in. It must be called
// several times within Timeout; a longer pause means that this process was
// stopped or starved, and that the silence of others proves nothing.
func (d *Detector) Check(now time.Duration, sb *Superblock, vitals []Vital) (out []int) {
	if d.checked != 0 && now-d.checked > d.Timeout/2 {
		d.grace = now + d.Timeout
	}
	d.checked = now
	silent := func(v Vital) bool {
		return v.Closed || v.Unfit || now > d.grace && now-v.Answered > d.Timeout
	}
	answer := 0
	for i, m := range sb.Nodes {
		if m.State == Lost {
			continue
		}
		if !silent(vitals[i]) {
			answer++
		}
	}
	if answer < sb.Quorum() {
		d.grace, d.blink = now+d.Timeout, now+d.Timeout
		return nil
	}
	stay := sb.CountIn()
	for i, m := range sb.Nodes {
		returning := vitals[i].Closed && !vitals[i].Unfit && now <= d.blink
		if m.State == In && silent(vitals[i]) && !returning && stay > sb.MinIn() {
			out = append(out, i)
			stay--
		}
	}
	return out
}
