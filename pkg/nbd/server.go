package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Defaults of Options, where they need a reason.
const (
	// defaultHandshake is what qemu allows too; a real client needs a few
	// round trips.
	defaultHandshake = 10 * time.Second

	// defaultHandshakes: a whole classroom may connect at once.
	defaultHandshakes = 128

	// defaultConnections is 64 clients with 16 connections each.
	defaultConnections = 1024

	// defaultQueue leaves the Device time of its own within the 15 s timeout
	// that Linux clients are advised to use.
	defaultQueue = 5 * time.Second

	// defaultWrite is how long a client may leave its replies unread.
	defaultWrite = 30 * time.Second

	// defaultShutdown is well below the 90 s that service managers wait.
	defaultShutdown = 10 * time.Second

	// defaultInFlight is 2048 default requests of the Linux client: 16
	// connections with full queues. One connection may have half of it.
	defaultInFlight        = 256 << 20
	defaultInFlightPerConn = 128 << 20

	// acceptPause is how long the accept loop rests after an error, such as
	// too many open files, that only time can mend.
	acceptPause = 100 * time.Millisecond
)

// Options configure a Server. Exports is needed; the rest has defaults.
type Options struct {
	Exports Exports

	// TLS offers STARTTLS with these certificates; ClientCAs and ClientAuth in
	// it ask for client certificates. RequireTLS refuses everything else.
	TLS        *tls.Config
	RequireTLS bool

	// ReadOnly exports everything read-only.
	ReadOnly bool

	// HandshakeTimeout bounds a client's negotiation, MaxHandshakes how many
	// may negotiate at once: a new one beyond that ends the oldest.
	HandshakeTimeout time.Duration
	MaxHandshakes    int

	// MaxConnections bounds all connections; one beyond it is closed at once.
	MaxConnections int

	// QueueTimeout bounds the time from a request's arrival until its Device
	// gets it; then it is answered with EIO.
	QueueTimeout time.Duration

	// WriteTimeout ends a connection whose client does not read its replies,
	// or does not send the rest of a payload.
	WriteTimeout time.Duration

	// ShutdownTimeout bounds the time between the end of Serve's context and
	// its return.
	ShutdownTimeout time.Duration

	// Resumable says that clients may connect anew later, here or to another
	// server, and find the same data: see the package's promises on shutdown.
	Resumable bool

	// MaxInFlight and MaxInFlightPerConn bound the bytes of requests and
	// replies held in memory. Each connection has 1 MiB more, beside
	// MaxInFlight, so that others cannot starve it.
	MaxInFlight        int64
	MaxInFlightPerConn int64

	// Logger may be nil, for silence.
	Logger *slog.Logger
}

// complete checks the options and fills in what was left out.
func (o Options) complete() (Options, error) {
	if o.Exports == nil {
		return o, errors.New("nbd: Options.Exports is missing")
	}
	if o.RequireTLS && o.TLS == nil {
		return o, errors.New("nbd: TLS is required but not configured")
	}
	fill(&o.HandshakeTimeout, defaultHandshake)
	fill(&o.MaxHandshakes, defaultHandshakes)
	fill(&o.MaxConnections, defaultConnections)
	fill(&o.QueueTimeout, defaultQueue)
	fill(&o.WriteTimeout, defaultWrite)
	fill(&o.ShutdownTimeout, defaultShutdown)
	fill(&o.MaxInFlight, defaultInFlight)
	fill(&o.MaxInFlightPerConn, min(defaultInFlightPerConn, o.MaxInFlight))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	// A request that no budget can ever hold would wait for ever.
	if least := int64(MaxPayload + requestOverhead); o.MaxInFlightPerConn < least ||
		o.MaxInFlight < least {
		return o, fmt.Errorf("nbd: bytes in flight are limited to %d and %d, less than the %d "+
			"of one request", o.MaxInFlight, o.MaxInFlightPerConn, least)
	}
	return o, nil
}

func fill[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Server serves exports to NBD clients.
type Server struct {
	opts       Options
	tls        *tls.Config
	inFlight   *semaphore.Weighted // bytes
	slots      *semaphore.Weighted // connections
	handshakes *handshakes
	buffers    buffers
}

// NewServer returns a Server, or what is wrong with opts.
func NewServer(opts Options) (*Server, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	return &Server{
		opts:       opts,
		tls:        secureConfig(opts.TLS),
		inFlight:   semaphore.NewWeighted(opts.MaxInFlight),
		slots:      semaphore.NewWeighted(int64(opts.MaxConnections)),
		handshakes: newHandshakes(opts.MaxHandshakes),
	}, nil
}

// Serve accepts clients on l until ctx ends, or l fails, and returns when all
// of their connections have ended; nil if that was because of ctx. It closes
// l. It may be called for several listeners; their clients share all limits.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
			s.start(ctx, &conns, raw)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("nbd: %w", err)
		default:
			s.opts.Logger.Warn("cannot accept an NBD client", "error", err)
			pause(ctx, acceptPause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// start serves one client in a goroutine of conns.
func (s *Server) start(ctx context.Context, conns *sync.WaitGroup, raw net.Conn) {
	if !s.slots.TryAcquire(1) {
		s.opts.Logger.Warn("too many NBD connections", "client", raw.RemoteAddr().String(),
			"limit", s.opts.MaxConnections)
		raw.Close()
		return
	}
	conns.Go(func() {
		defer s.slots.Release(1)
		defer raw.Close()
		s.serve(ctx, raw)
	})
}

func (s *Server) serve(ctx context.Context, raw net.Conn) {
	log := s.opts.Logger.With("client", raw.RemoteAddr().String())
	if err := tune(raw); err != nil {
		log.Debug("cannot set socket options", "error", err)
	}
	session, err := s.negotiate(ctx, raw)
	if err != nil {
		log.Debug("NBD negotiation ended", "error", err)
		return
	}
	log = log.With("export", session.export.name)
	log.Info("NBD client connected", "tls", session.secure,
		"structured", session.structured, "extended", session.extended)
	err = newConn(s, raw, session, log).run(ctx)
	log.Info("NBD client gone", "reason", err)
}
