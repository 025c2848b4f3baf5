package nbd

import "sync"

// pending counts the requests that were taken and not yet answered, so that a
// shutdown can refuse new ones and wait for these.
type pending struct {
	mu       sync.Mutex // guards the rest; never held across I/O
	count    int
	refusing bool
	idle     chan struct{} // closed when refusing and count is 0
}

func newPending() *pending { return &pending{idle: make(chan struct{})} }

// begin counts a request in, unless requests are refused.
func (p *pending) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing {
		return false
	}
	p.count++
	return true
}

func (p *pending) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count--
	p.signalLocked()
}

// refuse lets no more requests begin. The channel closes when those that have
// begun have ended.
func (p *pending) refuse() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	p.signalLocked()
	return p.idle
}

// signalLocked closes idle at the last end; nothing begins after that.
func (p *pending) signalLocked() {
	if p.refusing && p.count == 0 {
		close(p.idle)
	}
}
