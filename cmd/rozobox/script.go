package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rozobox/pkg/daemon"
	"rozobox/pkg/daemon/film"
	"rozobox/pkg/metrics"
)

// step is one line of a script.
type step struct {
	where string // file and line, for errors
	text  string
	do    func(ctx context.Context, s *stage) error
}

// expectPatience is how long expect waits where the script does not say.
const expectPatience = 5 * time.Second

var errStep = errors.New("no such step; \"rozobox demo --help\" has them all")

func parseScript(path, text string) (steps []step, err error) {
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		s := step{where: fmt.Sprintf("%s:%d", path, i+1), text: strings.Join(words, " ")}
		if s.do, err = parseStep(words); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.where, s.text, err)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func parseStep(words []string) (func(context.Context, *stage) error, error) {
	switch action := daemon.Action(words[0]); {
	case words[0] == "expect":
		return parseExpect(words[1:])
	case words[0] == "film" && len(words) == 1:
		return func(_ context.Context, s *stage) error {
			s.info.PauseFilm()
			return nil
		}, nil
	case words[0] == "wait" && len(words) == 2:
		d, err := time.ParseDuration(words[1])
		return func(ctx context.Context, s *stage) error {
			s.until(ctx, d, func(*metrics.Cluster) bool { return false })
			return nil
		}, err
	case slices.Contains(daemon.Actions(), action) && len(words) == 2:
		return func(ctx context.Context, s *stage) error { return s.act(ctx, words[1], action) }, nil
	}
	return nil, errStep
}

// parseExpect reads what stands behind expect.
func parseExpect(words []string) (func(context.Context, *stage) error, error) {
	patience := expectPatience
	if n := len(words); n >= 2 && words[n-2] == "within" {
		var err error
		if patience, err = time.ParseDuration(words[n-1]); err != nil {
			return nil, err
		}
		words = words[:n-2]
	}
	ok, err := parseCondition(words)
	return func(ctx context.Context, s *stage) error {
		holds := func(c *metrics.Cluster) bool { return ok(c, s.it) }
		if !s.until(ctx, patience, holds) && ctx.Err() == nil {
			return fmt.Errorf("not within %v: %s", patience, outline(&s.last))
		}
		return nil
	}, err
}

// condition is what is expected of a picture; it is the card of the last step.
type condition func(c *metrics.Cluster, it string) bool

func parseCondition(words []string) (condition, error) {
	switch {
	case len(words) == 4 && words[0] == "film" && words[1] == "pause" && words[2] == "below":
		most, err := time.ParseDuration(words[3])
		return func(c *metrics.Cluster, _ string) bool {
			return c.Film != nil && c.Film.LongestPauseSeconds < most.Seconds()
		}, err
	case len(words) != 2:
		return nil, errStep
	case words[0] == "film" && slices.Contains([]string{"plays", "waits", "paused"}, words[1]):
		return func(c *metrics.Cluster, _ string) bool { return c.Film != nil && filmWord(c.Film) == words[1] }, nil
	}
	if n, err := strconv.Atoi(words[0]); err == nil {
		if !isState(words[1]) {
			return nil, errStep
		}
		return func(c *metrics.Cluster, _ string) bool { return countIn(c, words[1]) == n }, nil
	}
	if !isState(words[1]) && !isStanding(words[1]) {
		return nil, errStep
	}
	return func(c *metrics.Cluster, it string) bool {
		id := words[0]
		if id == "it" {
			id = it
		}
		i := slices.IndexFunc(c.Cards, func(k metrics.Card) bool { return k.ID == id })
		return i >= 0 && cardIs(&c.Cards[i], words[1])
	}, nil
}

func isState(word string) bool {
	return slices.Contains([]string{metrics.Idle, metrics.Working, metrics.Unavailable}, word)
}

const slow = "slow" // of a card that answers late

func isStanding(word string) bool {
	return slices.Contains([]string{metrics.In, metrics.Out, metrics.Resyncing, metrics.Lost, slow}, word)
}

func cardIs(k *metrics.Card, word string) bool {
	return k.State == word || k.Sync == word || word == slow && k.Slow
}

func countIn(c *metrics.Cluster, state string) (n int) {
	for i := range c.Cards {
		if c.Cards[i].State == state {
			n++
		}
	}
	return n
}

func filmWord(f *metrics.Film) string {
	switch {
	case f.Why == film.Paused:
		return "paused"
	case f.Why != "" || f.BufferSeconds <= 0:
		return "waits"
	}
	return "plays"
}
