package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"rozobox/pkg/metrics"
)

const (
	// maxViewers bounds those who watch at once, so that they leave room for
	// others among maxAdminConns.
	maxViewers = maxAdminConns / 2

	// keepAlive is how long a stream is silent before it says that it lives.
	keepAlive = 2 * time.Second
)

var errManyViewers = fmt.Errorf("%d watch already, no more are served", maxViewers)

// live has those who watch /v1/live. The nodes are asked for them only while
// there are any, and once for all of them.
type live struct {
	watch func(ctx context.Context, out chan<- metrics.Cluster)

	turn chan struct{} // a lock that spans the end of watching: guards end
	end  func()        // ends the watching and waits for it; nil when there is none

	mu      sync.Mutex // guards all below
	viewers map[viewer]bool
	last    []byte // the newest picture; nil before the first
}

// viewer holds the picture that its owner has not yet taken: the newest.
type viewer chan []byte

func newLive(run func(context.Context, chan<- metrics.Cluster)) *live {
	return &live{watch: run, turn: make(chan struct{}, 1), viewers: make(map[viewer]bool)}
}

// join begins to show pictures to a new viewer, until it leaves.
func (l *live) join() (viewer, error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	v := make(viewer, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.viewers) == maxViewers {
		return nil, errManyViewers
	}
	l.viewers[v] = true
	if l.last != nil {
		v <- l.last
	}
	if l.end == nil {
		l.end = l.begin()
	}
	return v, nil
}

func (l *live) leave(v viewer) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	delete(l.viewers, v)
	deserted := len(l.viewers) == 0
	l.mu.Unlock()
	if deserted {
		l.end()
		l.end = nil
		l.forget()
	}
}

func (l *live) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = nil
}

// begin watches until the function that it returns is called.
func (l *live) begin() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	pictures := make(chan metrics.Cluster)
	var running sync.WaitGroup
	running.Go(func() {
		defer close(pictures)
		l.watch(ctx, pictures)
	})
	running.Go(func() {
		for p := range pictures {
			l.broadcast(p)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// broadcast encodes a picture once, for all.
func (l *live) broadcast(p metrics.Cluster) {
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("a picture of the cluster is not JSON: %v", err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = text
	for v := range l.viewers {
		select { // the one that it did not take is old now
		case <-v:
		default:
		}
		v <- text
	}
}

// showLive streams pictures until the viewer or the server goes.
func (a *admin) showLive(w http.ResponseWriter, r *http.Request) {
	v, err := a.live.join()
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	defer a.live.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s := stream{w, http.NewResponseController(w)}
	err = s.send(": %s\n\n", "pictures of the cluster follow")
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for err == nil {
		select {
		case text := <-v:
			err = s.send("data: %s\n\n", string(text))
			alive.Reset(keepAlive)
		case <-alive.C:
			err = s.send(": %s\n\n", "still here")
		case <-r.Context().Done():
			return
		}
	}
}

// stream is an answer without end. The server's limit is for a whole answer;
// here each piece has one.
type stream struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (s stream) send(format, text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(adminPatience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s, format, text); err != nil {
		return err
	}
	return s.control.Flush()
}
