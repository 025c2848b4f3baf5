package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"rozobox/pkg/nbd/attach"
)

const (
	// redial paces the attempts to reach a server that comes back.
	redial = 50 * time.Millisecond

	// Of 64 requests this many are flushes, zeroings and reads; of the
	// writes, one in fuaShare is made durable by itself.
	flushShare = 2
	zeroShare  = 4
	readShare  = 12
	fuaShare   = 16
)

// runner drives the rounds.
type runner struct {
	options
	rng     *rand.Rand
	model   *model
	clients []*attach.Client

	writes, reads, flushes, refused atomic.Int64
}

// prepare learns the unit's size and makes the units zero, as the model has it.
func (r *runner) prepare(ctx context.Context) error {
	export, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer r.disconnect()
	if r.unit == 0 {
		r.unit = int(export.PreferredBlock)
	}
	if r.unit%sector != 0 || int64(r.unit)*int64(r.units) > export.Size {
		return fmt.Errorf("%d units of %d bytes do not fit a volume of %d", r.units, r.unit, export.Size)
	}
	if export.Flags&attach.FlagCanMultiConn == 0 && r.connections > 1 {
		return errors.New("the server does not allow several connections")
	}
	r.model = newModel(r.seed, r.unit, r.units)
	empty := make([]byte, r.unit)
	for i := range r.units {
		if err := r.clients[0].Write(empty, r.offset(i), 0); err != nil {
			return fmt.Errorf("clear unit %d: %w", i, err)
		}
	}
	return r.clients[0].Flush()
}

func (r *runner) offset(i int) int64 { return int64(i) * int64(r.unit) }

// connect opens all connections, as soon as the server lets it.
func (r *runner) connect(ctx context.Context) (attach.Export, error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	var export attach.Export
	for len(r.clients) < r.connections {
		c, e, err := attach.Open(ctx, r.server, r.volume)
		if err == nil {
			r.clients, export = append(r.clients, c), e
			continue
		}
		select {
		case <-time.After(redial):
		case <-ctx.Done():
			r.disconnect()
			return export, fmt.Errorf("the server did not come back within %v: %w", r.patience, err)
		}
	}
	return export, nil
}

func (r *runner) disconnect() {
	for _, c := range r.clients {
		c.Close()
	}
	r.clients = nil
}

// round is one crash, and the check after it.
func (r *runner) round(ctx context.Context) error {
	if _, err := r.connect(ctx); err != nil {
		return err
	}
	stop, result := r.startLoad()
	err := r.crashAndRevive(ctx)
	err = errors.Join(err, stop(), <-result)
	r.disconnect()
	if err != nil {
		return err
	}
	return r.verify(ctx)
}

