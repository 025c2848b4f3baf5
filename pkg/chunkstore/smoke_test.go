package chunkstore

import (
	"bytes"
	"context"
	"testing"

	"rozobox/pkg/chunk"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Node: "pi1", Capacity: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	vol := chunk.VolumeID{1}
	if _, err := s.Grant(ctx, vol, 1, 7); err != nil {
		t.Fatal(err)
	}
	term := chunk.Term{Volume: vol, Epoch: 1, Nonce: 7}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	for round := range 100 {
		for b := range uint64(40) {
			v := chunk.MakeVersion(1, uint64(round)*100+b+1)
			a, err := s.Write(ctx, term, []chunk.Op{{Kind: chunk.OpPut, Block: b, Version: v, Data: data}})
			if err != nil || a.Errs != nil {
				t.Fatal(round, b, err, a.Errs)
			}
		}
		term.Watermark = chunk.MakeVersion(1, uint64(round)*100)
		if _, err := s.Sync(ctx, term); err != nil {
			t.Fatal(err)
		}
	}
	st, _ := s.Stat(ctx)
	t.Logf("%+v physical %d", st, s.physical.Load())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(Options{Dir: dir, Node: "pi1", Capacity: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4096)
	c, err := s.Read(ctx, term, []chunk.Get{{Block: 3, Off: 100, Dst: got}})
	if err != nil || c[0].State != chunk.Present || !bytes.Equal(got, data[100:4196]) {
		t.Fatal(c, err)
	}
	st, _ = s.Stat(ctx)
	t.Logf("%+v physical %d", st, s.physical.Load())
	s.Close()
}
