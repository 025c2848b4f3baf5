package prom

import (
	"context"
	"io"
	"iter"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"rozobox/pkg/metrics"
)

// scrape returns the status and the text of a scrape.
func scrape(t *testing.T, figures ...Figure) (int, string) {
	t.Helper()
	handler := Handler(func(context.Context) iter.Seq[Figure] { return slices.Values(figures) })
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text)
}

func TestEachKindIsShown(t *testing.T) {
	var h metrics.Histogram
	for _, d := range []time.Duration{time.Microsecond, 1 << 16, 1<<16 + 1, time.Second, time.Hour} {
		h.Observe(d)
	}
	durations := h.Snapshot()
	up := &Family{"x_up", "Whether it is up.", Gauge, []string{"node"}}
	reads := &Family{"x_reads_total", "Reads.", Counter, nil}
	took := &Family{"x_read_duration_seconds", "How long reads took.", Histogram, []string{"volume"}}
	code, text := scrape(t,
		Figure{Family: up, Labels: []string{"pi1"}, Value: 1},
		Figure{Family: up, Labels: []string{"büro \"1\"\n"}, Value: 0},
		Figure{Family: reads, Value: 7},
		Figure{Family: took, Labels: []string{"films"}, Durations: &durations},
	)
	for _, want := range []string{
		"# TYPE x_up gauge", `x_up{node="pi1"} 1`, `x_up{node="büro \"1\"\n"} 0`,
		"# TYPE x_reads_total counter", "\nx_reads_total 7\n",
		"# TYPE x_read_duration_seconds histogram",
		`x_read_duration_seconds_bucket{volume="films",le="6.5536e-05"} 2`,
		`x_read_duration_seconds_bucket{volume="films",le="0.000131072"} 3`,
		`x_read_duration_seconds_bucket{volume="films",le="17.179869184"} 4`,
		`x_read_duration_seconds_bucket{volume="films",le="+Inf"} 5`,
		`x_read_duration_seconds_count{volume="films"} 5`,
		"go_goroutines", "process_start_time_seconds",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if code != 200 || err != nil || len(problems) > 0 {
		t.Errorf("status %d, %v: %v", code, err, problems)
	}
}

// Wrong figures are an error of the scrape, no wrong text.
func TestWrongFiguresFailTheScrape(t *testing.T) {
	up := &Family{"x_up", "Whether it is up.", Gauge, []string{"node"}}
	pi1 := Figure{Family: up, Labels: []string{"pi1"}}
	for name, figures := range map[string][]Figure{
		"twice":    {pi1, pi1},
		"no label": {{Family: up}},
		"no UTF-8": {{Family: up, Labels: []string{"\xff"}}},
	} {
		if code, text := scrape(t, figures...); code != 500 {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
}