// crashAndRevive runs the hooks, with pauses of random length around them.
func (r *runner) crashAndRevive(ctx context.Context) error {
	for _, command := range []string{r.crash, r.revive, ""} {
		select {
		case <-time.After(time.Duration(r.rng.Int64N(int64(r.longest)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := hook(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// startLoad starts the workers. stop lets them finish what they have begun; it
// fails when that takes longer than the patience allows. The first thing that
// a worker found wrong comes from result.
func (r *runner) startLoad() (stop func() error, result <-chan error) {
	stopping := make(chan struct{})
	wrong := make(chan error, 1)
	var workers sync.WaitGroup
	for n := range r.connections * r.workers {
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), r.rng.Uint64()))
		c := r.clients[n%r.connections]
		workers.Go(func() {
			if err := r.work(c, rng, stopping); err != nil {
				select {
				case wrong <- err:
				default: // another worker was first
				}
			}
		})
	}
	stop = func() error {
		close(stopping)
		late := time.AfterFunc(r.patience, r.breakAll)
		workers.Wait()
		close(wrong)
		if !late.Stop() {
			return fmt.Errorf("requests were not replied to within %v", r.patience)
		}
		return nil
	}
	return stop, wrong
}

// breakAll ends every request under way.
func (r *runner) breakAll() {
	for _, c := range r.clients {
		c.Break()
	}
}

// work makes requests until it is told to stop or the connection ends.
func (r *runner) work(c *attach.Client, rng *rand.Rand, stopping <-chan struct{}) error {
	buf := make([]byte, r.unit)
	for {
		select {
		case <-stopping:
			return nil
		default:
		}
		err := r.request(c, rng, buf)
		var refused attach.WireError
		switch {
		case errors.Is(err, attach.ErrBroken):
			return nil
		case errors.As(err, &refused) && r.errors:
			r.refused.Add(1)
		case err != nil:
			return err
		}
	}
}

// request makes one random request.
func (r *runner) request(c *attach.Client, rng *rand.Rand, buf []byte) error {
	dice := rng.IntN(64)
	if dice < flushShare {
		return r.flush(c)
	}
	i := r.model.take(rng)
	defer r.model.release(i)
	switch {
	case dice < flushShare+readShare:
		return r.read(c, i, buf)
	case dice < flushShare+readShare+zeroShare:
		return r.write(c, rng, i, nil)
	}
	return r.write(c, rng, i, buf)
}

func (r *runner) flush(c *attach.Client) error {
	covered := r.model.snapshot()
	if err := c.Flush(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	r.flushes.Add(1)
	r.model.flushed(covered)
	return nil
}

func (r *runner) read(c *attach.Client, i int, buf []byte) error {
	if err := c.Read(buf, r.offset(i)); err != nil {
		return fmt.Errorf("read unit %d: %w", i, err)
	}
	r.reads.Add(1)
	return r.model.check(i, buf, false)
}

// write writes the next content of unit i; zeroes where buf is nil.
func (r *runner) write(c *attach.Client, rng *rand.Rand, i int, buf []byte) error {
	var flags uint16
	if rng.IntN(fuaShare) == 0 {
		flags = attach.CommandFUA
	}
	n := r.model.send(i, buf == nil)
	var err error
	if buf == nil {
		err = c.Zero(r.unit, r.offset(i), flags)
	} else {
		r.model.fill(buf, i, n)
		err = c.Write(buf, r.offset(i), flags)
	}
	if err != nil {
		return fmt.Errorf("write %d of unit %d: %w", n, i, err)
	}
	r.writes.Add(1)
	r.model.reply(i, n, flags != 0)
	return nil
}

// verify reads everything, flushes, and reads it again: what was shown once and
// flushed must not change.
func (r *runner) verify(ctx context.Context) error {
	if _, err := r.connect(ctx); err != nil {
		return err
	}
	defer r.disconnect()
	late := time.AfterFunc(r.patience, r.breakAll)
	defer late.Stop()
	if err := r.readAll(r.keep == "flushed"); err != nil {
		return fmt.Errorf("after the crash: %w", err)
	}
	if err := r.clients[0].Flush(); err != nil {
		return fmt.Errorf("flush after the crash: %w", err)
	}
	if err := r.readAll(false); err != nil {
		return fmt.Errorf("after the crash and a flush: %w", err)
	}
	return nil
}

// readAll checks every unit and settles it.
func (r *runner) readAll(powerLost bool) error {
	var readers sync.WaitGroup
	wrong := make(chan error, r.connections)
	for k, c := range r.clients {
		readers.Go(func() {
			buf := make([]byte, r.unit)
			for i := k; i < r.units; i += r.connections {
				if err := r.readSettled(c, i, buf, powerLost); err != nil {
					wrong <- err
					return
				}
			}
		})
	}
	readers.Wait()
	close(wrong)
	return <-wrong
}

func (r *runner) readSettled(c *attach.Client, i int, buf []byte, powerLost bool) error {
	if err := c.Read(buf, r.offset(i)); err != nil {
		return fmt.Errorf("read unit %d: %w", i, err)
	}
	if err := r.model.check(i, buf, powerLost); err != nil {
		return err
	}
	r.model.settle(i, buf)
	return nil
}

func (r *runner) report() {
	fmt.Printf("%d rounds: %d writes, %d reads, %d flushes, %d refused; units of %d bytes, every one as promised\n",
		r.rounds, r.writes.Load(), r.reads.Load(), r.flushes.Load(), r.refused.Load(), r.unit)
}
