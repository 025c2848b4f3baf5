package watch

import (
	"reflect"
	"testing"

	"rozobox/pkg/metrics"
)

func TestAssembleCards(t *testing.T) {
	for name, c := range map[string]struct {
		own   metrics.Card
		known []metrics.Card // nil: no gateway answers
		want  metrics.Card
	}{
		"no gateway": {
			metrics.Card{ID: "pi1", State: metrics.Idle}, nil,
			metrics.Card{ID: "pi1", State: metrics.Idle, Sync: metrics.Unknown},
		},
		"a gateway that does not know the card": {
			metrics.Card{ID: "pi1", State: metrics.Idle}, []metrics.Card{{ID: "pi2", Sync: metrics.Out}},
			metrics.Card{ID: "pi1", State: metrics.Idle, Sync: metrics.Unknown},
		},
		"slow": {
			metrics.Card{ID: "pi1", State: metrics.Working},
			[]metrics.Card{{ID: "pi2", Sync: metrics.Out}, {ID: "pi1", Sync: metrics.In, Slow: true}},
			metrics.Card{ID: "pi1", State: metrics.Working, Sync: metrics.In, Slow: true},
		},
		"gone is not slow, and the card's own trouble counts": {
			metrics.Card{ID: "pi1", State: metrics.Unavailable, Why: "no answer"},
			[]metrics.Card{{ID: "pi1", Sync: metrics.In, Slow: true, Why: "other"}},
			metrics.Card{ID: "pi1", State: metrics.Unavailable, Sync: metrics.In, Why: "no answer"},
		},
		"it answers, and the gateway has something against it": {
			metrics.Card{ID: "pi1", State: metrics.Idle},
			[]metrics.Card{{ID: "pi1", Sync: metrics.Resyncing, Why: "its card was replaced"}},
			metrics.Card{ID: "pi1", State: metrics.Idle, Sync: metrics.Resyncing, Why: "its card was replaced"},
		},
		"the gateway's figures of a card do not count": {
			metrics.Card{ID: "pi1", Addr: "a", State: metrics.Idle, UsedBytes: 1},
			[]metrics.Card{{ID: "pi1", Addr: "b", State: metrics.Unavailable, Sync: metrics.Lost, UsedBytes: 2}},
			metrics.Card{ID: "pi1", Addr: "a", State: metrics.Idle, Sync: metrics.Lost, UsedBytes: 1},
		},
		"a state that nobody knows": {
			metrics.Card{ID: "pi1"}, []metrics.Card{{ID: "pi1", Sync: "<b>fine</b>"}},
			metrics.Card{ID: "pi1", Sync: metrics.Unknown},
		},
	} {
		var known *metrics.Cluster
		if c.known != nil {
			known = &metrics.Cluster{Cards: c.known}
		}
		if got := assemble([]metrics.Card{c.own}, known); !reflect.DeepEqual(got.Cards[0], c.want) {
			t.Errorf("%s: %+v, want %+v", name, got.Cards[0], c.want)
		}
	}
}

func TestAssembleTakesTheRestFromTheGateway(t *testing.T) {
	known := &metrics.Cluster{
		Name: "theirs", Gateway: &metrics.Gateway{ID: "gw"}, Volumes: []metrics.Volume{{Name: "films"}},
		Jobs: []metrics.Job{{Kind: metrics.Scrub}}, Events: []metrics.Event{{Text: "so"}},
		Stripe: &metrics.Stripe{Block: 7}, Film: &metrics.Film{Name: "of a demonstration"},
	}
	want := *known
	want.Name, want.Cards = "", []metrics.Card{}
	if got := assemble([]metrics.Card{}, known); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := assemble([]metrics.Card{}, nil); !reflect.DeepEqual(got, metrics.Cluster{Cards: []metrics.Card{}}) {
		t.Errorf("without a gateway: %+v", got)
	}
}
