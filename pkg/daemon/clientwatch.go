package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/daemon/watch"
	"rozobox/pkg/metrics"
)

const (
	// gatewayPatience is how long a gateway may be silent before it counts as
	// gone: it sends twice a second.
	gatewayPatience = 2 * time.Second

	// gatewayAgain is the pause between attempts to reach it.
	gatewayAgain = time.Second
)

var (
	errGatewaySilent = fmt.Errorf("the gateway said nothing for %v", gatewayPatience)
	errStreamEnded   = errors.New("the stream has ended")
)

// Watch asks the nodes themselves, about twice a second, and while a gateway
// answers adds what only that knows. The channel is closed when ctx has ended
// and nothing of this runs any more. A reader that is slow misses pictures. The
// logger is told who comes and goes; nil means silence.
func (c *Client) Watch(ctx context.Context, logger *slog.Logger) <-chan metrics.Cluster {
	out := make(chan metrics.Cluster)
	go func() { // its owner waits for the channel's end
		defer close(out)
		c.watch(ctx, logger, out)
	}()
	return out
}

func (c *Client) watch(ctx context.Context, logger *slog.Logger, out chan<- metrics.Cluster) {
	var heard hearsay
	opts := watch.Options{Name: c.cluster, Known: heard.known}
	for _, n := range c.nodes {
		client := chunkrpc.NewClient(chunkrpc.ClientOptions{
			Node: chunk.NodeID(n.ID), Addr: n.Addr, Transport: c.over, Credentials: c.creds, Logger: logger,
		})
		defer client.Close()
		opts.Nodes = append(opts.Nodes, watch.Node{ID: n.ID, Addr: n.Addr, Asked: client})
	}
	var listening sync.WaitGroup
	listening.Go(func() { c.listen(ctx, &heard) })
	watch.Run(ctx, opts, out)
	listening.Wait()
}

// hearsay is what the gateway said last, as long as it answers.
type hearsay struct {
	mu   sync.Mutex // guards said
	said *metrics.Cluster
}

func (h *hearsay) set(said *metrics.Cluster) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = said
}

func (h *hearsay) known([]watch.Answer) *metrics.Cluster {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said
}

// listen follows the gateway's pictures until ctx ends.
func (c *Client) listen(ctx context.Context, heard *hearsay) {
	for ctx.Err() == nil {
		// Why not, the picture need not tell: it shows no gateway.
		_ = c.listenOnce(ctx, heard.set)
		heard.set(nil)
		pause(ctx, gatewayAgain)
	}
}

func (c *Client) listenOnce(ctx context.Context, said func(*metrics.Cluster)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(gatewayPatience, func() { cancel(errGatewaySilent) })
	defer silent.Stop()
	req, err := c.request(ctx, http.MethodGet, "/v1/live", nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxReply)
	for lines.Scan() {
		silent.Reset(gatewayPatience)
		text, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var picture metrics.Cluster
		if err := json.Unmarshal(text, &picture); err != nil {
			return fmt.Errorf("not a picture of a cluster: %w", err)
		}
		said(&picture)
	}
	return errors.Join(lines.Err(), errStreamEnded)
}
