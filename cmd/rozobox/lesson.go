package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"rozobox/pkg/daemon"
	"rozobox/pkg/metrics"
)

// lesson plays a script on a demo that nobody sees, and prints each step.
func (o *demoOptions) lesson(ctx context.Context, out io.Writer) error {
	text, err := os.ReadFile(o.script)
	if err != nil {
		return fmt.Errorf("read the script: %w", err)
	}
	steps, err := parseScript(o.script, string(text))
	if err != nil {
		return err
	}
	if o.Logger, err = daemon.NewLogger(os.Stderr, "error"); err != nil {
		return err
	}
	keep, end, err := recorder(o.record)
	if err != nil {
		return err
	}
	defer end()
	return o.around(ctx, func(ctx context.Context, info daemon.DemoInfo) error {
		c, err := client(info.Watch)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		g, ctx := errgroup.WithContext(ctx)
		shown := make(chan metrics.Cluster)
		g.Go(func() error { return pictures(ctx, c, &chosenStripe{}, keep, shown) })
		g.Go(func() error {
			defer cancel()
			return (&stage{out: out, info: info, shown: shown, began: time.Now()}).play(ctx, steps)
		})
		return g.Wait()
	})
}

// stage is where a script is played.
type stage struct {
	out   io.Writer
	info  daemon.DemoInfo
	shown <-chan metrics.Cluster
	began time.Time
	last  metrics.Cluster // that was shown
	it    string          // the card that something was done to last
}

// play plays the steps, and says in the end how the film went.
func (s *stage) play(ctx context.Context, steps []step) error {
	for _, st := range steps {
		s.say(st.text)
		if err := st.do(ctx, s); err != nil {
			return fmt.Errorf("%s: %s: %w", st.where, st.text, err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return s.report()
}

func (s *stage) say(text string) {
	fmt.Fprintf(s.out, "%6.1f s  %s\n", time.Since(s.began).Seconds(), text)
}

func (s *stage) report() error {
	f := s.last.Film
	if f == nil {
		return nil
	}
	s.say(fmt.Sprintf("film: longest pause %.0f ms, stalled for %.1f s, %.1f MiB checked, %d bytes wrong",
		f.LongestPauseSeconds*1e3, f.StalledSeconds, float64(f.CheckedBytes)/(1<<20), f.WrongBytes))
	if f.WrongBytes > 0 {
		return fmt.Errorf("the film does not have its hash: %d bytes are wrong", f.WrongBytes)
	}
	return nil
}

// until takes pictures until one is as it should be, and returns whether there
// was one.
func (s *stage) until(ctx context.Context, d time.Duration, ok func(*metrics.Cluster) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		select {
		case s.last = <-s.shown:
			if ok(&s.last) {
				return ctx.Err() == nil // where both came at once, it was too late
			}
		case <-ctx.Done():
			return false
		}
	}
}

// act does something to a card, which may be named by its state.
func (s *stage) act(ctx context.Context, which string, a daemon.Action) error {
	id, err := s.card(ctx, which)
	if err != nil {
		return err
	}
	if id != which {
		s.say("  " + string(a) + " " + id)
	}
	s.it = id
	return s.info.Act(id, a)
}

// card returns the id of a card: "it", or the first in a state, or by its id.
func (s *stage) card(ctx context.Context, which string) (id string, err error) {
	if which == "it" && s.it != "" {
		return s.it, nil
	}
	if !isState(which) {
		return which, nil
	}
	if !s.until(ctx, expectPatience, func(c *metrics.Cluster) bool { return countIn(c, which) > 0 }) {
		return "", fmt.Errorf("no card is %s: %s", which, outline(&s.last))
	}
	i := slices.IndexFunc(s.last.Cards, func(k metrics.Card) bool { return k.State == which })
	return s.last.Cards[i].ID, nil
}

// outline is a picture in a line: what there was instead.
func outline(c *metrics.Cluster) string {
	var parts []string
	for i := range c.Cards {
		k := &c.Cards[i]
		parts = append(parts, k.ID+" "+k.State)
		if k.Sync != metrics.In {
			parts[i] += " " + k.Sync
		}
	}
	if f := c.Film; f != nil {
		parts = append(parts, fmt.Sprintf("film %s, pause %.0f ms", filmWord(f), f.LongestPauseSeconds*1e3))
	}
	return strings.Join(parts, ", ")
}
