package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

func newRepair() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Pause, resume or slow down repair",
		Long: "Pauses, resumes or slows down the repair of all volumes: resync, rebuild and\n" +
			"scrub. What is said here is forgotten when the gateway restarts. It needs the\n" +
			"gateway running, and its own configuration and key." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addConfig(cmd, &path)
	pause := func(paused bool) func(cmd *cobra.Command, _ []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			return setPace(cmd, path, daemon.Pace{Paused: &paused})
		}
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "pause",
			Short: "Hold all repair",
			Long:  "Holds all repair: nodes that return stay out until it is resumed." + exitStatus,
			Args:  cobra.NoArgs,
			RunE:  pause(true),
		},
		&cobra.Command{
			Use:   "resume",
			Short: "Go on with repair",
			Long:  "Goes on with repair." + exitStatus,
			Args:  cobra.NoArgs,
			RunE:  pause(false),
		},
		&cobra.Command{
			Use:     "limit MB/s",
			Short:   "Bound what repair writes",
			Long:    "Bounds what the repair of each volume writes, in MB a second; \"off\" ends that." + exitStatus,
			Example: "  rozobox repair limit 20",
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				rate, err := daemon.ParseRate(args[0])
				if err != nil {
					return err
				}
				bytes := int64(rate)
				return setPace(cmd, path, daemon.Pace{LimitBytesPerSecond: &bytes})
			},
		},
	)
	return cmd
}

func setPace(cmd *cobra.Command, path string, pace daemon.Pace) error {
	c, err := client(path)
	if err != nil {
		return err
	}
	now, err := c.SetPace(cmd.Context(), pace)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s, until this is changed or the gateway restarts.\n", now)
	return nil
}
