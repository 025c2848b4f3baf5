package monitor

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rozobox/pkg/metrics"
)

var update = flag.Bool("update", false, "write the golden files anew")

// noon is when all pictures are taken.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func temperature(v float64) *float64 { return &v }

// healthy is a cluster of n cards, of which the first k+m work.
func healthy(n int) *metrics.Cluster {
	c := &metrics.Cluster{Time: noon, Name: "classroom"}
	for i := range n {
		c.Cards = append(c.Cards, metrics.Card{
			ID: fmt.Sprintf("pi%d", i+1), Addr: fmt.Sprintf("192.168.178.%d:9801", 101+i),
			State: metrics.Idle, Sync: metrics.In,
			UsedBytes: uint64(4+i%3) << 30, CapacityBytes: 29 << 30,
			Host: &metrics.Host{
				CPU: 0.03, MemoryUsedBytes: 410 << 20, MemoryBytes: 3800 << 20, Celsius: temperature(41),
				NetInBytesPerSecond: 2100, NetOutBytesPerSecond: 1900,
			},
		})
		if i < 4 {
			work(&c.Cards[i], 15.3+float64(i))
		}
	}
	c.Gateway = &metrics.Gateway{
		ID: "gw1", Version: "1.2", UptimeSeconds: 4000, Health: "healthy",
		ReadsPerSecond: 16, ReadBytesPerSecond: 1.05e6, ReadP50Seconds: 0.0021, ReadP99Seconds: 0.0094,
		HedgedReadsPerSecond: 0.2, HedgedReads: 31,
	}
	c.Volumes = []metrics.Volume{{
		Name: "film", State: "serving", SizeBytes: 10 << 30, StoredBytes: 1 << 30,
		BlockSizeBytes: 64 << 10, DataChunks: 4, ParityChunks: 2,
	}}
	c.Events = []metrics.Event{
		{Time: noon.Add(-90 * time.Second), Level: "info", Node: "pi3", Text: "pi3 answers"},
		{Time: noon.Add(-4 * time.Second), Level: "info", Volume: "film", Text: "film is served"},
	}
	return c
}

func work(c *metrics.Card, reads float64) {
	c.State = metrics.Working
	c.ReadsPerSecond, c.ReadBytesPerSecond = reads, reads*16384
	c.Host.CPU, c.Host.NetOutBytesPerSecond, c.Host.DiskOutBytesPerSecond = 0.12, reads*16500, reads*16384
	c.Host.Celsius = temperature(47)
}

func pull(c *metrics.Card) {
	*c = metrics.Card{
		ID: c.ID, Addr: c.Addr, State: metrics.Unavailable, Sync: metrics.Out,
		Why: "no answer for 3 s: connection lost", UsedBytes: c.UsedBytes, CapacityBytes: c.CapacityBytes,
	}
}

// troubled has a card in each state there is.
func troubled(n int) *metrics.Cluster {
	c := healthy(n)
	pull(&c.Cards[0])
	c.Cards[1].Slow = true
	c.Cards[2].Sync = metrics.Resyncing
	if n > 5 {
		c.Cards[4].Sync, c.Cards[5].ReadOnly = metrics.Out, true
		c.Cards[5].Why = "the card failed an fdatasync"
		c.Cards[6].Sync, c.Cards[6].State, c.Cards[6].Host = metrics.Lost, metrics.Unavailable, nil
		c.Cards[7].Host = nil
	}
	c.Gateway.Health, c.Gateway.DirtyBytes = "degraded", 3<<20
	c.Gateway.WriteBytesPerSecond, c.Gateway.WritesPerSecond = 2.4e6, 37
	c.Gateway.WriteP50Seconds, c.Gateway.WriteP99Seconds = 0.0113, 0.087
	c.Volumes[0].UnderProtectedBlocks = 1203
	c.Jobs = []metrics.Job{{
		Kind: metrics.Resync, Volume: "film", Node: "pi3", Done: 0.43, BytesPerSecond: 2.1e6, RemainingSeconds: 80,
	}}
	c.Events = append(c.Events,
		metrics.Event{Time: noon.Add(-3 * time.Second), Level: "warn", Node: "pi1", Text: "pi1 does not answer"},
		metrics.Event{Time: noon.Add(-time.Second), Level: "error", Volume: "film", Text: "pi7 is given up"})
	return c
}

// film is a demonstration at work.
func film(c *metrics.Cluster) *metrics.Cluster {
	c.Film = &metrics.Film{
		Name: "generated", BytesPerSecond: 1e6, Position: 0.31, Round: 1, BufferSeconds: 7.2, BufferLimitSeconds: 10,
		LongestPauseSeconds: 0.0231, CheckedBytes: 312 << 20,
	}
	return c
}

