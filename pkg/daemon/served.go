package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"rozobox/pkg/cluster"
	"rozobox/pkg/repair"
	"rozobox/pkg/stripe"
)

// The states of a volume, and of the gateway.
const (
	stateStarting = "starting"
	stateOpening  = "opening"
	stateServing  = "serving"
	stateWaiting  = "waiting"
	stateDeposed  = "deposed"
	stateClosed   = "closed"
)

const (
	// reopenAfter and reopenAtMost pace the attempts to open a volume whose
	// nodes are not there: soon after a blink, and no load after an hour.
	reopenAfter  = 500 * time.Millisecond
	reopenAtMost = 10 * time.Second

	// closeTimeout bounds the flush of a volume that closes. Where the nodes
	// are gone it cannot succeed; what was replied to is on them anyway.
	closeTimeout = 10 * time.Second
)

// served is a volume that the gateway keeps open, from when it is found until
// it is deleted or the gateway stops. One goroutine, run, drives it.
type served struct {
	sb      *cluster.Superblock // as found; name and geometry never change
	options stripe.Options
	timeout time.Duration // of one request
	repair  repair.Options
	pace    *pacer // the gateway's
	logger  *slog.Logger
	quiet   *slog.Logger // for what is no event
	stop    context.CancelFunc
	tried   chan struct{} // closed after the first attempt to open
	done    chan struct{} // closed when the gateway has forgotten it
	traffic traffic

	mu      sync.Mutex // guards all below; never kept across I/O
	state   string
	why     string
	array   *stripe.Array   // nil unless serving
	device  *device         // likewise
	manager *repair.Manager // likewise
}

// run opens the volume, again and again, and serves it until ctx ends or the
// volume is no more.
func (s *served) run(ctx context.Context) {
	defer s.set(stateClosed, "")
	tried := sync.OnceFunc(func() { close(s.tried) })
	defer tried()
	for delay := reopenAfter; ctx.Err() == nil; delay = min(2*delay, reopenAtMost) {
		array, err := stripe.Open(ctx, s.options, s.sb.Volume)
		if err == nil {
			s.begin(array)
			tried()
			delay = reopenAfter
			err = s.serve(ctx, array)
		}
		if errors.Is(err, stripe.ErrNotFound) {
			return // deleted since it was found
		}
		if err != nil && ctx.Err() == nil {
			s.fail(stateWaiting, err)
		}
		tried()
		pause(ctx, delay)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *served) set(state, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.why = state, why
}

// fail records why the volume is not served, and logs it once per reason.
func (s *served) fail(state string, err error) {
	s.mu.Lock()
	known := s.state == state && s.why == err.Error()
	s.mu.Unlock()
	s.set(state, err.Error())
	if !known {
		s.logger.Warn("volume is not served", "state", state, "error", err)
	}
}

// begin makes the open array the device that clients reach.
func (s *served) begin(array *stripe.Array) {
	s.mu.Lock()
	s.state, s.why, s.array = stateServing, "", array
	s.device, s.manager = newDevice(array, s.timeout), repair.New(array, s.repair)
	manager := s.manager
	s.mu.Unlock()
	s.pace.apply(manager)
	s.logger.Info("volume is served", "incarnation", array.Incarnation())
}

// serve waits until the array or ctx ends, and closes it. A deposed gateway
// stays so until it is started anew: opening again would depose its successor.
func (s *served) serve(ctx context.Context, array *stripe.Array) error {
	s.runRepair(ctx)
	ended := array.Err()
	s.mu.Lock()
	device := s.device
	s.state, s.why = stateClosed, ""
	s.array, s.device, s.manager = nil, nil, nil
	s.mu.Unlock()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := device.close(closing)
	if errors.Is(ended, stripe.ErrDeposed) {
		s.fail(stateDeposed, ended)
		<-ctx.Done()
		return nil
	}
	if err != nil && ended == nil {
		s.logger.Warn("volume could not be closed cleanly", "error", err)
	}
	return ended
}

// runRepair repairs the volume, and tells of it, until ctx or the array ends.
func (s *served) runRepair(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() { s.tell(ctx, s.manager) })
	s.manager.Run(ctx)
	cancel()
	telling.Wait()
}

// open returns the device, or nil when the volume is not served now.
func (s *served) open() *device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.device
}

// serving returns the array, or nil when the volume is not served now.
func (s *served) serving() *stripe.Array {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.array
}

// superblock returns the newest that this gateway knows.
func (s *served) superblock() *cluster.Superblock {
	sb, _ := s.sees()
	return sb
}

func (s *served) status(storedBytes uint64) VolumeStatus {
	v := volumeStatus(s.superblock(), storedBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	v.State, v.Why = s.state, s.why
	if s.array != nil {
		array, repairs := s.array.Status(), s.manager.Status()
		v.UnderProtectedBlocks = uint64(array.UnderProtected + repairs.UnderProtected)
		v.HedgedReads = array.Hedged
		v.Repair, v.Scrub = repairStatus(repairs), scrubStatus(repairs)
	}
	v.Repair.LimitBytesPerSecond = *s.pace.current().LimitBytesPerSecond
	return v
}

// sees returns the superblock and, where the volume is served, what its array
// sees of the nodes.
func (s *served) sees() (*cluster.Superblock, *stripe.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.array == nil {
		return s.sb, nil
	}
	status := s.array.Status()
	return status.Superblock, &status
}
