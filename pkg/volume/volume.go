package volume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Array is the stripes that a volume stands on; *stripe.Array is one. Blocks
// are whole, and the volume orders the calls for each of them.
type Array interface {
	// ReadAt reads any range.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteBlock writes a whole block and keeps data for ever.
	WriteBlock(ctx context.Context, block uint64, data []byte) error
	// Update changes the bytes from lo up to hi of a block: edit, called once,
	// gets what they are, changes them, and reports whether it did.
	Update(ctx context.Context, block uint64, lo, hi int, edit func(p []byte) (changed bool)) error
	// Overwrite changes the bytes from lo on of a block to data, which must not be
	// changed meanwhile.
	Overwrite(ctx context.Context, block uint64, lo int, data []byte) error
	// Discard makes a block read as zeroes.
	Discard(ctx context.Context, block uint64) error
	// Allocated tells which of n blocks may be other than zeroes.
	Allocated(ctx context.Context, first uint64, n int) ([]bool, error)
	// Flush makes durable all writes that have returned.
	Flush(ctx context.Context) error
	// Serving waits until nobody else can have changed anything, or says why
	// that can never be.
	Serving(ctx context.Context) error
}

// ErrTimeout means that a request could not be done within Options.Timeout.
// What it wrote, if anything, will not be applied after a later write.
var ErrTimeout = errors.New("timed out")

// Options are a volume's fixed figures.
type Options struct {
	Size      int64 // bytes; a multiple of BlockSize
	BlockSize int   // bytes

	// Timeout bounds each request from its arrival on. Keep it below half of
	// what clients wait before they send a request again. Default 8 s.
	Timeout time.Duration
}

const defaultTimeout = 8 * time.Second

// Volume is a block device. Its methods may be called from many goroutines;
// the caller has checked that ranges lie within Size. Buffers are the caller's
// again when a method returns.
type Volume struct {
	array  Array
	opts   Options
	late   error // what a request gets that took too long
	queues queues
	ahead  ahead
}

// New returns the volume that stands on array.
func New(array Array, opts Options) *Volume {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	return &Volume{array: array, opts: opts,
		late:   fmt.Errorf("%w after %s", ErrTimeout, opts.Timeout),
		queues: queues{blocks: map[uint64]*queue{}}, ahead: ahead{kept: map[uint64]*kept{}}}
}

// Close ends reading ahead, and returns when nothing of it is under way.
// Requests may still be served.
func (v *Volume) Close() {
	v.ahead.mu.Lock()
	v.ahead.closed = true
	v.ahead.mu.Unlock()
	v.ahead.tasks.Wait()
}

// Size returns the size in bytes.
func (v *Volume) Size() int64 { return v.opts.Size }

// PreferredBlockSize returns the block size in bytes: aligned multiples of it
// are written without being read first.
func (v *Volume) PreferredBlockSize() int { return v.opts.BlockSize }

// ReadAt reads len(p) bytes at off.
func (v *Volume) ReadAt(ctx context.Context, p []byte, off int64) error {
	ctx, cancel := v.limit(ctx)
	defer cancel()
	n := int64(len(p))
	parts := v.cut(ctx, reading, p, off, n)
	stream, from, to := v.ahead.enter(off, n, v.opts.Size)
	defer v.ahead.leave(stream, n)
	v.queues.enter(parts)
	if from < to {
		go v.readAhead(ctx, from, to) // Close waits for it
	}
	err := v.awaitReaders(parts)
	if err == nil {
		err = v.read(ctx, parts, p, off)
		v.leaveAll(parts)
	}
	return explain(ctx, err)
}

// read reads what was read ahead from memory, and the rest from the array.
// What is in memory counts only while this gateway serves: another one may have
// written (I5).
func (v *Volume) read(ctx context.Context, parts []*part, p []byte, off int64) error {
	n := v.fromAhead(ctx, parts, p)
	if n < len(p) {
		return v.array.ReadAt(ctx, p[n:], off+int64(n))
	}
	return v.array.Serving(ctx)
}

// awaitReaders waits for all parts; if one cannot run, it gives up the others.
func (v *Volume) awaitReaders(parts []*part) error {
	for i, p := range parts {
		if run, err := v.queues.wait(p); !run {
			for _, rest := range parts[i+1:] {
				if !v.queues.withdraw(rest) {
					v.queues.leave(rest, nil)
				}
			}
			v.leaveAll(parts[:i])
			return err
		}
	}
	return nil
}

func (v *Volume) leaveAll(readers []*part) {
	for _, p := range readers {
		v.queues.leave(p, nil)
	}
}

// WriteAt writes p at off. It returns when the write is visible to every later
// read and survives this process; Flush makes it durable.
func (v *Volume) WriteAt(ctx context.Context, p []byte, off int64) error {
	return v.change(ctx, writing, p, off, int64(len(p)))
}

