package daemon

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
	"rozobox/pkg/stripe"
)

// inUpkeepRig runs f in a bubble, with two volumes: "a" needs 3 of the 6 nodes
// for a block and can give some up, "b" needs all. The link is pi3's.
func inUpkeepRig(t *testing.T, f func(t *testing.T, r *rig, pi3 *chunktest.Link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutAPI(t)
		r.options.Clock = nil // the bubble's
		pi3 := &chunktest.Link{Store: r.options.Nodes[2].Store}
		r.options.Nodes[2].Store, r.options.Nodes[2].Background = pi3, pi3
		r.start()
		for name, data := range map[string]int{"a": 2, "b": 4} {
			geo := cluster.Geometry{Size: mib, BlockSize: 4096, Data: data, Parity: data / 2, Extent: 1}
			if _, err := r.create(t.Context(), name, geo); err != nil {
				t.Fatal(err)
			}
		}
		f(t, r, pi3)
	})
}

func (r *rig) stateOf(volume string) cluster.State {
	sb := r.find(volume).superblock()
	return sb.Nodes[sb.Index("pi3")].State
}

// A node is given up in all volumes or in none.
func TestNodeIsChangedInAllVolumesOrNone(t *testing.T) {
	inUpkeepRig(t, func(t *testing.T, r *rig, pi3 *chunktest.Link) {
		refused := func(id string, c memberChange, sentinel error, want string) {
			t.Helper()
			_, err := r.changeMember(t.Context(), id, c)
			if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %v, want %q", c.name, id, err, want)
			}
		}
		refused("pi9", giveUp, errNoNode, "the cluster has pi1, pi2")
		refused("pi3", giveUp, stripe.ErrRefused, "pi3 is in")
		refused("pi3", replaceCard, stripe.ErrRefused, "stop it first")
		pi3.Cut()
		time.Sleep(5 * time.Second)
		refused("pi3", giveUp, stripe.ErrRefused, `volume "b": without node pi3 there would be 5 nodes`)
		if s := r.stateOf("a"); s != cluster.Out {
			t.Errorf("volume b refused, and in volume a the node is %s", s)
		}
		changed, err := r.changeMember(t.Context(), "pi3", replaceCard)
		if err != nil || !slices.Equal(changed, []string{"a", "b"}) {
			t.Errorf("replaced in %q: %v", changed, err)
		}
		if err := r.remove(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		changed, err = r.changeMember(t.Context(), "pi3", giveUp)
		if err != nil || !slices.Equal(changed, []string{"a"}) || r.stateOf("a") != cluster.Lost {
			t.Errorf("given up in %q: %v", changed, err)
		}
		refused("pi3", giveUp, stripe.ErrRefused, "done already")
		if _, err := r.changeMember(t.Context(), "pi3", replaceCard); err != nil {
			t.Error(err)
		}
		pi3.Heal()
		time.Sleep(time.Minute)
		if s := r.stateOf("a"); s != cluster.In {
			t.Errorf("with a new card the node is %s", s)
		}
	})
}

// A pause holds for volumes that open later too.
func TestPauseHoldsEveryVolume(t *testing.T) {
	inUpkeepRig(t, func(t *testing.T, r *rig, pi3 *chunktest.Link) {
		yes, no, limit := true, false, int64(1e6)
		r.setPace(Pace{Paused: &yes, LimitBytesPerSecond: &limit})
		geo := cluster.Geometry{Size: mib, BlockSize: 4096, Data: 2, Parity: 1, Extent: 1}
		if _, err := r.create(t.Context(), "later", geo); err != nil {
			t.Fatal(err)
		}
		pi3.Cut()
		time.Sleep(5 * time.Second)
		pi3.Heal()
		time.Sleep(time.Minute)
		for _, v := range r.Status(t.Context()).Volumes {
			if !v.Repair.Paused || v.Repair.LimitBytesPerSecond != limit || r.stateOf(v.Name) != cluster.Out {
				t.Errorf("volume %s: %+v, pi3 is %s", v.Name, v.Repair, r.stateOf(v.Name))
			}
		}
		r.setPace(Pace{Paused: &no})
		time.Sleep(time.Minute)
		if s := r.stateOf("later"); s != cluster.In {
			t.Errorf("resumed, and the node is %s", s)
		}
	})
}

