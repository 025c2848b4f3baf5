package chunkrpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"rozobox/pkg/chunk"
)

// ServerOptions says what a Server serves, where, and who it is.
type ServerOptions struct {
	// Addr is where to listen: host:port; an empty host means all addresses.
	Addr string
	// Transport is what clients must use too; empty means QUIC.
	Transport Transport
	// Conn is listened on instead of Addr where it is not nil, by QUIC. It
	// stays the caller's, who closes it after Serve has returned.
	Conn net.PacketConn
	// Listener is the same for TLS, but is closed by the Server.
	Listener net.Listener
	// Cable can be pulled out, in a demonstration; nil: it cannot.
	Cable *Cable
	// Credentials are a node's.
	Credentials Credentials
	// Store answers. Requests of one connection run concurrently, and what
	// changes the store runs to its end even if the connection does not.
	Store chunk.Store
	// Logger is told who comes, goes and is refused; nil means silence.
	Logger *slog.Logger
}

// Server lets gateways and monitors of its cluster use a store.
type Server struct {
	opts     ServerOptions
	listener listener
	door     *door
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the two below; never kept while waiting
	newest map[visitor]*peer
	count  map[Role]int
}

// visitor is one Client, over all its connections. A gateway that was started
// twice with the same certificate is two: each must not end the other's
// connections for ever, and the grant decides between them.
type visitor struct {
	who    Identity
	client clientID
}

// Listen opens the server's socket. Nobody is served before Serve.
func Listen(opts ServerOptions) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Transport = cmp.Or(opts.Transport, QUIC)
	if err := cmp.Or(opts.Transport.Validate(), opts.Credentials.check(RoleNode)); err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, door: newDoor(opts.Logger),
		newest: make(map[visitor]*peer), count: make(map[Role]int),
	}
	listen := listenQUIC
	if opts.Transport == TLS {
		listen = listenTLS
	}
	var err error
	if s.listener, err = listen(opts, s.door); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until ctx ends, and returns when every connection has been
// closed and every request has been executed. It returns nil when ctx ended,
// else why the socket failed. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	err := s.accept(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	s.listener.shut()
	cancel()
	s.wg.Wait()
	return errors.Join(err, s.listener.close())
}

func (s *Server) accept(ctx context.Context) error {
	for {
		conn, err := s.listener.accept(ctx)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		p := newPeer(s, conn)
		s.wg.Go(func() { p.run(ctx) })
	}
}

// admit gives p one of the places of its role.
func (s *Server) admit(p *peer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[p.who.Role] >= maxPeers {
		return fmt.Errorf("%w: %d of role %s", errBusy, maxPeers, p.who.Role)
	}
	s.count[p.who.Role]++
	p.admitted = true
	return nil
}

// replace makes p the connection of its visitor, and returns the one before.
func (s *Server) replace(p *peer) (older *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	older = s.newest[p.visitor()]
	s.newest[p.visitor()] = p
	return older
}

// dismiss takes back what admit and replace gave.
func (s *Server) dismiss(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.admitted {
		s.count[p.who.Role]--
	}
	if s.newest[p.visitor()] == p {
		delete(s.newest, p.visitor())
	}
}
