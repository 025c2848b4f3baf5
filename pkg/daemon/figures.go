package daemon

import (
	"context"
	"time"

	"rozobox/pkg/metrics"
	"rozobox/pkg/nbd"
)

// operation is a kind of request that NBD clients send. A FUA write is a write
// and a flush.
type operation int

const (
	opRead operation = iota
	opWrite
	opFlush
	opTrim
	opZero
	operations // how many there are
)

var operationNames = [operations]string{"read", "write", "flush", "trim", "zero"}

// traffic counts what clients ask of one volume, for as long as the gateway
// knows it. The number of requests is that of the latencies.
type traffic [operations]struct {
	latency metrics.Histogram // of all, those that failed included
	bytes   metrics.Counter   // of those that went well
	failed  metrics.Counter
}

// done counts a request that began then.
func (t *traffic) done(op operation, began time.Time, bytes int64, err error) error {
	t[op].latency.Observe(time.Since(began))
	if err != nil {
		t[op].failed.Add(1)
		return err
	}
	t[op].bytes.Add(uint64(bytes))
	return nil
}

// measured is a device whose requests are counted. Go calls from left to right:
// each method takes the time before it asks the device.
type measured struct {
	*device
	traffic *traffic
}

var _ nbd.Device = measured{}

// ReadAt implements nbd.Device.
func (m measured) ReadAt(ctx context.Context, p []byte, off int64) error {
	return m.traffic.done(opRead, time.Now(), int64(len(p)), m.device.ReadAt(ctx, p, off))
}

// WriteAt implements nbd.Device.
func (m measured) WriteAt(ctx context.Context, p []byte, off int64) error {
	return m.traffic.done(opWrite, time.Now(), int64(len(p)), m.device.WriteAt(ctx, p, off))
}

// Flush implements nbd.Device.
func (m measured) Flush(ctx context.Context) error {
	return m.traffic.done(opFlush, time.Now(), 0, m.device.Flush(ctx))
}

// Trim implements nbd.Trimmer.
func (m measured) Trim(ctx context.Context, off, n int64) error {
	return m.traffic.done(opTrim, time.Now(), n, m.device.Trim(ctx, off, n))
}

// Zero implements nbd.Zeroer.
func (m measured) Zero(ctx context.Context, off, n int64, provision bool) error {
	return m.traffic.done(opZero, time.Now(), n, m.device.Zero(ctx, off, n, provision))
}

// figures are the gateway's data path at one moment: all volumes together.
type figures struct {
	at          time.Time
	read, write metrics.Snapshot
	readBytes   uint64
	writeBytes  uint64
	hedged      uint64
	dirty       int64
}

// gatewayFigures takes a sample. Who shows rates keeps the one before.
func (g *Gateway) gatewayFigures() *figures {
	f := &figures{at: time.Now()}
	for _, s := range g.list() {
		f.read = f.read.Add(s.traffic[opRead].latency.Snapshot())
		f.write = f.write.Add(s.traffic[opWrite].latency.Snapshot())
		f.readBytes += s.traffic[opRead].bytes.Load()
		f.writeBytes += s.traffic[opWrite].bytes.Load()
		if array := s.serving(); array != nil {
			status := array.Status()
			f.hedged += status.Hedged
			f.dirty += status.UnsettledBytes
		}
	}
	return f
}

// since enters into v what happened since before, an earlier sample of the same
// gateway; without one there are no rates.
func (f *figures) since(before *figures, v *metrics.Gateway) {
	v.DirtyBytes, v.HedgedReads = f.dirty, f.hedged
	if before == nil {
		return
	}
	took := f.at.Sub(before.at).Seconds()
	if took <= 0 {
		return
	}
	read, write := f.read.Sub(before.read), f.write.Sub(before.write)
	v.ReadsPerSecond = float64(read.Count) / took
	v.WritesPerSecond = float64(write.Count) / took
	v.ReadBytesPerSecond = growth(before.readBytes, f.readBytes) / took
	v.WriteBytesPerSecond = growth(before.writeBytes, f.writeBytes) / took
	v.HedgedReadsPerSecond = growth(before.hedged, f.hedged) / took
	v.ReadP50Seconds = read.Quantile(0.5).Seconds()
	v.ReadP99Seconds = read.Quantile(0.99).Seconds()
	v.WriteP50Seconds = write.Quantile(0.5).Seconds()
	v.WriteP99Seconds = write.Quantile(0.99).Seconds()
}

// growth is 0 where a volume that was counted before is no more.
func growth(before, now uint64) float64 { return float64(now - min(now, before)) }
