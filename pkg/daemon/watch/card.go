package watch

import (
	"fmt"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/metrics"
)

// errSilent means that a node did not answer in time.
var errSilent = fmt.Errorf("no answer within %v", patience)

// card is what is known of one node.
type card struct {
	metrics.Card
	answer Answer      // the last one
	stat   *chunk.Stat // the last that it gave; nil when it never answered

	sample *chunk.HostStat // the last of its machine; nil before the first
}

// take enters an answer, and reports whether that is to be seen at once.
func (c *card) take(a Answer) (changed bool) {
	before := c.State
	c.answer = a
	c.State, c.Why = a.State()
	if a.Err != nil {
		c.quiet()
		return c.State != before
	}
	c.UsedBytes, c.CapacityBytes, c.ReadOnly = a.Stat.UsedBytes, a.Stat.CapacityBytes, a.Stat.ReadOnly
	c.measure(a.Stat)
	c.stat = &a.Stat
	c.measureHost(a.Stat.Host)
	return c.State != before
}

// State says in which state the answer shows the node, and what is wrong with it.
func (a Answer) State() (state, why string) {
	switch {
	case a.Err != nil:
		return metrics.Unavailable, a.Err.Error()
	case a.Stat.ReadOnly:
		why = chunk.ErrReadOnly.Error()
	}
	if a.Stat.Idle < workingFor && a.Stat.Reads+a.Stat.Writes > 0 {
		return metrics.Working, why
	}
	return metrics.Idle, why
}

// quiet is what a node does that does not answer. What its card held stays.
func (c *card) quiet() {
	c.ReadsPerSecond, c.WritesPerSecond, c.ReadBytesPerSecond, c.WriteBytesPerSecond = 0, 0, 0, 0
	c.Host = nil
}

// measure computes the rates since the answer before, of the same instance.
func (c *card) measure(now chunk.Stat) {
	if c.stat == nil || c.stat.Instance != now.Instance {
		c.ReadsPerSecond, c.WritesPerSecond, c.ReadBytesPerSecond, c.WriteBytesPerSecond = 0, 0, 0, 0
		return
	}
	span := now.Uptime - c.stat.Uptime
	if span <= 0 {
		return
	}
	c.ReadsPerSecond = rate(c.stat.Reads, now.Reads, span)
	c.WritesPerSecond = rate(c.stat.Writes, now.Writes, span)
	c.ReadBytesPerSecond = rate(c.stat.ReadBytes, now.ReadBytes, span)
	c.WriteBytesPerSecond = rate(c.stat.WriteBytes, now.WriteBytes, span)
}

// rate is how much a counter grew in a second. One that went back was begun
// anew.
func rate(before, now uint64, span time.Duration) float64 {
	if now < before || span <= 0 {
		return 0
	}
	return float64(now-before) / span.Seconds()
}
