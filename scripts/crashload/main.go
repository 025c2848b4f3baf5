// Command crashload writes to a volume while it lets processes be killed, and
// then checks that what it reads is what the volume's promises allow: no write
// that was flushed (or, with --keep replied, replied to) is gone, and every unit
// is one write, whole.
//
// A round is: connect, read everything and compare, flush, read again; write,
// read and flush at random from many workers; meanwhile run --crash, after a
// while --revive; stop. Both are commands for bash.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"time"
)

// options are the command's flags.
type options struct {
	server, volume string
	unit           int // bytes; 0: the export's preferred block size
	units          int
	connections    int
	workers        int // on each connection
	rounds         int
	crash, revive  string
	keep           string // "replied" or "flushed"
	errors         bool   // the server may reply with errors
	longest        time.Duration
	patience       time.Duration
	seed           uint64
}

func parse() options {
	var o options
	flag.StringVar(&o.server, "server", "127.0.0.1:10809", "NBD server")
	flag.StringVar(&o.volume, "volume", "", "export name")
	flag.IntVar(&o.unit, "unit", 0, "bytes of a unit, a multiple of 512; 0 means the export's block size")
	flag.IntVar(&o.units, "units", 512, "units to write to, from the start of the volume")
	flag.IntVar(&o.connections, "connections", 4, "connections")
	flag.IntVar(&o.workers, "workers", 8, "requests under way on each connection")
	flag.IntVar(&o.rounds, "rounds", 10, "crashes")
	flag.StringVar(&o.crash, "crash", "", "bash command that kills")
	flag.StringVar(&o.revive, "revive", "", "bash command that starts again")
	flag.StringVar(&o.keep, "keep", "flushed", "what must survive: replied or flushed writes")
	flag.BoolVar(&o.errors, "errors", false, "the server may reply with errors")
	flag.DurationVar(&o.longest, "longest", time.Second, "longest time of each phase of a round")
	flag.DurationVar(&o.patience, "patience", time.Minute, "how long the server may take to come back, or to reply")
	flag.Uint64Var(&o.seed, "seed", 0, "of the random choices; 0 draws one")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	return o
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o := parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "crashload: %v (seed %d)\n", err, o.seed)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.keep != "replied" && o.keep != "flushed" {
		return fmt.Errorf("--keep %q: want replied or flushed", o.keep)
	}
	r := &runner{options: o, rng: rand.New(rand.NewPCG(o.seed, 1))}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	for round := range o.rounds {
		if err := r.round(ctx); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	r.report()
	return nil
}

// hook runs one of the commands. Its output is the user's to see.
func hook(ctx context.Context, command string) error {
	if command == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("hook %q: %w", command, err)
	}
	return nil
}
