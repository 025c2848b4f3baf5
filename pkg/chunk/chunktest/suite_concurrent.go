package chunktest

import (
	"bytes"
	"errors"
	"sync"

	"rozobox/pkg/chunk"
)

var concurrentTests = []suiteTest{
	{"WritersReadersAndSyncs", testConcurrent},
	{"I10ReadsNeverGoBack", testNeverBack},
	{"I5GrantEndsTheOlderGateway", testGrantRace},
}

// inParallel runs n of fn and waits for all.
func inParallel(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

func testConcurrent(r *rig) {
	inParallel(8, func(i int) {
		mine := *r
		block := uint64(i * 100)
		for n := range chunk.Version(30) {
			v := n*8 + chunk.Version(i) + 1
			mine.write(putOp(block+uint64(n%5), uint8(i), v), tombstoneOp(block+50, uint8(i), v))
			mine.has(block+uint64(n%5), uint8(i), v)
			mine.hidden(block+50, uint8(i), v)
			if n%10 == 9 {
				mine.sync()
			}
			mine.list(0, 50)
		}
	})
	if st, err := r.store.Stat(r.ctx); err != nil || st.Writes != 8*30*2 {
		r.Errorf("%d writes, %v", st.Writes, err)
	}
}

func testNeverBack(r *rig) {
	r.write(putOp(1, 0, 1))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		mine := *r
		readers.Go(func() {
			last := chunk.Version(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				dst := make([]byte, 1024)
				found, err := mine.store.Read(mine.ctx, mine.term, []chunk.Get{{Block: 1, Dst: dst}})
				mine.must(err)
				c := found[0]
				if c.State != chunk.Present || c.Version < last || !bytes.HasPrefix(content(1, 0, c.Version), dst) {
					mine.Errorf("read %v after version %d", c, last)
					return
				}
				last = c.Version
			}
		})
	}
	for v := chunk.Version(2); v < 200; v++ {
		r.write(putOp(1, 0, v))
		if v%10 == 0 {
			r.settle(v - 5)
		}
	}
	close(stop)
	readers.Wait()
}

// The older gateway writes on while the volume is granted to another. What the
// node holds when the grant is replied to is all that it will ever hold of it.
func testGrantRace(r *rig) {
	old := r.term
	granted := make(chan struct{})
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := uint64(1); ; n++ {
				v := chunk.MakeVersion(1, n*4+uint64(i))
				_, err := r.store.Write(r.ctx, old, []chunk.Op{putOp(n, uint8(i), v)})
				if err != nil {
					<-granted // it was refused before the grant was replied to, or after
					if !errors.Is(err, chunk.ErrDeposed) {
						r.Errorf("write: %v", err)
					}
					return
				}
			}
		})
	}
	for more := false; !more; { // one page: they write faster than all can be listed
		var err error
		_, more, err = r.store.List(r.ctx, old, chunk.ListRequest{Limit: 20})
		r.must(err)
	}
	r.term.Epoch = 2
	r.grant(r.term)
	close(granted)
	before := len(r.list(0, 100))
	writers.Wait()
	if after := len(r.list(0, 100)); after != before {
		r.Errorf("%d entries at the grant, %d later", before, after)
	}
}
