package watch

import (
	"rozobox/pkg/chunk"
	"rozobox/pkg/metrics"
)

// measureHost takes a sample of the card's machine. It is shown from the second
// on; the same one again, since not every answer has a new one, changes nothing.
func (c *card) measureHost(now chunk.HostStat) {
	before := c.sample
	if now.At == 0 {
		c.sample, c.Host = nil, nil
		return
	}
	if before != nil && now.At == before.At && c.Host != nil {
		return
	}
	c.sample = &now
	if before == nil || booted(before, &now) {
		c.Host = nil
		return
	}
	if now.At > before.At {
		c.Host = between(before, &now)
	}
}

// booted reports whether the machine has begun to count anew since.
func booted(before, now *chunk.HostStat) bool {
	return now.At < before.At || now.CPUTotal < before.CPUTotal
}

// between is what a machine did from one sample to the next.
func between(before, now *chunk.HostStat) *metrics.Host {
	span := now.At - before.At
	h := &metrics.Host{
		MemoryUsedBytes: now.MemoryUsedBytes, MemoryBytes: now.MemoryBytes,
		NetInBytesPerSecond:   rate(before.NetInBytes, now.NetInBytes, span),
		NetOutBytesPerSecond:  rate(before.NetOutBytes, now.NetOutBytes, span),
		DiskInBytesPerSecond:  rate(before.DiskInBytes, now.DiskInBytes, span),
		DiskOutBytesPerSecond: rate(before.DiskOutBytes, now.DiskOutBytes, span),
	}
	if total := now.CPUTotal - before.CPUTotal; total > 0 {
		h.CPU = min(1, max(0, float64(now.CPUBusy-before.CPUBusy)/float64(total)))
	}
	if now.MilliKelvin > 0 {
		celsius := float64(now.MilliKelvin)/1000 - 273.15
		h.Celsius = &celsius
	}
	return h
}
