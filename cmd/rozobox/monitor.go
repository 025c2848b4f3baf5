package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

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
			return liveMonitor(cmd.Context(), config, record)
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
func liveMonitor(ctx context.Context, config, record string) error {
	c, err := client(config)
	if err != nil {
		return err
	}
	keep := func(*metrics.Cluster) error { return nil }
	if record != "" {
		f, err := os.OpenFile(record, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		defer f.Close()
		keep = monitor.NewRecorder(f).Record
	}
	return watch(ctx, monitor.Options{}, func(ctx context.Context, to chan<- metrics.Cluster) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var err error
		for picture := range c.Watch(ctx, nil) { // to its end, which comes after that of ctx
			if err = errors.Join(err, keep(&picture)); err != nil {
				cancel()
			}
			select {
			case to <- picture:
			case <-ctx.Done():
			}
		}
		return err
	})
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
