package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
	"rozobox/pkg/nbd/attach"
)

const attachHelp = `Attach an NBD export to a block device of this Linux machine and keep it attached.

The command stays in the foreground: it replaces connections that die, trying
every --server in order, so that a mounted file system waits for a gateway that
restarts or moves. Ctrl-C ends the watch and leaves the device attached, for it
may be mounted; the same command again takes the watch over. Take the device
away with "rozobox detach DEVICE", which ends this command too.

VOLUME may be left out: the gateway's default export.

Give --timeout twice the gateway's io_timeout or more: a request that takes
longer is sent again on another connection.

When the export is no longer the one that was attached (another size, or an
incarnation that rose because replied writes may have been lost), the command
ends with an error and reconnects nothing: unmount, detach, attach, check.` + exitStatus

func newAttach() *cobra.Command {
	var opts attach.Options
	cmd := &cobra.Command{
		Use:   "attach DEVICE [VOLUME]",
		Short: "Attach a volume to a kernel block device such as /dev/nbd0",
		Long:  attachHelp,
		Example: "  rozobox attach /dev/nbd0 photos --server gateway1:10809 --server gateway2:10809\n" +
			"  mkfs.ext4 /dev/nbd0 && mount /dev/nbd0 /mnt",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Device = args[0]
			if len(args) > 1 {
				opts.Volume = args[1]
			}
			var err error
			if opts.Logger, err = daemon.NewLogger(os.Stderr, "info"); err != nil {
				return err
			}
			return attach.Run(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&opts.Servers, "server", []string{attach.DefaultServer}, "address of a gateway, HOST:PORT or unix:PATH; may be repeated")
	flags.IntVar(&opts.Connections, "connections", attach.DefaultConnections, "connections to open")
	flags.DurationVar(&opts.Timeout, "timeout", attach.DefaultTimeout, "after which a request is sent again on another connection")
	flags.DurationVar(&opts.DeadConnTimeout, "dead-conn-timeout", attach.DefaultDeadConnTimeout, "how long I/O waits while no gateway can be reached, before it fails")
	flags.IntVar(&opts.BlockSize, "block-size", attach.DefaultBlockSize, "logical block size of the device, 512 to 4096; keep it for the life of a file system")
	return cmd
}

const detachHelp = `Detach a block device. What was written to it reaches the volume first. A device
that is mounted or otherwise in use is left alone, unless --force is given.` + exitStatus

func newDetach() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "detach DEVICE",
		Short: "Detach a kernel block device",
		Long:  detachHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := attach.Detach(args[0], force); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is detached\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "detach even while in use: I/O under way fails")
	return cmd
}
