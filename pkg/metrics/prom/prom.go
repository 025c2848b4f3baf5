package prom

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rozobox/pkg/metrics"
)

// Kind is how the figures of a family behave.
type Kind int

// The kinds.
const (
	Gauge     Kind = iota // goes up and down
	Counter               // only grows, until its owner starts anew
	Histogram             // durations by size
)

// Family describes all figures of one name.
type Family struct {
	Name   string
	Help   string
	Kind   Kind
	Labels []string // the names of the labels
}

// Figure is one figure of a family.
type Figure struct {
	Family    *Family
	Labels    []string          // the values, in the order of the family's names
	Value     float64           // of a gauge or counter
	Durations *metrics.Snapshot // of a histogram
}

// Histograms are shown with one bucket for each power of two nanoseconds from
// 66 µs, which is less than a network takes, to 17 s, longer than any client
// waits: 19 buckets, each the sum of four of metrics.Histogram.
const (
	firstBucket = 16
	lastBucket  = 34
)

// Handler answers a scrape with what collect gives, which is called once for
// each. Figures that contradict each other or their family fail the scrape.
func Handler(collect func(ctx context.Context) iter.Seq[Figure]) http.Handler {
	own := prometheus.NewRegistry()
	own.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scrape := prometheus.NewRegistry()
		scrape.MustRegister(collector{collect(r.Context())})
		promhttp.HandlerFor(prometheus.Gatherers{own, scrape}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}

// collector shows the figures of one scrape.
type collector struct{ figures iter.Seq[Figure] }

// Describe implements prometheus.Collector: what there is shows at the scrape.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for f := range c.figures {
		out <- f.metric()
	}
}

func (f Figure) metric() prometheus.Metric {
	desc := prometheus.NewDesc(f.Family.Name, f.Family.Help, f.Family.Labels, nil)
	var m prometheus.Metric
	var err error
	switch f.Family.Kind {
	case Histogram:
		m, err = prometheus.NewConstHistogram(
			desc, f.Durations.Count, f.Durations.Sum.Seconds(), buckets(f.Durations), f.Labels...)
	case Counter:
		m, err = prometheus.NewConstMetric(desc, prometheus.CounterValue, f.Value, f.Labels...)
	default:
		m, err = prometheus.NewConstMetric(desc, prometheus.GaugeValue, f.Value, f.Labels...)
	}
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}

// buckets returns how many durations are not longer than each limit, in seconds.
func buckets(s *metrics.Snapshot) map[float64]uint64 {
	counts := make(map[float64]uint64)
	for power := firstBucket; power <= lastBucket; power++ {
		limit := time.Duration(1) << power
		counts[limit.Seconds()] = s.UpTo(limit)
	}
	return counts
}
