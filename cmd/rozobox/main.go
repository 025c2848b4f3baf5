// Command rozobox is a network block device on a shelf of small machines.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"rozobox/pkg/daemon"
)

// servers are the commands that run for as long as the machine does.
var servers = []string{"chunkserver", "gateway"}

func main() {
	if len(os.Args) > 1 && slices.Contains(servers, os.Args[1]) {
		daemon.RelaxTimers() // before signals are caught: it would forget them
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, errDegraded) || errors.Is(err, errMended) {
		return exitDegraded
	}
	fmt.Fprintln(stderr, "rozobox:", err)
	return exitError
}