// Flush makes durable all that was written by calls that returned before.
func (v *Volume) Flush(ctx context.Context) error {
	ctx, cancel := v.limit(ctx)
	defer cancel()
	return explain(ctx, v.array.Flush(ctx))
}

// change applies a request to the blocks it touches, all at once.
func (v *Volume) change(ctx context.Context, k kind, p []byte, off, n int64) error {
	if n == 0 {
		return nil
	}
	ctx, cancel := v.limit(ctx)
	defer cancel()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	parts := v.cut(ctx, k, p, off, n)
	v.queues.enter(parts)
	errs := make([]error, len(parts))
	var group sync.WaitGroup
	for i, p := range parts[:len(parts)-1] {
		group.Go(func() { errs[i] = v.finish(p) })
	}
	last := len(parts) - 1
	errs[last] = v.finish(parts[last])
	group.Wait()
	return explain(ctx, errors.Join(errs...))
}

// limit bounds a request's time, counted from its arrival.
func (v *Volume) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, v.opts.Timeout, v.late)
}

// explain replaces "deadline exceeded" by what is known of its cause.
func explain(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// cut divides a range into one part for each block. data is nil for zeroes.
func (v *Volume) cut(ctx context.Context, k kind, data []byte, off, n int64) []*part {
	size := int64(v.opts.BlockSize)
	room := make([]part, n/size+2) // one piece of memory for all
	parts := make([]*part, 0, len(room))
	for done := int64(0); done < n; {
		lo := (off + done) % size
		length := min(size-lo, n-done)
		p := &room[len(parts)]
		*p = part{
			kind: k, block: uint64((off + done) / size), lo: int(lo), hi: int(lo + length), ctx: ctx,
		}
		if k == writing {
			p.data = data[done : done+length]
		}
		parts = append(parts, p)
		done += length
	}
	return parts
}

// finish waits until the part was applied, by itself or by another writer.
func (v *Volume) finish(p *part) error {
	run, err := v.queues.wait(p)
	if !run {
		return err
	}
	err = v.apply(p)
	v.queues.leave(p, err)
	return err
}

// apply applies a batch to its block. The leader's time is the earliest to
// end, so that no request of the batch waits longer than it should. That its
// connection may die meanwhile changes nothing: the batch has begun.
func (v *Volume) apply(leader *part) error {
	ctx := context.WithoutCancel(leader.ctx)
	if deadline, ok := leader.ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline, ErrTimeout)
		defer cancel()
	}
	v.ahead.forget(leader.block)
	size := v.opts.BlockSize
	whole, covered := lastWhole(leader.batch, size)
	if whole == len(leader.batch)-1 && leader.batch[whole].kind == zeroing {
		return v.array.Discard(ctx, leader.block)
	}
	if !covered {
		if len(leader.batch) == 1 && leader.kind == writing {
			return v.array.Overwrite(ctx, leader.block, leader.lo, leader.data)
		}
		lo, hi := hull(leader.batch)
		return v.array.Update(ctx, leader.block, lo, hi, func(p []byte) bool {
			return applyTo(p, lo, leader.batch)
		})
	}
	buf := make([]byte, size)
	applyTo(buf, 0, leader.batch[max(whole, 0):])
	return v.array.WriteBlock(ctx, leader.block, buf)
}

// hull returns the range of the block within which all parts are.
func hull(batch []*part) (lo, hi int) {
	lo, hi = batch[0].lo, batch[0].hi
	for _, p := range batch[1:] {
		lo, hi = min(lo, p.lo), max(hi, p.hi)
	}
	return lo, hi
}

// lastWhole returns the last part of the batch that covers the whole block, or
// -1, and whether all parts together cover it.
func lastWhole(batch []*part, size int) (index int, covered bool) {
	index = -1
	for i, p := range batch {
		if p.lo == 0 && p.hi == size {
			index = i
		}
	}
	return index, index >= 0 || union(batch, size)
}

// union reports whether the parts together cover the block. It looks for the
// part that reaches furthest beyond what is covered, until none does.
func union(batch []*part, size int) bool {
	reach := 0
	for reach < size {
		next := reach
		for _, p := range batch {
			if p.lo <= reach {
				next = max(next, p.hi)
			}
		}
		if next == reach {
			return false
		}
		reach = next
	}
	return true
}

// applyTo applies the parts in order to buf, the block's bytes from lo on. It
// reports whether they must be written: zeroes over zeroes change nothing, and
// so take no space.
func applyTo(buf []byte, lo int, batch []*part) (changed bool) {
	for _, p := range batch {
		dst := buf[p.lo-lo : p.hi-lo]
		if p.kind == writing {
			copy(dst, p.data)
			changed = true
			continue
		}
		changed = changed || !zero(dst)
		clear(dst)
	}
	return changed
}

func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
