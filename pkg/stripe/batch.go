package stripe

import (
	"runtime"
	"time"
)

// sendLoop sends queued chunks in batches, up to sendWindow at once.
func (p *peer) sendLoop() {
	window := make(chan struct{}, sendWindow)
	for {
		select {
		case window <- struct{}{}:
		case <-p.array.life.Done():
			return
		}
		batch := p.awaitBatch(window)
		if batch == nil {
			return
		}
		p.array.tasks.Go(func() {
			p.send(batch)
			<-window
			poke(p.work)
		})
	}
}

// awaitBatch returns the next batch, or nil when the array ends. window holds
// one for it, and one for each that is under way.
func (p *peer) awaitBatch(window chan struct{}) []item {
	var patience <-chan time.Time // with a batch that waits for more
	patient := true
	for {
		runtime.Gosched() // others that are about to write join the batch
		p.array.mu.Lock()
		var batch []item
		switch {
		case !p.mayHaveLocked(len(window)):
		case patient && p.array.ledger.gathers(p.n):
			if patience == nil {
				patience = time.After(gatherTime)
			}
		default:
			batch = p.array.ledger.take(p.n, batchOps, batchBytes)
		}
		p.array.mu.Unlock()
		if len(batch) > 0 {
			return batch
		}
		select {
		case <-p.work:
		case <-patience:
			patient = false
		case <-p.array.life.Done():
			return nil
		}
	}
}

// mayHaveLocked reports whether the node may have one more batch, the one that makes
// them so many.
func (p *peer) mayHaveLocked(batches int) bool {
	return p.up && (batches <= eagerWindow || p.array.ledger.fills(p.n) || p.isStuckLocked())
}

// fills reports whether what is queued for a node fills a batch.
func (l *ledger) fills(n int) bool {
	queued := len(l.nodes[n].queue)
	return queued >= batchOps || queued*l.chunkSize >= batchBytes
}

// gathers reports whether what is queued for a node is a small batch yet, and more is
// about to come: the writes that wait have most of their chunks still to be sent.
func (l *ledger) gathers(n int) bool {
	queued := len(l.nodes[n].queue)
	return queued > 0 && queued < min(l.awaited/gatherShare, gatherOps)
}

// take removes and returns the next batch for a node, within the bounds given.
// Copies that are not wanted there any more are left out.
func (l *ledger) take(n int, maxOps, maxBytes int) []item {
	queue := l.nodes[n].queue
	var batch []item
	size, used := 0, 0
	for _, it := range queue {
		if len(batch) == maxOps || len(batch) > 0 && size+l.size(it) > maxBytes {
			break
		}
		used++
		if it.gone || it.state != queued {
			l.left(it)
			continue
		}
		batch = append(batch, it)
		size += l.size(it)
	}
	clear(queue[:used])
	l.nodes[n].queue = queue[used:]
	return batch
}
