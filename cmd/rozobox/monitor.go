package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"rozobox/pkg/daemon"
	"rozobox/pkg/metrics"
	"rozobox/pkg/monitor"
)

var errNoTerminal = errors.New("monitor draws on a terminal, and this is none; " +
	"\"rozobox status\" prints the same once")

func newMonitor() *cobra.Command {
	var config, record, replay string
	var speed float64
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Watch the cards and the gateway",
		Long: "Shows all cards on a terminal, live: which are idle, working or unavailable, and\n" +
			"what each does; and what the gateway does, while one answers. The cards are\n" +
			"asked themselves, so that they are seen without a gateway, too. Press ? for the\n" +
			"keys. Colours always have words beside them; NO_COLOR=1 leaves them out.\n\n" +
			"With --record it also writes what it shows into a new file, and with --replay it\n" +
			"shows such a file again: space pauses, + and - change the speed." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !isTerminal(os.Stdout) {
				return errNoTerminal
			}
			if replay != "" {
				return replayMonitor(cmd.Context(), replay, speed)
			}
			return liveMonitor(cmd.Context(), config, record, nil)
		},
	}
	flags := cmd.Flags()
	addConfig(cmd, &config)
	flags.StringVar(&record, "record", "", "write what is shown into a new FILE")
	flags.StringVar(&replay, "replay", "", "show a recorded FILE")
	flags.Float64Var(&speed, "speed", 1, "of the replay")
	cmd.MarkFlagsMutuallyExclusive("replay", "record")
	cmd.MarkFlagsMutuallyExclusive("replay", "config")
	return cmd
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func replayMonitor(ctx context.Context, path string, speed float64) error {
	if !(speed > 0) {
		return fmt.Errorf("--speed %v: want more than 0", speed)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	player := monitor.NewPlayer(path, f, speed)
	return watch(ctx, monitor.Options{Player: player}, player.Run)
}

// liveMonitor asks the cluster that config names.
func liveMonitor(ctx context.Context, config, record string, keys []monitor.Key) error {
	c, err := client(config)
	if err != nil {
		return err
	}
	keep, end, err := recorder(record)
	if err != nil {
		return err
	}
	defer end()
	chosen := &chosenStripe{client: c, asked: make(chan place, 1)}
	opts := monitor.Options{Ask: chosen.ask, Keys: keys}
	return watch(ctx, opts, func(ctx context.Context, to chan<- metrics.Cluster) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return chosen.follow(ctx) })
		g.Go(func() error { return pictures(ctx, c, chosen, keep, to) })
		return g.Wait()
	})
}

// recorder keeps pictures in a new file, until end; nowhere without a path.
func recorder(path string) (keep func(*metrics.Cluster) error, end func() error, err error) {
	if path == "" {
		return func(*metrics.Cluster) error { return nil }, func() error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, nil, err
	}
	return monitor.NewRecorder(f).Record, f.Close, nil
}

// pictures hands on what c sees, with the stripe that was chosen, until ctx
// ends or a picture cannot be kept.
func pictures(ctx context.Context, c *daemon.Client, chosen *chosenStripe,
	keep func(*metrics.Cluster) error, to chan<- metrics.Cluster) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	for picture := range c.Watch(ctx, nil) { // to its end, which comes after that of ctx
		chosen.put(&picture)
		if err = errors.Join(err, keep(&picture)); err != nil {
			cancel()
		}
		select {
		case to <- picture:
		case <-ctx.Done():
		}
	}
	return err
}

// watch runs the screen and the source of its pictures, until the user quits
// or the source fails.
func watch(ctx context.Context, opts monitor.Options,
	source func(context.Context, chan<- metrics.Cluster) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	pictures := make(chan metrics.Cluster)
	opts.Source = pictures
	g.Go(func() error {
		defer close(pictures)
		return source(ctx, pictures)
	})
	g.Go(func() error {
		defer cancel()
		return monitor.Run(ctx, opts)
	})
	return g.Wait()
}

// lookEvery is how often the chosen stripe is asked for again.
const lookEvery = time.Second

// place is a block, by the offset of its first byte; without a volume it is
// the one that was read last, which the pictures have anyway.
type place struct {
	volume string
	offset int64
}

// chosenStripe is the stripe that the user chose.
type chosenStripe struct {
	client *daemon.Client
	asked  chan place // the newest choice, until it is taken

	mu     sync.Mutex // guards all below
	chosen bool       // rather than what was read last
	stripe *metrics.Stripe
}

// ask chooses; only the screen calls it.
func (c *chosenStripe) ask(volume string, offset int64) {
	select { // an older choice that was not taken is of no interest
	case <-c.asked:
	default:
	}
	c.asked <- place{volume, offset}
}

// follow asks for the chosen stripe until ctx ends. A new choice is read once
// and its chunks are verified, so that one sees who answers; later looks make
// no card work.
func (c *chosenStripe) follow(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var at place
	for {
		what := daemon.Explain{Offset: &at.offset}
		select {
		case at = <-c.asked:
			what.Read, what.Verify = true, true
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if at.volume == "" {
			c.set(false, nil)
			continue
		}
		// Why there is none, the picture shows: no gateway, or no such volume.
		told, _ := c.client.Explain(ctx, at.volume, what)
		keepRead(told, c.stripe) // only set, here, writes it
		c.set(true, told)
	}
}

// keepRead keeps, of an older look at the same version of a block, who gave it
// when it was read: while a stream goes on, the gateway soon forgets.
func keepRead(told, before *metrics.Stripe) {
	if told == nil || before == nil || !told.Read.IsZero() ||
		told.Volume != before.Volume || told.Block != before.Block || told.Version != before.Version {
		return
	}
	told.Read, told.Memory = before.Read, before.Memory
	for i := range told.Chunks {
		for _, old := range before.Chunks {
			if c := &told.Chunks[i]; c.Node == old.Node && c.Index == old.Index {
				c.Asked, c.Used, c.Hedged, c.Seconds = old.Asked, old.Used, old.Hedged, old.Seconds
			}
		}
	}
}

func (c *chosenStripe) set(chosen bool, stripe *metrics.Stripe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chosen, c.stripe = chosen, stripe
}

// put shows the chosen stripe in a picture.
func (c *chosenStripe) put(picture *metrics.Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chosen {
		picture.Stripe = c.stripe
	}
}
