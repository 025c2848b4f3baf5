// Package prom shows figures to Prometheus. It keeps none of its own: at each
// scrape its user is asked for them.
//
// A Family is all that has one name; its figures differ by the values of their
// labels. Names and units follow Prometheus' conventions: base units (seconds,
// bytes), counters end in _total. Beside the user's families there are those
// of the Go runtime (go_...) and of the process (process_...).
package prom
