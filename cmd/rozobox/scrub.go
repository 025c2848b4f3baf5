package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

var (
	errMended   = errors.New("a chunk was wrong, and is mended")
	errUnmended = errors.New("there are blocks that cannot be mended")
)

// progressEvery is how often scrub says how far it is.
const progressEvery = 5 * time.Second

func newScrub() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "scrub [VOLUME]",
		Short: "Verify every chunk of a volume, or of all",
		Long: "Reads every chunk of a volume, or of one volume after the other, on its card,\n" +
			"compares versions between the cards, rebuilds what is wrong from the others, and\n" +
			"prints what it was: node, block and cause. Interrupted, it goes on in the\n" +
			"gateway. It needs the gateway running, and its own configuration and key.\n\n" +
			"EXIT STATUS\n" +
			"  0 all was well\n" +
			"  1 something was wrong, and is mended\n" +
			"  2 something could not be mended; or any error",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client(path)
			if err != nil {
				return err
			}
			volumes := args
			if len(volumes) == 0 {
				if volumes, err = c.VolumeNames(cmd.Context()); err != nil {
					return err
				}
			}
			return scrubAll(cmd, c, volumes)
		},
	}
	addConfig(cmd, &path)
	return cmd
}

// scrubAll returns the worst that was found.
func scrubAll(cmd *cobra.Command, c *daemon.Client, volumes []string) (worst error) {
	for _, name := range volumes {
		said := time.Now()
		report, err := c.Scrub(cmd.Context(), name, func(v daemon.VolumeStatus) {
			if line := v.Repair.String(); line != "" && time.Since(said) > progressEvery {
				said = time.Now()
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", name, line)
			}
		})
		if err != nil {
			return err
		}
		report.Print(cmd.OutOrStdout(), name)
		switch {
		case report.Failed > 0:
			worst = errUnmended
		case report.Mended > 0 && worst == nil:
			worst = errMended
		}
	}
	return worst
}
