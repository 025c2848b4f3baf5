package daemon

import (
	"rozobox/pkg/metrics"
)

// known puts a gateway's status into the words of a picture.
func known(s *Status) *metrics.Cluster {
	c := &metrics.Cluster{Gateway: &metrics.Gateway{
		ID: s.Gateway.ID, Version: s.Gateway.Version,
		UptimeSeconds: s.Gateway.UptimeSeconds, Health: s.Health,
	}}
	for _, n := range s.Nodes {
		c.Cards = append(c.Cards, metrics.Card{ID: n.ID, Sync: n.Sync, Why: n.Why})
	}
	for _, v := range s.Volumes {
		c.Volumes = append(c.Volumes, v.known())
		c.Gateway.HedgedReads += v.HedgedReads
		if job, ok := v.Repair.known(v.Name); ok {
			c.Jobs = append(c.Jobs, job)
		}
	}
	return c
}

func (v *VolumeStatus) known() metrics.Volume {
	return metrics.Volume{
		Name: v.Name, State: v.State, Why: v.Why,
		SizeBytes: v.SizeBytes, StoredBytes: v.StoredBytes, BlockSizeBytes: v.BlockSizeBytes,
		DataChunks: v.DataChunks, ParityChunks: v.ParityChunks,
		UnderProtectedBlocks: v.UnderProtectedBlocks,
	}
}

// known returns the job, where it is one that people wait for.
func (r *RepairStatus) known(volume string) (job metrics.Job, ok bool) {
	switch r.Kind {
	case metrics.Resync, metrics.Rebuild, metrics.Scrub:
	default:
		return job, false
	}
	job = metrics.Job{
		Kind: r.Kind, Volume: volume, Node: r.Node,
		BytesPerSecond: r.RateBytesPerSecond, RemainingSeconds: r.RemainingSeconds, Paused: r.Paused,
	}
	if r.TotalBlocks > 0 {
		job.Done = min(1, float64(r.DoneBlocks)/float64(r.TotalBlocks))
	}
	if r.RemainingSeconds == 0 {
		job.RemainingSeconds = -1
	}
	return job, true
}
