package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

func newVolume() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Make, list and delete volumes",
		Long: "Makes, lists and deletes volumes, while the gateway runs. Making and deleting\n" +
			"need the gateway's own configuration and key." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addConfig(cmd, &path)
	cmd.AddCommand(newVolumeCreate(&path), newVolumeList(&path), newVolumeDelete(&path))
	return cmd
}

// addConfig adds the flag by which commands find the gateway.
func addConfig(cmd *cobra.Command, path *string) {
	cmd.PersistentFlags().StringVar(path, "config", "",
		"gateway.toml or monitor.toml (default: the first there is of "+
			strings.Join(daemon.ConfigPaths, ", ")+")")
}

func client(path string) (*daemon.Client, error) {
	if path == "" {
		var err error
		if path, err = daemon.FindConfig(); err != nil {
			return nil, err
		}
	}
	return daemon.NewClient(path)
}

func newVolumeCreate(path *string) *cobra.Command {
	var v daemon.NewVolume
	var size, blockSize daemon.Size
	cmd := &cobra.Command{
		Use:   "create NAME --size SIZE",
		Short: "Make a volume",
		Long: "Makes a volume and exports it under its name. It takes room on the nodes only\n" +
			"as it is written. What is not said is as the gateway's configuration has it." + exitStatus,
		Example: "  rozobox volume create films --size 64GiB",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client(*path)
			if err != nil {
				return err
			}
			v.Name, v.SizeBytes, v.BlockSizeBytes = args[0], int64(size), int64(blockSize)
			made, err := c.CreateVolume(cmd.Context(), v)
			if err != nil {
				return err
			}
			return printVolumes(cmd.OutOrStdout(), []daemon.VolumeStatus{*made})
		},
	}
	flags := cmd.Flags()
	flags.Var(&size, "size", "bytes of the volume, as in 64GiB")
	flags.Var(&blockSize, "block-size", "bytes of a block, a power of two from 4KiB to 1MiB")
	flags.IntVar(&v.DataChunks, "data", 0, "data chunks of a block")
	flags.IntVar(&v.ParityChunks, "parity", 0, "parity chunks of a block: nodes that may die")
	flags.Int64Var(&v.ExtentBlocks, "extent", 0, "consecutive blocks that share their nodes")
	if err := cmd.MarkFlagRequired("size"); err != nil {
		panic(err) // the flag is three lines above
	}
	return cmd
}

func newVolumeList(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the volumes",
		Long:  "Lists the volumes. `rozobox status --json` tells more." + exitStatus,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(*path)
			if err != nil {
				return err
			}
			status, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return printVolumes(cmd.OutOrStdout(), status.Volumes)
		},
	}
}

func printVolumes(w io.Writer, volumes []daemon.VolumeStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	daemon.PrintVolumes(t, volumes)
	return t.Flush()
}

func newVolumeDelete(path *string) *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a volume with all its data",
		Long: "Deletes a volume with all its data, for good, even while clients use it.\n" +
			"Asks for the name again, unless --confirm has it." + exitStatus,
		Example: "  rozobox volume delete films --confirm films",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client(*path)
			if err != nil {
				return err
			}
			if confirm == "" {
				if confirm, err = askName(cmd, args[0]); err != nil {
					return err
				}
			}
			if confirm != args[0] {
				return fmt.Errorf("delete volume %q: confirmed with %q: nothing is deleted", args[0], confirm)
			}
			return c.DeleteVolume(cmd.Context(), args[0])
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the name again, for scripts")
	return cmd
}

func askName(cmd *cobra.Command, name string) (string, error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "This deletes %q and all its data for good. Type its name to go on: ", name)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("delete volume %q: read the confirmation: %w", name, err)
	}
	return strings.TrimSpace(line), nil
}
