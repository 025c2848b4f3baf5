package watch

import (
	"slices"

	"rozobox/pkg/metrics"
)

// assemble adds to what the nodes say of themselves what a gateway knows; nil
// where none answers.
func assemble(cards []metrics.Card, known *metrics.Cluster) metrics.Cluster {
	c := metrics.Cluster{Cards: cards}
	if known != nil {
		c.Gateway, c.Volumes, c.Jobs = known.Gateway, known.Volumes, known.Jobs
		c.Events, c.Stripe, c.Film = known.Events, known.Stripe, known.Film
	}
	for i := range c.Cards {
		c.Cards[i].Sync = metrics.Unknown
		if known == nil {
			continue
		}
		same := func(k metrics.Card) bool { return k.ID == c.Cards[i].ID }
		if at := slices.IndexFunc(known.Cards, same); at >= 0 {
			join(&c.Cards[i], &known.Cards[at])
		}
	}
	return c
}

// join puts into a card what the gateway says of it. Whether it answers, the
// card itself shows.
func join(c, known *metrics.Card) {
	switch known.Sync {
	case metrics.In, metrics.Out, metrics.Resyncing, metrics.Lost:
		c.Sync = known.Sync
	}
	c.Slow = known.Slow && c.State != metrics.Unavailable
	if c.Why == "" {
		c.Why = known.Why
	}
}
