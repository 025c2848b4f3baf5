package main

import (
	"reflect"
	"testing"
	"time"

	"rozobox/pkg/metrics"
)

// A chosen stripe keeps who gave it, until it is read or written anew.
func TestTheLastReadIsKept(t *testing.T) {
	read := metrics.Stripe{
		Volume: "film", Block: 7, Version: "3.1", Read: time.Unix(1, 0),
		Chunks: []metrics.StripeChunk{
			{Index: 0, Node: "pi1", State: metrics.Present, Asked: true, Used: true, Seconds: 0.002},
			{Index: 1, Node: "pi2", State: metrics.Present},
		},
	}
	looked := func() *metrics.Stripe {
		s := read
		s.Read = time.Time{}
		s.Chunks = []metrics.StripeChunk{
			{Index: 0, Node: "pi1", State: metrics.Unavailable}, {Index: 1, Node: "pi2", State: metrics.Present},
		}
		return &s
	}
	got := looked()
	keepRead(got, &read)
	c := got.Chunks[0]
	if !got.Read.Equal(read.Read) || !c.Used || c.Seconds != 0.002 || c.State != metrics.Unavailable {
		t.Errorf("%+v", got)
	}
	for name, other := range map[string]func(s *metrics.Stripe){
		"version": func(s *metrics.Stripe) { s.Version = "3.2" },
		"block":   func(s *metrics.Stripe) { s.Block = 8 },
		"volume":  func(s *metrics.Stripe) { s.Volume = "notes" },
		"read":    func(s *metrics.Stripe) { s.Read = time.Unix(2, 0) },
	} {
		got, want := looked(), looked()
		other(got)
		other(want)
		keepRead(got, &read)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("another %s: %+v", name, got)
		}
	}
	keepRead(nil, &read)
	keepRead(got, nil)
}
