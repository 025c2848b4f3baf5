// Package metrics counts, and measures how long things take, without locks and
// in fixed space, so that it may stand on every path.
//
// A Counter only grows; what it counts is told by the name of the field that
// holds it, with the unit where it is not a number of events: Reads, ReadBytes.
// A Histogram holds durations. The zero values are ready to use, and must not
// be copied. Cluster is the whole picture that the terminal, the web page and a
// recorded lesson show; who fills it in is in pkg/daemon.
//
// A histogram's buckets are 4 to each power of two nanoseconds, from 1 µs to
// 2 minutes:
//
//	bucket    0       1        2        3        4        5  ...  109
//	up to     1024ns  1280ns   1536ns   1792ns   2048ns   2560ns  for ever
//
// so that a quantile is at most a quarter larger than the duration it stands
// for. What is longer than 2 minutes counts as no more than that.
package metrics
