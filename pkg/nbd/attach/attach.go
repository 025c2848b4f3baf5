package attach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrChanged means that the server's export is not the one that the
	// device was attached to: reconnecting would mix two contents.
	ErrChanged = errors.New("the export is not the one that was attached")

	// ErrInUse means that the device is mounted or held by somebody.
	ErrInUse = errors.New("the device is in use")
)

// Defaults and bounds of Options.
const (
	DefaultServer          = "127.0.0.1:10809"
	DefaultConnections     = 4
	DefaultTimeout         = 20 * time.Second
	DefaultDeadConnTimeout = 5 * time.Minute
	DefaultBlockSize       = 4096

	// maxConnections is as many as a gateway takes from all clients together
	// with 128 requests in flight on each; four already hide every round trip.
	maxConnections = 16

	// requestKiB is the largest request that the kernel is asked to send: big
	// enough for whole blocks in bulk, small beside the gateway's bounds.
	requestKiB = 4096

	// pollInterval is how often the device's state is looked at, beside the
	// kernel's own reports, and how long to wait after no server could be
	// reached. A reachable server is thus used half a second late at most.
	pollInterval = 500 * time.Millisecond

	// manyDead stands for an unknown number of dead sockets: the kernel
	// leaves alone what it is given too much.
	manyDead = maxConnections
)

// Options say what to attach where. Device must be given; zero values mean the
// defaults above.
type Options struct {
	Device          string        // "/dev/nbd0"
	Volume          string        // "" is the server's default export
	Servers         []string      // tried in order; "host:port" or "unix:/path"
	Connections     int           // 1 where the export does not allow several
	Timeout         time.Duration // then a request is sent again on another connection
	DeadConnTimeout time.Duration // how long I/O waits with no connection left
	BlockSize       int           // the device's logical block size, 512 to 4096
	Logger          *slog.Logger  // nil is silent
}

// withDefaults fills in and validates.
func (o Options) withDefaults() (Options, error) {
	if len(o.Servers) == 0 {
		o.Servers = []string{DefaultServer}
	}
	o.Connections = orDefault(o.Connections, DefaultConnections)
	o.Timeout = orDefault(o.Timeout, DefaultTimeout)
	o.DeadConnTimeout = orDefault(o.DeadConnTimeout, DefaultDeadConnTimeout)
	o.BlockSize = orDefault(o.BlockSize, DefaultBlockSize)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Connections < 1 || o.Connections > maxConnections:
		return o, fmt.Errorf("%d connections: want 1 to %d", o.Connections, maxConnections)
	case o.Timeout < time.Second || o.DeadConnTimeout < time.Second:
		return o, errors.New("timeouts must be at least 1s")
	case o.BlockSize < 512 || o.BlockSize > 4096 || o.BlockSize&(o.BlockSize-1) != 0:
		return o, fmt.Errorf("block size %d: want 512, 1024, 2048 or 4096", o.BlockSize)
	}
	return o, nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// kernel is what attaching needs of the kernel.
type kernel interface {
	connect(s setup, conns []net.Conn) error
	reconfigure(index uint32, identifier string, conns []net.Conn) error
	disconnect(index uint32) error
	connected(index uint32) (bool, error)
	identifier(index uint32) (string, error)
	waitDead(index uint32, d time.Duration) (int, error)
	raiseRequestSize(index uint32, kib int) error
	close() error
}

// attachment is one attached device and the watch over it.
type attachment struct {
	Options
	kernel     kernel
	dial       dialFunc
	index      uint32
	identifier string // what the device was connected to, as identify puts it
}

// Run attaches the device, or takes over the watch where it is attached to the
// same export already, and replaces every connection that dies. It returns nil
// when the device was detached, and when ctx ends: the device then stays, and
// waits for the next Run. ErrChanged ends the watch at once.
func Run(ctx context.Context, opts Options) error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	return run(ctx, opts, k, dialNet)
}

func run(ctx context.Context, opts Options, k kernel, dial dialFunc) error {
	opts, err := opts.withDefaults()
	if err != nil {
		return err
	}
	a := &attachment{Options: opts, kernel: k, dial: dial}
	if a.index, err = deviceIndex(opts.Device); err != nil {
		return err
	}
	dead, err := a.start(ctx)
	if err != nil {
		return fmt.Errorf("attach %s: %w", opts.Device, err)
	}
	if err := a.watch(ctx, dead); err != nil {
		return fmt.Errorf("watch %s: %w", opts.Device, err)
	}
	return nil
}

// deviceIndex reads N from /dev/nbdN.
func deviceIndex(device string) (uint32, error) {
	digits, ok := strings.CutPrefix(filepath.Base(device), "nbd")
	index, err := strconv.ParseUint(digits, 10, 20)
	if !ok || err != nil {
		return 0, fmt.Errorf("device %q: want /dev/nbdN", device)
	}
	return uint32(index), nil
}

// start connects the device, or finds it connected to the same export. It
// returns how many of the device's sockets may be dead.
func (a *attachment) start(ctx context.Context) (dead int, err error) {
	first, export, err := a.dialAny(ctx, "")
	if err != nil {
		return 0, err
	}
	defer first.Close()
	a.identifier = identify(export)
	connected, err := a.kernel.connected(a.index)
	if err != nil {
		return 0, err
	}
	if connected {
		return manyDead, a.takeOver()
	}
	return 0, a.connect(ctx, first, export)
}

