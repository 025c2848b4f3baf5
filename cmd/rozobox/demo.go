package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"rozobox/pkg/daemon"
	"rozobox/pkg/daemon/film"
	"rozobox/pkg/monitor"
	"rozobox/pkg/monitor/web"
)

// demoOptions are the flags of rozobox demo.
type demoOptions struct {
	daemon.DemoOptions
	headless             bool
	play, script, record string
}

func newDemo() *cobra.Command {
	var opts demoOptions
	opts.Size, opts.Page = daemon.DefaultDemoSize, web.Handler()
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster on this machine, and see it work",
		Long: "Runs chunk servers and a gateway in this process and exports a volume \"demo\".\n" +
			"The data folder is kept, and used again at the next start; to begin anew,\n" +
			"remove it.\n\n" +
			"On a terminal it shows the monitor, with keys to unplug, freeze, slow down, wipe\n" +
			"and plug in the chosen card, while a film plays from a volume \"film\", which each\n" +
			"start makes anew. A film's bit rate is known for MP4 and Matroska; others play at\n" +
			"8 Mbit/s. Elsewhere, and on a terminal of less than 40 by 12, it says what to\n" +
			"type, and runs until Ctrl-C; with --headless it logs instead.\n\n" +
			"A script has one step on each line, and ends the demo when it has ended:\n\n" +
			"  wait 3s\n" +
			"  unplug pi3      or freeze, slow, wipe, plug; for pi3 also working, idle,\n" +
			"                  unavailable: the first such card; or it: the card of before\n" +
			"  film            stops the film, or lets it go on\n" +
			"  expect 4 working within 10s\n" +
			"  expect it unavailable within 1.5s  or idle, working, in, out, resyncing, slow\n" +
			"  expect film plays within 10s       or waits, or paused\n" +
			"  expect film pause below 100ms\n" +
			"  # a remark" + exitStatus,
		Example: "  rozobox demo --play film.mp4\n" +
			"  rozobox demo --headless --script lesson.txt --record lesson.rec\n" +
			"  rozobox monitor --replay lesson.rec --speed 4",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return opts.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Dir, "dir", daemon.DefaultDemoDir, "data folder; made where it is missing")
	flags.IntVar(&opts.Nodes, "nodes", 0,
		fmt.Sprintf("chunk servers (default: what the folder has, or %d)", daemon.DefaultDemoNodes))
	flags.StringVar((*string)(&opts.Transport), "transport", "",
		fmt.Sprintf("quic or tls (default: what the folder has, or %s)", daemon.DefaultTransport))
	flags.Var(&opts.Size, "size", "bytes of the volume, when it is made")
	flags.Int64Var(&opts.Extent, "extent", 0, fmt.Sprintf("consecutive blocks of new volumes that "+
		"share their cards (default: what the folder has, or %d)", daemon.DefaultDemoExtent))
	flags.StringVar(&opts.NBD, "nbd", daemon.DefaultNBD, "where the volumes are exported")
	flags.StringVar(&opts.play, "play", "", "film to play (default: 8 Mbit/s of generated data)")
	flags.BoolVar(&opts.headless, "headless", false, "log what happens, and explain nothing")
	flags.StringVar(&opts.script, "script", "", "with --headless: play the steps in FILE")
	flags.StringVar(&opts.record, "record", "", "write what the monitor shows into a new FILE")
	return cmd
}

var (
	errScript = errors.New("--script needs --headless")
	errUnseen = errors.New("--play and --record need a terminal, or --headless with --script")
)

// run chooses how the demo is shown.
func (o *demoOptions) run(ctx context.Context, out io.Writer) error {
	switch {
	case o.script != "" && !o.headless:
		return errScript
	case o.script != "":
		return o.withFilm(func() error { return o.lesson(ctx, out) })
	case !o.headless && fits(os.Stdout):
		return o.withFilm(func() error { return o.screen(ctx, out) })
	case o.play != "" || o.record != "":
		return errUnseen
	}
	return o.plain(ctx, out)
}

// plain runs until ctx ends, and says what can be done meanwhile.
func (o *demoOptions) plain(ctx context.Context, out io.Writer) (err error) {
	level := "warn"
	if o.headless {
		level = "info"
	}
	if o.Logger, err = daemon.NewLogger(os.Stderr, level); err != nil {
		return err
	}
	o.Ready = func(info daemon.DemoInfo) { announce(out, info, o.headless) }
	return daemon.Demo(ctx, o.DemoOptions)
}

