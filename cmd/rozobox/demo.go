package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
	"rozobox/pkg/monitor/web"
)

func newDemo() *cobra.Command {
	opts := daemon.DemoOptions{Size: daemon.DefaultDemoSize}
	var headless bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster on this machine",
		Long: "Runs chunk servers and a gateway in this process and exports a volume \"demo\",\n" +
			"until Ctrl-C. The data folder is kept, and used again at the next start; to\n" +
			"begin anew, remove it." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := "warn"
			if headless {
				level = "info"
			}
			var err error
			if opts.Logger, err = daemon.NewLogger(os.Stderr, level); err != nil {
				return err
			}
			opts.Page = web.Handler()
			opts.Ready = func(info daemon.DemoInfo) { announce(cmd.OutOrStdout(), info, headless) }
			return daemon.Demo(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Dir, "dir", daemon.DefaultDemoDir, "data folder; made where it is missing")
	flags.IntVar(&opts.Nodes, "nodes", 0,
		fmt.Sprintf("chunk servers (default: what the folder has, or %d)", daemon.DefaultDemoNodes))
	flags.StringVar((*string)(&opts.Transport), "transport", "",
		fmt.Sprintf("quic or tls (default: what the folder has, or %s)", daemon.DefaultTransport))
	flags.Var(&opts.Size, "size", "bytes of the volume, when it is made")
	flags.StringVar(&opts.NBD, "nbd", daemon.DefaultNBD, "where the volume is exported")
	flags.BoolVar(&headless, "headless", false, "log what happens, and explain nothing")
	return cmd
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