func TestScrubByHand(t *testing.T) {
	r := newRig(t)
	r.start()
	if _, err := r.client.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib}); err != nil {
		t.Fatal(err)
	}
	d, _ := r.Export("films")
	err := errors.Join(d.WriteAt(t.Context(), random(1, mib), 0), d.Flush(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	store, volume := r.options.Nodes[1].Store.(*chunktest.Memory), r.find("films").sb.Volume
	for index := range uint8(6) {
		store.Damage(volume, 7, index)
	}
	ignore := func(VolumeStatus) {}
	report, err := r.client.Scrub(t.Context(), "films", ignore)
	if err != nil {
		t.Fatal(err)
	}
	if report.Mended != 1 || len(report.Findings) != 1 || report.Blocks != 32 || report.Failed != 0 ||
		report.Findings[0].Node != "pi2" || report.Findings[0].Block != 7 || report.Findings[0].Cause != "damaged" {
		t.Errorf("one chunk is damaged: %+v", report)
	}
	if report, err = r.client.Scrub(t.Context(), "films", ignore); err != nil || report.Mended != 0 {
		t.Errorf("scrubbed again: %+v, %v", report, err)
	}
	if _, err := r.client.Scrub(t.Context(), "other", ignore); err == nil || !strings.Contains(err.Error(), "no such volume") {
		t.Errorf("scrubbed what is not there: %v", err)
	}
}

func TestAdminRefusesBadPaces(t *testing.T) {
	r := newRig(t)
	for body, want := range map[string]string{
		`{}`:                               "neither",
		`{"pause":true}`:                   "unknown field",
		`{"limit_bytes_per_second":-1}`:    "pause it instead",
		`{"limit_bytes_per_second":65535}`: "pause it instead",
	} {
		code, reply := r.send(t, r.signed(t, http.MethodPost, "/v1/repair", body))
		if code != http.StatusBadRequest || !strings.Contains(reply, want) {
			t.Errorf("%s: %d %s, want %q", body, code, reply, want)
		}
	}
}

func TestI8UnsignedUpkeepIsRefused(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{
		"/v1/nodes/pi1/lost", "/v1/nodes/pi1/replace", "/v1/repair", "/v1/volumes/films/scrub",
	} {
		if code, reply := r.send(t, r.request(t, http.MethodPost, path, `{"paused":true}`)); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, code, reply)
		}
	}
}

func TestUpkeepIsToldToPeople(t *testing.T) {
	now := time.Now()
	for want, have := range map[string]interface{ String() string }{
		"resync of pi3: 4,210 of 5,000 blocks, 12 MB/s, 8 s left": RepairStatus{
			Kind: "resync", Node: "pi3", TotalBlocks: 5000, DoneBlocks: 4210,
			Bytes: 1, RateBytesPerSecond: 12.2e6, RemainingSeconds: 8.4,
		},
		"rebuild: 0 of 1,234,567 blocks, 9.5 MB/s, paused": RepairStatus{
			Kind: "rebuild", TotalBlocks: 1234567, Bytes: 1, RateBytesPerSecond: 9.5e6, Paused: true, RemainingSeconds: 9,
		},
		"scrub: 999 of 1,000 blocks, 3 h left": RepairStatus{Kind: "scrub", TotalBlocks: 1000, DoneBlocks: 999, RemainingSeconds: 3 * 3600},
		"rebuild: 1 of 2 blocks, 200 kB/s, 2 min left": RepairStatus{
			Kind: "rebuild", TotalBlocks: 2, DoneBlocks: 1, Bytes: 1, RateBytesPerSecond: 2e5, RemainingSeconds: 125,
		},
		"repair is paused": RepairStatus{Paused: true},
		"":                 RepairStatus{},
		"scrubbed " + now.Format(time.DateTime) + ": 9 blocks, 2 chunks mended, 1 blocks failed": ScrubStatus{
			Started: &now, Ended: &now, Blocks: 9, Mended: 2, Failed: 1,
		},
		"scrub since " + now.Format(time.DateTime) + ": 2 chunks mended, 0 blocks failed": ScrubStatus{Started: &now, Mended: 2},
	} {
		if got := have.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Size{"20MB/s": 20e6, "20": 20e6, "1 MiB/s": mib, "off": 0} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "20MB", "/s", "0MB/s", "-1MB/s", "20mb/s", "20MB/min"} {
		if got, err := ParseRate(text); err == nil || !strings.Contains(err.Error(), "bad rate") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}
