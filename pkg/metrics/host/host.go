package host

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shirou/gopsutil/v4/common"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/sensors"

	"rozobox/pkg/chunk"
)

const (
	// sampleEvery is how long a sample is good: every other question of a
	// watcher who asks twice a second gets a new one.
	sampleEvery = 900 * time.Millisecond

	// surveyEvery is how long a temperature is good, and the list of what there
	// is. They change slowly, and cost more than all the rest.
	surveyEvery = 10 * time.Second
)

// Sampler samples this machine when it is asked, at most once a second. It may
// be shared.
type Sampler struct {
	clock func() time.Duration
	ctx   context.Context // tells the module below where /proc and /sys are
	sys   string

	last atomic.Pointer[chunk.HostStat]
	turn chan struct{} // a lock that spans I/O: guards the setting of last and all below

	surveyed    time.Duration
	milliKelvin uint64
	interfaces  map[string]bool // nil for all
	disks       []string        // none for all
}

// New returns a sampler. The clock tells the time since the machine booted.
func New(clock func() time.Duration) *Sampler { return newSampler(clock, "/proc", "/sys") }

func newSampler(clock func() time.Duration, proc, sys string) *Sampler {
	where := common.EnvMap{common.HostProcEnvKey: proc, common.HostSysEnvKey: sys}
	s := &Sampler{
		clock: clock, sys: sys, turn: make(chan struct{}, 1),
		ctx: context.WithValue(context.Background(), common.EnvKey, where),
	}
	s.last.Store(&chunk.HostStat{})
	return s
}

// Sample returns a sample that is at most a second old. Of several who ask at
// once, one takes it and the others get the one before.
func (s *Sampler) Sample() chunk.HostStat {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return *s.last.Load()
	}
	last := s.last.Load()
	if now := s.clock(); last.At == 0 || now-last.At >= sampleEvery {
		last = s.take(now, last)
		s.last.Store(last)
	}
	return *last
}

// take asks the kernel. What it does not tell stays 0.
func (s *Sampler) take(now time.Duration, last *chunk.HostStat) *chunk.HostStat {
	if last.At == 0 || now-s.surveyed >= surveyEvery {
		s.surveyed = now
		s.survey()
	}
	h := &chunk.HostStat{At: now, MilliKelvin: s.milliKelvin}
	s.addProcessor(h)
	s.addMemory(h)
	s.addNetwork(h)
	s.addDisks(h)
	return h
}

// survey looks at what changes slowly.
func (s *Sampler) survey() {
	s.milliKelvin = s.temperature()
	s.disks = s.devices("block")
	s.interfaces = nil
	if names := s.devices("class/net"); names != nil {
		s.interfaces = map[string]bool{loopback: true}
		for _, name := range names {
			s.interfaces[name] = true
		}
	}
}

// addProcessor counts as busy neither waiting for disks nor what a hypervisor
// gave to others.
func (s *Sampler) addProcessor(h *chunk.HostStat) {
	times, err := cpu.TimesWithContext(s.ctx, false)
	if err != nil || len(times) == 0 {
		return
	}
	t := times[0]
	busy := t.User + t.Nice + t.System + t.Irq + t.Softirq // guests' are in User and Nice
	h.CPUBusy = seconds(busy)
	h.CPUTotal = seconds(busy + t.Idle + t.Iowait + t.Steal)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (s *Sampler) addMemory(h *chunk.HostStat) {
	if m, err := mem.VirtualMemoryWithContext(s.ctx); err == nil {
		h.MemoryBytes, h.MemoryUsedBytes = m.Total, m.Total-min(m.Total, m.Available)
	}
}

// loopback is Linux's name of it.
const loopback = "lo"

func (s *Sampler) addNetwork(h *chunk.HostStat) {
	counters, err := net.IOCountersWithContext(s.ctx, true)
	if err != nil {
		return
	}
	for _, c := range counters {
		if s.interfaces == nil || s.interfaces[c.Name] {
			h.NetInBytes += c.BytesRecv
			h.NetOutBytes += c.BytesSent
		}
	}
}

func (s *Sampler) addDisks(h *chunk.HostStat) {
	counters, err := disk.IOCountersWithContext(s.ctx, s.disks...)
	if err != nil {
		return
	}
	for _, c := range counters {
		h.DiskInBytes += c.WriteBytes
		h.DiskOutBytes += c.ReadBytes
	}
}

// devices returns the entries of a folder of /sys that have a device behind
// them; nil where there are none.
func (s *Sampler) devices(folder string) (names []string) {
	// The only error is of the pattern.
	found, _ := filepath.Glob(filepath.Join(s.sys, folder, "*", "device"))
	for _, path := range found {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	return names
}

// freezing is 0 °C in thousandths of a kelvin.
const freezing = 273150

// temperature returns the processor's, the hottest where it has several
// sensors, in thousandths of a kelvin; 0 where the kernel does not tell.
func (s *Sampler) temperature() uint64 {
	// An error is of some sensors; the others are as good.
	all, _ := sensors.TemperaturesWithContext(s.ctx)
	var hottest, processor float64 // as a broken sensor reads, and a switched off one
	for _, t := range all {
		hottest = max(hottest, t.Temperature)
		if ofProcessor(t.SensorKey) {
			processor = max(processor, t.Temperature)
		}
	}
	if processor > 0 {
		hottest = processor
	}
	if hottest <= 0 || hottest > absurd {
		return 0
	}
	return freezing + uint64(hottest*1000)
}

// absurd is hotter than any part works, in °C.
const absurd = 200

// ofProcessor knows the names by which kernels call the sensors of processors:
// cpu_thermal and soc_thermal of small boards, coretemp, k10temp, x86_pkg_temp.
func ofProcessor(sensor string) bool {
	for _, name := range []string{"cpu", "soc", "coretemp", "k10temp", "pkg"} {
		if strings.Contains(sensor, name) {
			return true
		}
	}
	return false
}
