package stripe

import (
	"testing"
	"time"

	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
)

// TestI4CutOffLog: a card loses the end of its log, with chunks that were
// synced a moment ago. Its absences must not be taken for zeroes, neither by the
// next gateway nor by the one that runs.
func TestI4CutOffLog(t *testing.T) {
	for _, running := range []bool{false, true} {
		inRig(t, 8, func(r *rig) {
			a := r.open()
			r.write(a, 0, 1)
			r.flush(a)
			before := r.stores[4].Image()
			for b := range uint64(30) {
				r.write(a, b, 2)
			}
			r.flush(a)
			time.Sleep(time.Second) // the nodes hear of W
			if !running {
				r.abandon(a)
			}
			r.stores[4].Load(before)
			if !running {
				a = r.open()
			}
			time.Sleep(time.Second)
			if m := a.superblock().Nodes[4]; m.State != cluster.Out || !m.Behind {
				t.Errorf("running %v: node is %s, behind %v, want out and behind", running, m.State, m.Behind)
			}
			for b := range uint64(30) {
				r.expect(a, b, 2)
			}
			r.resync(a, 4)
			r.consistent(a)
			r.close(a)
		})
	}
}

// TestI1CutOffLogsAndLateNodes: all lose power after a flush of whose W no card has
// heard. Two cards lost the end of their logs, as many as there may be, and
// nothing shows it. Two more start a moment after the gateway: without them the
// flushed version has too few chunks, and the cut-off homes seem to prove that it
// was never flushed.
func TestI1CutOffLogsAndLateNodes(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(30) {
			r.write(a, b, 1)
		}
		r.flush(a)
		time.Sleep(time.Second)
		cut := map[int]*chunktest.Image{1: r.stores[1].Image(), 4: r.stores[4].Image()}
		for b := range uint64(30) {
			r.write(a, b, 2)
		}
		r.flush(a)
		r.abandon(a)
		for n, image := range cut {
			r.stores[n].Load(image)
		}
		late := []*chunktest.Link{r.links[6], r.links[7]}
		for _, link := range late {
			link.Cut()
			time.AfterFunc(r.opts.withDefaults().NodeTimeout/2, link.Heal)
		}
		a = r.open()
		for b := range uint64(30) {
			r.expect(a, b, 2)
		}
		r.close(a)
	})
}

// TestTrapCardReplacedWhileGatewayDown: a blank card, and one with an old
// image, under a known id are out; their absence is nobody's zeroes (I4).
func TestTrapCardReplacedWhileGatewayDown(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		old := r.stores[6].Image()
		for b := range uint64(30) {
			r.write(a, b, 1)
		}
		r.close(a)
		r.stores[1].Wipe()
		r.stores[6].Load(old)
		a = r.open()
		for b := range uint64(30) {
			r.expect(a, b, 1)
		}
		for _, n := range []int{1, 6} {
			m := a.superblock().Nodes[n]
			if m.State != cluster.Out || m.Since != 0 || !m.Behind {
				t.Errorf("node %d is %s since %s, behind %v, want out since 0, behind", n, m.State, m.Since, m.Behind)
			}
		}
		r.close(a)
	})
}
