package watch

import (
	"errors"
	"math"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/metrics"
)

func TestState(t *testing.T) {
	busy := chunk.Stat{Idle: workingFor - 1, Writes: 1}
	for name, c := range map[string]struct {
		answer     Answer
		state, why string
	}{
		"busy":        {Answer{Stat: busy}, metrics.Working, ""},
		"rested":      {Answer{Stat: chunk.Stat{Idle: workingFor, Writes: 1}}, metrics.Idle, ""},
		"just begun":  {Answer{Stat: chunk.Stat{Idle: 1}}, metrics.Idle, ""},
		"unreachable": {Answer{busy, errors.New("gone")}, metrics.Unavailable, "gone"},
		"read-only":   {Answer{Stat: chunk.Stat{ReadOnly: true}}, metrics.Idle, chunk.ErrReadOnly.Error()},
	} {
		if state, why := c.answer.State(); state != c.state || why != c.why {
			t.Errorf("%s: %s %q", name, state, why)
		}
	}
}

// stat is an answer after so many seconds, of instance 1.
func stat(seconds int, reads, writes uint64) chunk.Stat {
	return chunk.Stat{
		Instance: chunk.InstanceID{1}, Uptime: time.Duration(seconds) * time.Second,
		Reads: reads, ReadBytes: reads * 4096, Writes: writes, WriteBytes: writes * 100, Idle: time.Minute,
	}
}

func TestRates(t *testing.T) {
	first := stat(10, 1000, 5)
	reborn := stat(12, 2000, 5)
	reborn.Instance = chunk.InstanceID{2}
	ancient := stat(10, 0, 0)
	ancient.Uptime = math.MinInt64
	for name, c := range map[string]struct {
		second        chunk.Stat
		reads, writes float64
	}{
		"two seconds later":           {stat(12, 1100, 7), 50, 1},
		"nothing happened":            {stat(12, 1000, 5), 0, 0},
		"another instance":            {reborn, 0, 0},
		"counters went back":          {stat(12, 5, 0), 0, 0},
		"no time has passed":          {stat(10, 2000, 50), 0, 0},
		"time went back":              {stat(9, 2000, 50), 0, 0},
		"no clock at all":             {ancient, 0, 0},
		"after it was silent a while": {stat(110, 2000, 5), 10, 0},
	} {
		var n card
		n.take(Answer{Stat: first})
		n.take(Answer{Stat: c.second})
		if n.ReadsPerSecond != c.reads || n.WritesPerSecond != c.writes ||
			n.ReadBytesPerSecond != c.reads*4096 || n.WriteBytesPerSecond != c.writes*100 {
			t.Errorf("%s: %+v", name, n.Card)
		}
	}
}

func TestANodeThatIsGoneDoesNothingButKeepsWhatItHolds(t *testing.T) {
	var c card
	full := stat(10, 0, 0)
	full.UsedBytes, full.CapacityBytes = 3, 4
	c.take(Answer{Stat: full})
	later := stat(11, 10, 0)
	later.UsedBytes, later.CapacityBytes = 3, 4
	c.take(Answer{Stat: later})
	c.take(Answer{Err: errSilent})
	want := metrics.Card{
		State: metrics.Unavailable, Why: errSilent.Error(), UsedBytes: 3, CapacityBytes: 4,
	}
	if got := c.Card; got != want {
		t.Errorf("got %+v", got)
	}
}

// sample is of a machine so many seconds after its boot.
func sample(seconds int, busy, total, bytes int) chunk.HostStat {
	return chunk.HostStat{
		At:      time.Duration(seconds) * time.Second,
		CPUBusy: time.Duration(busy) * time.Second, CPUTotal: time.Duration(total) * time.Second,
		MemoryUsedBytes: 3, MemoryBytes: 4, MilliKelvin: 273150 + 48500,
		NetInBytes: uint64(bytes), NetOutBytes: uint64(2 * bytes),
		DiskInBytes: uint64(3 * bytes), DiskOutBytes: uint64(4 * bytes),
	}
}

func TestHostNeedsTwoSamples(t *testing.T) {
	var c card
	for i, s := range []struct {
		host chunk.HostStat
		seen bool
	}{
		{sample(100, 10, 400, 1000), false},
		{sample(100, 10, 400, 1000), false}, // the same again
		{sample(102, 12, 408, 5000), true},
		{sample(102, 12, 408, 5000), true}, // stays
		{sample(3, 1, 12, 10), false},      // it has booted
		{sample(4, 1, 13, 10), true},
		{chunk.HostStat{}, false}, // nobody looks any more
		{sample(5, 1, 14, 10), false},
	} {
		now := stat(i, 0, 0)
		now.Host = s.host
		c.take(Answer{Stat: now})
		if (c.Host != nil) != s.seen {
			t.Errorf("sample %d: host is %+v", i, c.Host)
		}
	}
}

func TestHostRates(t *testing.T) {
	before := sample(100, 10, 400, 1000)
	now := sample(102, 12, 408, 5000)
	h := between(&before, &now)
	if h.CPU != 0.25 || h.MemoryUsedBytes != 3 || h.MemoryBytes != 4 || *h.Celsius != 48.5 ||
		h.NetInBytesPerSecond != 2000 || h.NetOutBytesPerSecond != 4000 ||
		h.DiskInBytesPerSecond != 6000 || h.DiskOutBytesPerSecond != 8000 {
		t.Errorf("got %+v, %v °C", h, *h.Celsius)
	}
	now.MilliKelvin, now.CPUBusy, now.NetInBytes = 0, time.Hour, 0
	if h := between(&before, &now); h.Celsius != nil || h.CPU != 1 || h.NetInBytesPerSecond != 0 {
		t.Errorf("got %+v", h)
	}
}
