package host

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// machine is a /proc and a /sys as a small board has them.
type machine struct {
	t    *testing.T
	root string
	now  time.Duration
	*Sampler
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, root: t.TempDir(), now: time.Hour}
	m.file("proc/stat", "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 100 20 30 4000 500 6 7 8 0 0\n")
	m.file("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n")
	m.file("proc/net/dev", "Inter-|   Receive                       |  Transmit\n"+
		" face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n"+
		"    lo: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n"+
		"  eth0: 30000 1 0 0 0 0 0 0 40000 1 0 0 0 0 0 0\n"+
		"veth12: 500000 1 0 0 0 0 0 0 600000 1 0 0 0 0 0 0\n")
	m.file("proc/diskstats", " 179 0 mmcblk0 10 0 100 5 20 0 300 7 0 8 9\n"+
		" 179 1 mmcblk0p1 10 0 100 5 20 0 300 7 0 8 9\n"+
		"   7 0 loop0 10 0 77 5 20 0 77 7 0 8 9\n")
	for _, path := range []string{
		"sys/class/net/lo/mtu", "sys/class/net/eth0/device/uevent", "sys/class/net/veth12/mtu",
		"sys/block/mmcblk0/device/uevent", "sys/block/loop0/size",
	} {
		m.file(path, "1\n")
	}
	m.thermal("cpu_thermal", "51234")
	m.Sampler = newSampler(func() time.Duration { return m.now }, m.root+"/proc", m.root+"/sys")
	return m
}

func (m *machine) file(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// thermal sets the only sensor.
func (m *machine) thermal(name, celsius string) {
	m.file("sys/class/thermal/thermal_zone0/type", name+"\n")
	m.file("sys/class/thermal/thermal_zone0/temp", celsius+"\n")
}

func TestSampleOfASmallBoard(t *testing.T) {
	m := newMachine(t)
	tick := time.Second / 100
	want := chunk.HostStat{
		At: time.Hour, CPUBusy: 163 * tick, CPUTotal: 4671 * tick,
		MemoryUsedBytes: 600 << 10, MemoryBytes: 1000 << 10, MilliKelvin: 273150 + 51234,
		NetInBytes: 31000, NetOutBytes: 42000, DiskInBytes: 300 * 512, DiskOutBytes: 100 * 512,
	}
	if got := m.Sample(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAMachineThatTellsNothing(t *testing.T) {
	empty := t.TempDir()
	s := newSampler(func() time.Duration { return 1 }, empty, empty)
	if got := s.Sample(); got != (chunk.HostStat{At: 1}) {
		t.Errorf("got %+v", got)
	}
}

func TestTemperatures(t *testing.T) {
	for _, c := range []struct {
		name, celsius string
		want          uint64
	}{
		{"soc-thermal", "40000", 313150},
		{"gpu_thermal", "40000", 313150}, // better than nothing
		{"cpu_thermal", "-1000", 0},      // switched off
		{"cpu_thermal", "1000000", 0},    // broken
		{"cpu_thermal", "hot", 0},
	} {
		m := newMachine(t)
		m.thermal(c.name, c.celsius)
		if got := m.Sample().MilliKelvin; got != c.want {
			t.Errorf("%s at %s: %d, want %d", c.name, c.celsius, got, c.want)
		}
	}
}

// The processor's counts, also where another part is hotter.
func TestTheProcessorsTemperatureCounts(t *testing.T) {
	m := newMachine(t)
	m.thermal("cpu_thermal", "50000")
	m.file("sys/class/thermal/thermal_zone1/type", "battery\n")
	m.file("sys/class/thermal/thermal_zone1/temp", "70000\n")
	if got := m.Sample().MilliKelvin; got != 323150 {
		t.Errorf("got %d", got)
	}
}

func TestTheKernelIsAskedOnceASecondHoweverManyAsk(t *testing.T) {
	m := newMachine(t)
	first := m.Sample()
	m.file("proc/stat", "cpu  200 20 30 4000 500 6 7 8 0 0\n")
	m.thermal("cpu_thermal", "60000")
	var askers sync.WaitGroup
	for range 100 {
		askers.Go(func() {
			if got := m.Sample(); got != first {
				t.Errorf("asked again at once: %+v", got)
			}
		})
	}
	askers.Wait()
	m.now += time.Second
	second := m.Sample()
	if second.CPUBusy-first.CPUBusy != time.Second || second.At != m.now {
		t.Errorf("a second later: %+v", second)
	}
	if second.MilliKelvin != first.MilliKelvin {
		t.Error("the temperature was read again after a second")
	}
	m.now += surveyEvery
	if got := m.Sample().MilliKelvin; got != 273150+60000 {
		t.Errorf("temperature %d", got)
	}
}

// What one sample costs here, a survey once in ten.
func BenchmarkSample(b *testing.B) {
	var now time.Duration
	s := New(func() time.Duration { now += time.Second; return now })
	before := processorTime(b)
	for b.Loop() {
		s.Sample()
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// processorTime is what this process has used: on a busy machine, the clock
// tells more of the others.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
