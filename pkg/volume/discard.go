package volume

import (
	"context"
	"sync"
)

const (
	// mapStep bounds the blocks that one look at the map covers: a page of
	// listings from a few nodes, some milliseconds.
	mapStep = 4096

	// discards bounds the blocks that one request discards at once.
	discards = 64
)

// Extent is a run of bytes that are known to be zeroes, or not.
type Extent struct {
	Length int64
	Zero   bool
}

// Trim makes the whole blocks within the range read as zeroes and frees them.
// What remains at the ends is left as it is.
func (v *Volume) Trim(ctx context.Context, off, n int64) error {
	first, last := v.within(off, n)
	return v.discard(ctx, first, last)
}

// within returns the blocks that lie wholly in the range, last excluded.
func (v *Volume) within(off, n int64) (first, last uint64) {
	size := int64(v.opts.BlockSize)
	return uint64((off + size - 1) / size), uint64((off + n) / size)
}

// Zero makes the range read as zeroes. provision keeps the space taken, so
// that later writes there find room.
func (v *Volume) Zero(ctx context.Context, off, n int64, provision bool) error {
	first, last := v.within(off, n)
	size := int64(v.opts.BlockSize)
	if first >= last {
		return v.change(ctx, zeroing, nil, off, n)
	}
	begin, end := int64(first)*size, int64(last)*size
	if off < begin {
		if err := v.change(ctx, zeroing, nil, off, begin-off); err != nil {
			return err
		}
	}
	if end < off+n {
		if err := v.change(ctx, zeroing, nil, end, off+n-end); err != nil {
			return err
		}
	}
	if provision {
		return v.writeZeroes(ctx, begin, end)
	}
	return v.discard(ctx, first, last)
}

// writeZeroes writes zeroes as data.
func (v *Volume) writeZeroes(ctx context.Context, begin, end int64) error {
	zeroes := make([]byte, v.opts.BlockSize)
	for at := begin; at < end; at += int64(len(zeroes)) {
		if err := v.WriteAt(ctx, zeroes, at); err != nil {
			return err
		}
	}
	return nil
}

// CanZeroFast reports whether Zero of the range moves no data.
func (v *Volume) CanZeroFast(off, n int64, provision bool) bool {
	size := int64(v.opts.BlockSize)
	return !provision && off%size == 0 && n%size == 0
}

// discard discards those of the blocks that hold anything: trimming an empty
// disk of a tebibyte costs a look at the map.
func (v *Volume) discard(ctx context.Context, first, last uint64) error {
	for first < last {
		n := min(last-first, mapStep)
		allocated, err := v.allocated(ctx, first, int(n))
		if err != nil {
			return err
		}
		if err := v.discardBlocks(ctx, first, allocated); err != nil {
			return err
		}
		first += n
	}
	return nil
}

func (v *Volume) allocated(ctx context.Context, first uint64, n int) ([]bool, error) {
	ctx, cancel := v.limit(ctx)
	defer cancel()
	allocated, err := v.array.Allocated(ctx, first, n)
	return allocated, explain(ctx, err)
}

func (v *Volume) discardBlocks(ctx context.Context, first uint64, allocated []bool) error {
	size := int64(v.opts.BlockSize)
	var group sync.WaitGroup
	slots := make(chan struct{}, discards)
	errs := make(chan error, 1) // the first error
	for i, has := range allocated {
		if !has {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := v.change(ctx, zeroing, nil, (int64(first)+int64(i))*size, size); err != nil {
				select {
				case errs <- err:
				default:
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// Extents tells of a prefix of the range which runs of bytes are certainly
// zeroes.
func (v *Volume) Extents(ctx context.Context, off, n int64) ([]Extent, error) {
	size := int64(v.opts.BlockSize)
	first := off / size
	blocks := min((off+n-1)/size-first+1, mapStep)
	allocated, err := v.allocated(ctx, uint64(first), int(blocks))
	if err != nil {
		return nil, err
	}
	var extents []Extent
	for i, has := range allocated {
		begin := max(off, (first+int64(i))*size)
		end := min(off+n, (first+int64(i)+1)*size)
		if last := len(extents) - 1; last >= 0 && extents[last].Zero == !has {
			extents[last].Length += end - begin
			continue
		}
		extents = append(extents, Extent{Length: end - begin, Zero: !has})
	}
	return extents, nil
}
