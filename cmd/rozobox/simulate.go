package main

import (
	"github.com/spf13/cobra"

	"rozobox/pkg/daemon/simulate"
)

func newSimulate() *cobra.Command {
	plan := simulate.Plan{}
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Play histories of faults against a simulated cluster",
		Long: "Runs a gateway over nodes in memory, with clients at work, while nodes crash,\n" +
			"links fail, cards are damaged and gateways replaced, in simulated time; every\n" +
			"read is compared with a model. A seed that fails prints its whole history.\n" +
			"With --over, the real client and server of the chunk protocol and a simulated\n" +
			"network are between gateway and nodes: this takes five times as long." +
			"\n\nEXIT STATUS\n  0 when nothing failed, 1 when something did.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := plan.Validate(); err != nil {
				return err
			}
			simulate.Main(cmd.OutOrStdout(), plan)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&plan.First, "seed", 1, "the first seed")
	flags.IntVar(&plan.Seeds, "seeds", 1, "how many seeds, one after another")
	flags.StringVar((*string)(&plan.Over), "over", "", "play over a network: quic or tls")
	flags.BoolVar(&plan.Matrix, "matrix", false, "play the crash matrix instead")
	flags.IntVar(&plan.Step, "every", 1, "with --matrix: only every so many cases")
	return cmd
}
