package chunkrpc

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// scripted is a client's stream whose other end the test plays by hand.
type scripted struct {
	*clientStream
	far net.Conn
	in  *receiver
}

func newScripted(t *testing.T) *scripted {
	near, far := net.Pipe()
	s := endless()
	cs := newClientStream(s, near)
	ended := make(chan error, 2)
	go func() { ended <- cs.out.run(s.done) }()
	go func() {
		err := cs.receive()
		cs.failAll() // as the session does
		ended <- err
	}()
	t.Cleanup(func() {
		close(s.done)
		near.Close()
		far.Close()
		<-ended
		<-ended
	})
	return &scripted{cs, far, newReceiver(far)}
}

// request reads what the client has sent.
func (s *scripted) request(t *testing.T) header {
	t.Helper()
	h, err := s.in.header()
	if err == nil {
		err = s.in.discard(int(h.length))
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// send may fail at the test's end, when the client reads no more.
func (s *scripted) send(pieces ...[]byte) { s.far.Write(bytes.Join(pieces, nil)) }

func replyTo(h header, length int) []byte {
	b := make([]byte, headerSize)
	header{length: uint32(length), kind: h.kind | replyBit, id: h.id}.put(b)
	return b
}

func (s *scripted) read(ctx context.Context, gets []chunk.Get) (*call, <-chan error) {
	c, result := newCall(kindRead, gets), make(chan error, 1)
	go func() {
		head := getBuffer(headerSize)
		head.b = appendRead(head.b, someTerm, gets)
		result <- s.do(ctx, c, len(gets), head, nil)
	}()
	return c, result
}

// A Read is given up while its reply is arriving:
//
//	caller    Read ───────────────────── cancel ─ returns ─ uses Dst again
//	receiver        header, half of Dst ──┘ lets go ──────── the other half is dropped
func TestAbandonedReadIsNotTouchedAfterItsReturn(t *testing.T) {
	s := newScripted(t)
	ctx, cancel := context.WithCancel(t.Context())
	dst := make([]byte, 64<<10)
	_, result := s.read(ctx, []chunk.Get{{Dst: dst}})
	h := s.request(t)
	present := appendChunks(nil, []chunk.Chunk{{State: chunk.Present, Version: 1}})
	late := bytes.Repeat([]byte{0xee}, len(dst)/2)
	s.send(replyTo(h, len(present)+len(dst)), present, late)
	cancel() // the rest has not even been sent
	if err := <-result; !errors.Is(err, chunk.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("abandoned read: %v", err)
	}
	clear(dst) // the race detector sees it if the receiver is still at it
	s.send(late)
	next, result := s.read(t.Context(), []chunk.Get{{Dst: make([]byte, 4)}})
	h = s.request(t)
	s.send(replyTo(h, len(present)+4), present, []byte("next"))
	if err := <-result; err != nil || string(next.gets[0].Dst) != "next" {
		t.Errorf("the next read: %q, %v", next.gets[0].Dst, err)
	}
	if !bytes.Equal(dst, make([]byte, len(dst))) {
		t.Error("the abandoned read was written to after its return")
	}
}

// A Read is given up while its reply is arriving, and the connection ends before
// all of that has come: one end is enough for the call.
func TestConnectionEndsWithinAnAbandonedReply(t *testing.T) {
	s := newScripted(t)
	ctx, cancel := context.WithCancel(t.Context())
	dst := make([]byte, 64<<10)
	_, abandoned := s.read(ctx, []chunk.Get{{Dst: dst}})
	h := s.request(t)
	_, waiting := s.read(t.Context(), []chunk.Get{{Dst: make([]byte, 4)}})
	s.request(t)
	present := appendChunks(nil, []chunk.Chunk{{State: chunk.Present, Version: 1}})
	s.send(replyTo(h, len(present)+len(dst)), present, dst[:len(dst)/2])
	cancel()
	if err := <-abandoned; !errors.Is(err, context.Canceled) {
		t.Errorf("abandoned read: %v", err)
	}
	s.far.Close()
	if err := <-waiting; !errors.Is(err, chunk.ErrUnavailable) {
		t.Errorf("read that waits at the connection's end: %v", err)
	}
}

// A reply that comes for a call that is gone is skipped.
func TestLateReplyIsSkipped(t *testing.T) {
	s := newScripted(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, result := s.read(ctx, []chunk.Get{{Dst: make([]byte, 16)}})
	first := s.request(t)
	cancel()
	<-result
	next, result := s.read(t.Context(), []chunk.Get{{Dst: make([]byte, 16)}})
	second := s.request(t)
	present := appendChunks(nil, []chunk.Chunk{{State: chunk.Present, Version: 1}})
	s.send(replyTo(first, len(present)+16), present, []byte("too late, drop it"[:16]))
	s.send(replyTo(second, len(present)+16), present, []byte("0123456789abcdef"))
	if err := <-result; err != nil || string(next.gets[0].Dst) != "0123456789abcdef" {
		t.Errorf("the next read: %q, %v", next.gets[0].Dst, err)
	}
}

// What is given up before it is written is not written: a slow node does not
// work through what nobody waits for.
func TestAbandonedRequestIsNotSent(t *testing.T) {
	s := newScripted(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, first := s.read(t.Context(), nil)
	s.in.unread = make([]byte, 1)
	if _, err := s.far.Read(s.in.unread); err != nil { // the rest is stuck in the pipe
		t.Fatal(err)
	}
	_, second := s.read(ctx, nil)
	for len(s.out.queue) == 0 {
		runtime.Gosched()
	}
	cancel()
	<-second
	_, third := s.read(t.Context(), nil)
	if a, b := s.request(t), s.request(t); a.id == 2 || b.id == 2 {
		t.Errorf("requests %d and %d were sent", a.id, b.id)
	} else {
		s.send(replyTo(a, 0), replyTo(b, 0))
	}
	if err := errors.Join(<-first, <-third); err != nil {
		t.Error(err)
	}
}

// A node with a valid certificate may lie about lengths: nothing is read for
// it, and the connection ends.
func TestI8RepliesThatCannotBeTrueEndTheConnection(t *testing.T) {
	present := appendChunks(nil, []chunk.Chunk{{State: chunk.Present, Version: 1}})
	strange := appendChunks(nil, []chunk.Chunk{{State: chunk.Damaged + 1, Version: 1}})
	for name, reply := range map[string]func(h header) []byte{
		"another kind": func(h header) []byte {
			h.kind = kindStat
			return append(append(replyTo(h, len(present)+16), present...), "0123456789abcdef"...)
		},
		"a request":        func(h header) []byte { b := replyTo(h, 0); b[4] = byte(kindRead); return b },
		"no chunks":        func(h header) []byte { return replyTo(h, 0) },
		"more than asked":  func(h header) []byte { return append(replyTo(h, len(present)+17), present...) },
		"less than asked":  func(h header) []byte { return append(replyTo(h, len(present)+15), present...) },
		"an unknown state": func(h header) []byte { return append(replyTo(h, len(strange)), strange...) },
		"far too long":     func(h header) []byte { return replyTo(h, kinds[kindRead].reply+1) },
	} {
		s := newScripted(t)
		_, result := s.read(t.Context(), []chunk.Get{{Dst: make([]byte, 16)}})
		answer := reply(s.request(t))
		go s.send(answer)
		select {
		case err := <-result:
			if !errors.Is(err, chunk.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the read still waits", name)
		}
	}
}

// Many reads of random patience share a connection; each uses its memory again
// as soon as it has returned.
func TestReadsOfAllFatesShareAConnection(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		memory := chunktest.NewMemory("pi3")
		client := loopback(t, over, memory)
		term := grant(t, client)
		content := bytes.Repeat([]byte("rozobox."), 8<<10)
		if _, err := client.Write(t.Context(), term, []chunk.Op{put(1, 1, content)}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				dst := make([]byte, len(content))
				for i := range 60 {
					ctx, cancel := context.WithTimeout(t.Context(), patience(worker))
					chunks, err := client.Read(ctx, term, []chunk.Get{{Block: 1, Dst: dst}})
					cancel()
					if err == nil && (chunks[0].State != chunk.Present || !bytes.Equal(dst, content)) {
						t.Errorf("worker %d, read %d: %+v and wrong bytes", worker, i, chunks)
					}
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("worker %d, read %d: %v", worker, i, err)
					}
					clear(dst)
				}
			})
		}
		wg.Wait()
		if _, err := client.Hello(t.Context()); err != nil && !strings.Contains(err.Error(), "deadline") {
			t.Error(err)
		}
	})
}

func patience(worker int) time.Duration {
	if worker%2 == 0 {
		return 10 * time.Second
	}
	return rand.N(5 * time.Millisecond)
}