// takeOver checks that the device is attached to the same export.
func (a *attachment) takeOver() error {
	identifier, err := a.kernel.identifier(a.index)
	if err != nil {
		return err
	}
	if identifier != a.identifier {
		return fmt.Errorf("already attached to %q, not to %q: %w", identifier, a.identifier, ErrInUse)
	}
	a.Logger.Info("already attached; watching it", "device", a.Device, "export", a.identifier)
	return nil
}

// connect opens the other connections and gives all of them to the kernel.
func (a *attachment) connect(ctx context.Context, first net.Conn, export Export) error {
	if export.Size%int64(a.BlockSize) != 0 {
		return fmt.Errorf("size %d is not a multiple of the block size %d", export.Size, a.BlockSize)
	}
	conns := []net.Conn{first}
	for len(conns) < a.Connections && export.Flags&FlagCanMultiConn != 0 {
		conn, _, err := a.dialAny(ctx, a.identifier)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	err := a.kernel.connect(setup{
		index: a.index, size: export.Size, blockSize: uint32(a.BlockSize), flags: export.Flags & kernelFlags,
		timeout: a.Timeout, deadConnTimeout: a.DeadConnTimeout, identifier: a.identifier,
	}, conns)
	if err != nil {
		return fmt.Errorf("give the connections to the kernel: %w", err)
	}
	if err := a.kernel.raiseRequestSize(a.index, requestKiB); err != nil {
		a.Logger.Warn("requests stay at the kernel's own size", "device", a.Device, "error", err)
	}
	a.Logger.Info("attached", "device", a.Device, "export", a.identifier, "connections", len(conns))
	return nil
}

// watch replaces dead connections until the device is detached or ctx ends.
func (a *attachment) watch(ctx context.Context, dead int) error {
	down := false // logged once an outage, not twice a second
	for ctx.Err() == nil {
		connected, err := a.kernel.connected(a.index)
		if err != nil {
			return err
		}
		if !connected {
			a.Logger.Info("detached", "device", a.Device)
			return nil
		}
		if dead > 0 {
			replaced, err := a.replace(ctx, dead)
			if errors.Is(err, ErrChanged) {
				return err
			}
			a.logOutage(err, &down)
			dead -= replaced
		}
		reported, err := a.kernel.waitDead(a.index, pollInterval)
		if err != nil {
			return err
		}
		dead = min(dead+reported, manyDead)
	}
	a.Logger.Info("stopped watching; the device stays attached", "device", a.Device)
	return nil
}

func (a *attachment) logOutage(err error, down *bool) {
	switch {
	case err == nil:
		a.Logger.Info("connected again", "device", a.Device)
	case !*down:
		a.Logger.Warn("a connection died and no server answers; trying again", "device", a.Device, "error", err)
	}
	*down = err != nil
}

// replace opens n connections and gives the kernel as many as it got.
func (a *attachment) replace(ctx context.Context, n int) (replaced int, err error) {
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	var dialErr error
	for len(conns) < n && dialErr == nil {
		conn, _, err := a.dialAny(ctx, a.identifier)
		if dialErr = err; err == nil {
			conns = append(conns, conn)
		}
	}
	if len(conns) == 0 {
		return 0, dialErr
	}
	if err := a.kernel.reconfigure(a.index, a.identifier, conns); err != nil {
		return 0, fmt.Errorf("give a connection to the kernel: %w", err)
	}
	return len(conns), dialErr
}

// dialAny returns a connection to the first server that has the export as
// identifier describes it; "" takes any.
func (a *attachment) dialAny(ctx context.Context, identifier string) (net.Conn, Export, error) {
	var failures []error
	for _, server := range a.Servers {
		conn, export, err := dial(ctx, a.dial, server, a.Volume)
		if err == nil && identifier != "" && identify(export) != identifier {
			conn.Close()
			err = fmt.Errorf("%s has %q, attached is %q: %w", server, identify(export), identifier, ErrChanged)
		}
		if err == nil {
			return conn, export, nil
		}
		failures = append(failures, err)
	}
	return nil, Export{}, errors.Join(failures...)
}

// kernelFlags are the transmission flags that change what the kernel does.
// Others may change with the server's version, under an attached device.
const kernelFlags = 1 | FlagReadOnly | FlagFlush | FlagFUA | flagRotational |
	FlagTrim | FlagWriteZeroes | FlagCanMultiConn

// identify puts into words what must be equal for a device to be reconnected.
// The kernel keeps it with the device and asks for it again.
func identify(e Export) string {
	return fmt.Sprintf("rozobox volume=%s id=%s size=%d flags=%#x incarnation=%s",
		e.Name, e.word("volume"), e.Size, e.Flags&kernelFlags, e.word("incarnation"))
}

// Detach disconnects the device after what was written to it reached the
// server. A device in use is left alone, with ErrInUse, unless forced.
func Detach(device string, force bool) error {
	index, err := deviceIndex(device)
	if err != nil {
		return err
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	if err := detach(k, device, index, force, claim); err != nil {
		return fmt.Errorf("detach %s: %w", device, err)
	}
	return nil
}

func detach(k kernel, device string, index uint32, force bool, claim func(string) error) error {
	connected, err := k.connected(index)
	if err != nil {
		return err
	}
	if !connected {
		return errors.New("not attached")
	}
	if !force {
		if err := claim(device); err != nil {
			return err
		}
	}
	return k.disconnect(index)
}
