package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

func newExplain() *cobra.Command {
	var path string
	var asJSON, read bool
	cmd := &cobra.Command{
		Use:   "explain VOLUME OFFSET",
		Short: "Show where the chunks of a block stand",
		Long: "Shows the block at an offset of a volume: on which cards its chunks stand, at\n" +
			"which version, which are on a spare and why, and which are damaged: each card\n" +
			"reads its chunk and verifies it. If the block was read in the 5 seconds after\n" +
			"an earlier look, also who was asked for it, who gave it in how many\n" +
			"milliseconds, and who was asked because another was late (hedged); --read has\n" +
			"the gateway read the block now.\n\n" +
			"It needs the gateway running, and changes nothing." + exitStatus,
		Example: "  rozobox explain films 1MiB --read",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			offset, err := daemon.ParseSize(args[1])
			if err != nil {
				return fmt.Errorf("explain volume %q: OFFSET: %w", args[0], err)
			}
			c, err := client(path)
			if err != nil {
				return err
			}
			at := int64(offset)
			told, err := c.Explain(cmd.Context(), args[0], daemon.Explain{Offset: &at, Verify: true, Read: read})
			if err != nil {
				return err
			}
			if !asJSON {
				return daemon.PrintStripe(cmd.OutOrStdout(), told)
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(told)
		},
	}
	addConfig(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&read, "read", false, "read the block first, to see who answers")
	return cmd
}
