package chunkrpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"rozobox/pkg/chunk"
)

// ClientOptions says which node a Client talks to, and who it is.
type ClientOptions struct {
	// Node is the id that the node's certificate must have.
	Node chunk.NodeID
	// Addr is where the node listens: host:port.
	Addr string
	// Credentials are a gateway's or a monitor's.
	Credentials Credentials
	// Transport is what the node uses too; empty means QUIC.
	Transport Transport
	// Conn is what QUIC's packets go through; it stays the caller's, who closes
	// it after the Client, and Addr must then be an IP address with a port. Nil
	// means a UDP socket of the Client's own for each connection.
	Conn net.PacketConn
	// Dial is how TLS connects to Addr where it is not nil.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Logger is told when the connection comes and goes; nil means silence.
	Logger *slog.Logger
}

// Client is a node across the network. It keeps one connection, dials in the
// background for as long as it lives, and remembers nothing about the node
// from one connection to the next. While there is no connection its methods
// fail at once; only before the first attempt has ended they wait for it.
type Client struct {
	port // the methods of chunk.Store, on the lanes of a client's own traffic

	opts ClientOptions
	id   clientID
	name string // of the node, for errors
	stop context.CancelFunc
	wg   sync.WaitGroup

	tried chan struct{} // closed when the first attempt has ended

	mu      sync.Mutex // guards the two below; never kept while waiting
	session *session   // nil while not connected
	cause   error      // why not
}

var _ chunk.Store = (*Client)(nil)

var (
	errClosed   = errors.New("client is closed")
	errNoAnswer = fmt.Errorf("no answer within %v", dialTimeout)
)

// NewClient returns at once; mistakes in opts show as errors of every call.
func NewClient(opts ClientOptions) *Client {
	var id clientID
	rand.Read(id[:])
	return newClient(opts, id)
}

func newClient(opts ClientOptions, id clientID) *Client {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Transport = cmp.Or(opts.Transport, QUIC)
	opts.Logger = opts.Logger.With("node", opts.Node, "addr", opts.Addr)
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{
		opts: opts, id: id, name: fmt.Sprintf("node %s at %s", opts.Node, opts.Addr),
		stop: stop, tried: make(chan struct{}),
	}
	c.port = port{client: c, write: laneWrite, read: laneRead, control: laneControl}
	c.wg.Go(func() { c.run(ctx) })
	return c
}

// Background returns the same node for background work, over a stream of its
// own: however much is asked of it there, clients' requests do not queue
// behind it.
func (c *Client) Background() chunk.Store {
	return port{client: c, write: laneBackground, read: laneBackground, control: laneBackground}
}

// Close ends the connection and everything under way. It returns when all
// goroutines of the Client have.
func (c *Client) Close() error {
	c.stop()
	c.wg.Wait()
	return nil
}

// connected returns the session to use now.
func (c *Client) connected(ctx context.Context) (*session, error) {
	select {
	case <-c.tried:
	case <-ctx.Done():
		return nil, unavailable(c.name, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil, unavailable(c.name, c.cause)
	}
	return c.session, nil
}

// run keeps the client connected until ctx ends.
func (c *Client) run(ctx context.Context) {
	backoff, logged := minBackoff, ""
	for {
		began := time.Now()
		connected, cause := c.visit(ctx)
		if ctx.Err() != nil {
			c.publish(nil, errClosed)
			return
		}
		cause = lasting(cause)
		c.publish(nil, cause)
		if connected {
			logged = ""
			if time.Since(began) > maxBackoff {
				backoff = minBackoff
			}
		}
		// Once a loss, and not each attempt of a long night; but a node that is
		// there and does not want us is news.
		if text := cause.Error(); logged == "" || text != logged && !unreachable(cause) {
			c.opts.Logger.Warn("node is not connected", "error", cause)
			logged = text
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (c *Client) publish(s *session, cause error) {
	c.mu.Lock()
	c.session, c.cause = s, cause
	c.mu.Unlock()
	select {
	case <-c.tried:
	default:
		close(c.tried)
	}
}

// visit makes one connection and stays until it has ended. It returns whether
// there was one, and why there is none any more.
func (c *Client) visit(ctx context.Context) (connected bool, cause error) {
	err := cmp.Or(c.opts.Transport.Validate(), c.opts.Credentials.check(RoleGateway, RoleMonitor))
	if err != nil {
		return false, err
	}
	dialCtx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	dial := c.dialQUIC
	if c.opts.Transport == TLS {
		dial = c.dialTLS
	}
	conn, release, err := dial(dialCtx)
	if err != nil {
		return false, otherVersion(err)
	}
	defer release()
	s, err := newSession(dialCtx, conn, c.name, c.id)
	if err != nil {
		conn.close(closeNormal, "")
		return false, err
	}
	s.start(ctx)
	if err := c.greet(dialCtx, s); err != nil {
		s.end(err)
		return false, s.wait()
	}
	c.opts.Logger.Info("node is connected")
	c.publish(s, nil)
	return true, s.wait()
}

// unreachable reports whether nobody answered: at one time the kernel says so,
// at another a timer.
func unreachable(cause error) bool {
	var errno syscall.Errno
	var timer net.Error
	return errors.As(cause, &errno) || errors.Is(cause, errNoAnswer) ||
		errors.As(cause, &timer) && timer.Timeout()
}

// lasting leaves of a network error what it is: the local port is another one
// each time, and who notices first is chance. The same trouble is to read the
// same, so that it is logged once.
func lasting(cause error) error {
	var errno syscall.Errno
	if errors.As(cause, &errno) {
		return errno
	}
	return cause
}

// node is who must answer.
func (c *Client) node() Identity {
	cluster := c.opts.Credentials.Identity.Cluster
	return Identity{Cluster: cluster, Role: RoleNode, ID: string(c.opts.Node)}
}

// greet has the first Hello answered: then the node has accepted the
// certificate, and whatever an older connection had under way has ended.
func (c *Client) greet(ctx context.Context, s *session) error {
	body, err := s.ask(ctx, laneControl, kindHello, nil)
	if err != nil {
		return err
	}
	hello, err := decodeHello(body)
	if err == nil && hello.Node != c.opts.Node {
		err = fmt.Errorf("%w: it calls itself %q", errForbidden, hello.Node)
	}
	return err
}
