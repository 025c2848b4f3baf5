package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/metrics"
)

// lesson records n snapshots, a second apart; each but the first has an event
// of its own, and all that were before.
func lesson(t *testing.T, n int) (string, []metrics.Cluster) {
	t.Helper()
	var file bytes.Buffer
	r := NewRecorder(&file)
	var all []metrics.Cluster
	var events []metrics.Event
	for i := range n {
		at := noon.Add(time.Duration(i) * time.Second)
		if i > 0 {
			events = append(events, metrics.Event{Time: at, Level: "info", Text: fmt.Sprint("event ", i)})
		}
		c := metrics.Cluster{Time: at, Name: "lesson", Cards: healthy(3).Cards, Events: slices.Clone(events)}
		if err := r.Record(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return file.String(), all
}

// played is a snapshot, and when it came.
type played struct {
	metrics.Cluster
	after time.Duration
}

// play plays a recording to its end.
func play(ctx context.Context, p *Player) (all []played, err error) {
	began, to, done := time.Now(), make(chan metrics.Cluster), make(chan error, 1)
	go func() {
		defer close(to)
		done <- p.Run(ctx, to)
	}()
	for c := range to {
		all = append(all, played{c, time.Since(began)})
	}
	return all, <-done
}

func TestAReplayShowsWhatWasRecorded(t *testing.T) {
	for _, speed := range []float64{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			text, want := lesson(t, 5)
			if n := strings.Count(text, "event 1"); n != 1 {
				t.Errorf("an event was recorded %d times", n)
			}
			got, err := play(t.Context(), NewPlayer("x", strings.NewReader(text), speed))
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d snapshots, %v, want %d", len(got), err, len(want))
			}
			for i := range want {
				view := View{Page: EventsPage}
				if a, b := Render(&got[i].Cluster, view, 80, 24), Render(&want[i], view, 80, 24); a != b {
					t.Errorf("snapshot %d:\n%s\nwant:\n%s", i, a, b)
				}
				if due := time.Duration(float64(i) / speed * float64(time.Second)); got[i].after != due {
					t.Errorf("snapshot %d came after %v, want %v", i, got[i].after, due)
				}
			}
		})
	}
}

// A pause lasts until its end; a new speed counts at once, for what is left.
func TestAReplayIsPausedAndHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text, _ := lesson(t, 3)
		p := NewPlayer("x", strings.NewReader(text), 1)
		go func() {
			time.Sleep(500 * time.Millisecond)
			p.Pause()
			time.Sleep(time.Minute)
			p.Pause()
			p.Faster(2)
		}()
		got, err := play(t.Context(), p)
		if err != nil || len(got) != 3 {
			t.Fatal(len(got), err)
		}
		if want := time.Minute + 750*time.Millisecond; got[1].after != want {
			t.Errorf("the second snapshot came after %v, want %v", got[1].after, want)
		}
		if want := time.Minute + 1250*time.Millisecond; got[2].after != want {
			t.Errorf("the third snapshot came after %v, want %v", got[2].after, want)
		}
		if p.Status() != "replay x2" {
			t.Error(p.Status())
		}
	})
}

// Where the recording stopped for an hour, the replay does not.
func TestAReplaySkipsLongGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		r := NewRecorder(&file)
		for _, at := range []time.Duration{0, time.Hour, time.Minute} { // and the clock went back
			if err := r.Record(&metrics.Cluster{Time: noon.Add(at)}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := play(t.Context(), NewPlayer("x", &file, 1))
		if err != nil || len(got) != 3 || got[2].after != maxGap {
			t.Error(got, err)
		}
	})
}

// A recording that was cut off anywhere plays up to there.
func TestACutRecordingIsPlayed(t *testing.T) {
	text, _ := lesson(t, 4)
	second := strings.IndexByte(text, '\n') + 1
	for cut := second; cut <= len(text); cut++ {
		got, err := play(t.Context(), NewPlayer("x", strings.NewReader(text[:cut]), maxSpeed*1e6))
		whole := strings.Count(text[:cut], "\n")
		if cut < len(text) && text[cut] == '\n' {
			whole++ // only the line's end is missing
		}
		if err != nil || len(got) != whole {
			t.Fatalf("cut at %d: %d snapshots, %v, want %d", cut, len(got), err, whole)
		}
		cut += len(text) / 50
	}
	zeroes := strings.NewReader(text + "\x00\x00\x00")
	if got, err := play(t.Context(), NewPlayer("x", zeroes, maxSpeed)); err != nil || len(got) != 4 {
		t.Errorf("with zeroes behind: %d snapshots, %v", len(got), err)
	}
	if got, err := play(t.Context(), NewPlayer("x", strings.NewReader(""), 1)); err != nil || len(got) != 0 {
		t.Errorf("an empty file: %d snapshots, %v", len(got), err)
	}
}

func TestGarbageIsNamed(t *testing.T) {
	line := `{"time":"2026-03-01T12:00:00Z","name":"x","cards":null}` + "\n"
	for text, where := range map[string]string{
		"garbage":                             "lesson.jsonl:1: ",
		"garbage\n":                           "lesson.jsonl:1: ",
		line + "garbage\n" + line:             "lesson.jsonl:2: ",
		line + "\n" + line:                    "lesson.jsonl:2: ",
		line + line + "{}\n":                  "lesson.jsonl:3: ",
		line + "[1,2]\n":                      "lesson.jsonl:2: ",
		line + `{"cards":7}` + "\n":           "lesson.jsonl:2: ",
		line + strings.Repeat("x", maxLine+1): "lesson.jsonl:2: ",
	} {
		_, err := play(t.Context(), NewPlayer("lesson.jsonl", strings.NewReader(text), 1))
		if !errors.Is(err, ErrRecording) || !strings.HasPrefix(err.Error(), where) {
			t.Errorf("%.60q: %v, want %s", text, err, where)
		}
	}
}

func TestTheRecorderWritesWhatThePlayerReads(t *testing.T) {
	r := NewRecorder(&bytes.Buffer{})
	huge := metrics.Cluster{Time: noon, Name: strings.Repeat("x", maxLine)}
	if err := r.Record(&huge); err == nil {
		t.Error("a line was written that is too long to be read")
	}
	if err := NewRecorder(full{}).Record(&metrics.Cluster{}); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func FuzzPlayer(f *testing.F) {
	f.Add([]byte(`{"time":"2026-03-01T12:00:00Z","cards":[{"id":"pi1","host":{}}],"stripe":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := NewPlayer("x", bytes.NewReader(text), 1)
		for {
			c, err := p.next()
			if err != nil {
				return
			}
			Render(c, View{}, 80, 24)
			Render(c, View{Page: StripePage}, 80, 24)
		}
	})
}