// withFilm opens the film for as long as do runs.
func (o *demoOptions) withFilm(do func() error) error {
	if o.play == "" {
		o.Film = film.Generated()
		return do()
	}
	f, file, err := film.Open(o.play)
	if err != nil {
		return err
	}
	defer file.Close()
	o.Film = f
	return do()
}

// around runs the demo around do, which may use it until it returns.
func (o *demoOptions) around(
	ctx context.Context, do func(context.Context, daemon.DemoInfo) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	ready := make(chan daemon.DemoInfo, 1)
	o.Ready = func(info daemon.DemoInfo) { ready <- info }
	g.Go(func() error {
		defer cancel()
		return daemon.Demo(ctx, o.DemoOptions)
	})
	g.Go(func() error {
		defer cancel()
		select {
		case info := <-ready:
			return do(ctx, info)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// screen shows the monitor until the user quits.
func (o *demoOptions) screen(ctx context.Context, out io.Writer) error {
	o.Logger = slog.New(slog.DiscardHandler) // the screen shows the events
	fmt.Fprintln(out, "Starting chunk servers and a gateway ...")
	err := o.around(ctx, func(ctx context.Context, info daemon.DemoInfo) error {
		return liveMonitor(ctx, info.Watch, o.record, demoKeys(info))
	})
	if err == nil {
		fmt.Fprintf(out, "The demo has ended. Its data is in %s.\n", o.Dir)
	}
	return err
}

// demoKeys are the keys that do something to the chosen card.
func demoKeys(info daemon.DemoInfo) (keys []monitor.Key) {
	for _, k := range []struct {
		key, help string
		action    daemon.Action
	}{
		{"u", "unplug", daemon.Unplug},
		{"f", "freeze", daemon.Freeze},
		{"s", "slow", daemon.Slow},
		{"w", "wipe", daemon.Wipe},
		{"p", "plug in", daemon.Plug},
	} {
		keys = append(keys, monitor.Key{Key: k.key, Help: k.help, Do: func(card string) {
			info.Act(card, k.action) // what is refused changes nothing on the screen either
		}})
	}
	return append(keys, monitor.Key{Key: " ", Help: "film", Explain: "stop the film, or let it go on",
		Do: func(string) { info.PauseFilm() }})
}

// Least terminal that the monitor is of use on.
const minColumns, minRows = 40, 12

// fits reports whether f is a terminal that is large enough for the monitor.
func fits(f *os.File) bool {
	if !isTerminal(f) {
		return false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil && (size.Col == 0 || size.Col >= minColumns && size.Row >= minRows)
}

// fioBytes is enough to measure, and few enough to wait for.
const fioBytes = 256 << 20

// announce says what to type next.
func announce(w io.Writer, info daemon.DemoInfo, headless bool) {
	uri := fmt.Sprintf("nbd://%s/%s", info.NBD, info.Volume.Name)
	if headless {
		fmt.Fprintln(w, "ready", uri)
		return
	}
	fmt.Fprintf(w, `
Volume %[1]q, %[2]v, is at %[3]s
Its data is in %[4]s and stays there. Ctrl-C stops.

Look at it, in another terminal:
  %[5]s status --config %[6]s
  nbdinfo %[3]s

Measure it (writes over what is there):
  fio --name=demo --ioengine=nbd --uri=%[3]s --rw=randwrite --bs=4k --iodepth=32 --size=%[9]v

Make a file system on it (as root, on Linux with the nbd module):
  modprobe nbd
  nbd-client -N %[1]s -C 4 -t 30 -b 4096 %[7]s %[8]d /dev/nbd0
  mkfs.ext4 /dev/nbd0
  mount /dev/nbd0 /mnt

And away with it again:
  umount /mnt
  nbd-client -d /dev/nbd0
`, info.Volume.Name, daemon.Size(info.Volume.SizeBytes), uri, info.Dir, program(), info.Config,
		info.NBD.IP, info.NBD.Port, daemon.Size(min(info.Volume.SizeBytes, fioBytes)))
}

// program is how this program was started, as one would type it again. `go
// run` starts it from a folder that is gone afterwards.
func program() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/rozobox"
	}
	return os.Args[0]
}
