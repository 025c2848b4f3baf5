package daemon

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/metrics"
	"rozobox/pkg/nbd"
)

// exported makes a volume and returns it as clients get it.
func exported(t *testing.T, r *rig, name string) nbd.Device {
	t.Helper()
	if _, err := r.create(t.Context(), name, r.config.Volume.geometry(mib)); err != nil {
		t.Fatal(err)
	}
	d, ok := r.Export(name)
	if !ok {
		t.Fatalf("%s is not exported", name)
	}
	return d
}

// Each kind of request is counted once, with its bytes, and what failed apart.
func TestRequestsOfClientsAreCounted(t *testing.T) {
	r := newRigWithoutAPI(t)
	r.start()
	d := exported(t, r, "films")
	buffer := make([]byte, 8192)
	for _, err := range []error{
		d.WriteAt(t.Context(), buffer, 0),
		d.WriteAt(t.Context(), buffer[:512], 0),
		d.ReadAt(t.Context(), buffer, 0),
		d.Flush(t.Context()),
		d.(nbd.Trimmer).Trim(t.Context(), 0, 65536),
		d.(nbd.Zeroer).Zero(t.Context(), 0, 100, false),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := r.find("films")
	s.serving().Abandon()
	if err := d.WriteAt(t.Context(), buffer, 0); !errors.Is(err, nbd.ErrGone) {
		t.Fatalf("a write after its end: %v", err)
	}
	traffic := &s.traffic
	for op, want := range map[operation][3]uint64{
		opRead: {1, 8192, 0}, opWrite: {3, 8704, 1}, opFlush: {1, 0, 0}, opTrim: {1, 65536, 0}, opZero: {1, 100, 0},
	} {
		latency := traffic[op].latency.Snapshot()
		got := [3]uint64{latency.Count, traffic[op].bytes.Load(), traffic[op].failed.Load()}
		if got != want {
			t.Errorf("%s: %d requests, bytes and failures, want %d", operationNames[op], got, want)
		}
	}
}

// The rates and quantiles are those of the time between two samples.
func TestFiguresAreSinceTheSampleBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutAPI(t)
		r.options.Clock = nil // the bubble's
		r.start()
		exported(t, r, "films")
		traffic := &r.find("films").traffic
		sample := func(op operation, n int, took time.Duration) *figures {
			for range n {
				traffic.done(op, time.Now().Add(-took), 1000, nil)
			}
			time.Sleep(2 * time.Second)
			return r.gatewayFigures()
		}
		first := sample(opRead, 100, time.Minute)
		sample(opRead, 10, 1<<23)
		second := sample(opWrite, 4, 1<<26)
		var v metrics.Gateway
		second.since(first, &v)
		want := metrics.Gateway{
			ReadsPerSecond: 2.5, ReadBytesPerSecond: 2500, WritesPerSecond: 1, WriteBytesPerSecond: 1000,
			ReadP50Seconds: time.Duration(1 << 23).Seconds(), ReadP99Seconds: time.Duration(1 << 23).Seconds(),
			WriteP50Seconds: time.Duration(1 << 26).Seconds(), WriteP99Seconds: time.Duration(1 << 26).Seconds(),
		}
		if v != want {
			t.Errorf("got  %+v\nwant %+v", v, want)
		}
		if err := r.remove(t.Context(), "films"); err != nil {
			t.Fatal(err)
		}
		after := sample(opRead, 0, 0)
		after.since(second, &v)
		if v.ReadsPerSecond != 0 || v.WriteBytesPerSecond != 0 {
			t.Errorf("after the volume's end: %+v", v)
		}
	})
}
