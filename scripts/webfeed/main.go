// Command webfeed serves the monitor's web page and feeds it what a test posts
// to /feed: each body goes to all that read /v1/live. A body "cut" ends their
// streams, and answers them by 503 until the next picture; "hang" leaves the
// streams open and sends nothing, as a gateway that stands still.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"rozobox/pkg/monitor/web"
)

// maxPicture bounds a posted picture: 20 cards and a thousand events.
const maxPicture = 1 << 20

// repeatAfter is the pace of a gateway.
const repeatAfter = 500 * time.Millisecond

// feed hands each picture to all that wait for one.
type feed struct {
	mu      sync.Mutex    // guards all below
	picture string        // the last; empty while cut
	next    chan struct{} // closed when picture changes
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "webfeed:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: webfeed ADDRESS")
	}
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	f := &feed{next: make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle("/", web.Handler())
	mux.HandleFunc("POST /feed", f.take)
	mux.HandleFunc("GET /v1/live", f.stream)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func (f *feed) take(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPicture))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.picture = string(text)
	if f.picture == "cut" {
		f.picture = ""
	}
	close(f.next)
	f.next = make(chan struct{})
}

func (f *feed) look() (picture string, next <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.picture, f.next
}

func (f *feed) stream(w http.ResponseWriter, r *http.Request) {
	picture, next := f.look()
	if picture == "" {
		http.Error(w, "nothing is fed", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for picture != "" {
		if picture == "hang" {
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, "data: %s\n\n", picture)
		if http.NewResponseController(w).Flush() != nil {
			return // the page has gone
		}
		select {
		case <-next:
		case <-time.After(repeatAfter):
		case <-r.Context().Done():
			return
		}
		picture, next = f.look()
	}
}