func noGatewayCluster(n int) *metrics.Cluster {
	c := healthy(n)
	c.Gateway, c.Volumes, c.Events = nil, nil, nil
	for i := range c.Cards {
		c.Cards[i].Sync = metrics.Unknown
	}
	return c
}

// striped has a stripe with all that can befall chunks.
func striped(n int) *metrics.Cluster {
	c := film(troubled(n))
	s := &metrics.Stripe{
		Volume: "film", Offset: 197525504, Block: 3014, Version: "3.1204", Data: 4, Parity: 2,
		Read: noon.Add(-800 * time.Millisecond),
	}
	for i := range 6 {
		s.Chunks = append(s.Chunks, metrics.StripeChunk{
			Index: i, Parity: i >= 4, Node: fmt.Sprintf("pi%d", (i+4)%8+1), State: "present", Version: "3.1204",
			Asked: i < 4, Used: i < 3, Seconds: []float64{0.0021, 0.0032, 0.0027, 0.019, 0, 0}[i],
		})
	}
	s.Chunks[4].State, s.Chunks[4].Version = "unavailable", ""
	s.Chunks[4].Why = "pi1 does not answer"
	spare := s.Chunks[4]
	spare.Node, spare.Spare, spare.State, spare.Version = "pi3", true, "present", "3.1204"
	spare.Why = "stands in for pi1"
	spare.Asked, spare.Used, spare.Hedged, spare.Seconds = true, true, true, 0.0062
	s.Chunks = append(s.Chunks[:5:5], spare, s.Chunks[5])
	s.Chunks[6].State = "damaged"
	s.Chunks[6].Why = "its checksum is wrong: it will be written anew"
	c.Stripe = s
	return c
}

// past is a history in which a film began 20 samples ago.
func past(c *metrics.Cluster) (history []metrics.Cluster) {
	for i := range 60 {
		old := metrics.Cluster{Time: c.Time.Add(time.Duration(i-60) * time.Second), Name: c.Name}
		for j, card := range c.Cards {
			if card.Host == nil {
				card.Host = &metrics.Host{}
			}
			host := *card.Host
			card.Host = &host
			card.State = metrics.Idle
			if i < 40 {
				card.ReadsPerSecond, host.CPU = 0, 0.02
			} else {
				card.ReadsPerSecond *= 0.5 + float64((i*7+j*3)%11)/20
				host.CPU *= 0.5 + float64((i*5+j)%7)/7
			}
			old.Cards = append(old.Cards, card)
		}
		history = append(history, old)
	}
	return history
}

var demoKeys = []Key{{Key: "u", Help: "unplug"}, {Key: "f", Help: "freeze"}, {Key: "s", Help: "slow"},
	{Key: "w", Help: "wipe"}, {Key: "p", Help: "plug in"},
	{Key: " ", Help: "film", Explain: "stop the film, or let it go on"}}

// pictures are what the golden files show: each by the number of cards.
var pictures = map[string]struct {
	of   func(n int) *metrics.Cluster
	view View
}{
	"healthy":   {of: healthy, view: View{Selected: 1}},
	"film":      {of: func(n int) *metrics.Cluster { return film(healthy(n)) }, view: View{Keys: demoKeys}},
	"trouble":   {of: troubled},
	"lesson":    {of: func(n int) *metrics.Cluster { return film(troubled(n)) }, view: View{Status: "replay x2"}},
	"nogateway": {of: noGatewayCluster},
	"card":      {of: troubled, view: View{Page: CardPage, Selected: 2}},
	"pulled":    {of: troubled, view: View{Page: CardPage, Selected: 0}},
	"stripe":    {of: striped, view: View{Page: StripePage}},
	"events":    {of: troubled, view: View{Page: EventsPage, Scroll: 1}},
	"help":      {of: healthy, view: View{Page: HelpPage, Keys: demoKeys, Status: "replay"}},
}

var sizes = [][2]int{{80, 24}, {120, 40}, {200, 60}, {40, 12}}

func TestGolden(t *testing.T) {
	for name, p := range pictures {
		for _, n := range []int{3, 8, 20} {
			if n != 8 && p.view.Page != CardsPage {
				continue
			}
			for _, s := range sizes {
				c, view := p.of(n), p.view
				view.History = past(c)
				file := fmt.Sprintf("%s-%d-%dx%d.txt", name, n, s[0], s[1])
				compare(t, file, Render(c, view, s[0], s[1])+"\n")
			}
		}
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs from what is drawn (go test ./pkg/monitor -update writes it anew):\n%s", file, got)
	}
}
