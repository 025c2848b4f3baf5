package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

func newNode() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Give a node up, or put a new card into it",
		Long: "Gives a node up, or puts a new card into it. Nodes that were off, restarted or\n" +
			"cut off need neither: they come back by themselves. Both need the gateway\n" +
			"running, and its own configuration and key." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addConfig(cmd, &path)
	cmd.AddCommand(
		newNodeChange(&path, nodeChange{
			use:   "lost ID",
			short: "Give a node up for good",
			long: "Gives a node up that is out and does not come back: it has no vote any more, so\n" +
				"that two more may die. It is refused until everything that was on the node is\n" +
				"on the others, and while fewer nodes than a block has chunks would be left. The\n" +
				"node keeps its place: `rozobox node replace` fills a new card for it.",
			change: (*daemon.Client).LoseNode,
			done:   "Node %s is given up in %s.\n",
		}),
		newNodeChange(&path, nodeChange{
			use:   "replace ID",
			short: "Take a node's card for gone",
			long: "Takes the card of a node for gone: whatever card stands in it when it starts\n" +
				"again is filled anew. It is refused while the node serves, and while a block\n" +
				"cannot be read without the old card.",
			change: (*daemon.Client).ReplaceNode,
			done:   "The card of node %s is replaced in %s. Start the node: it is filled by itself.\n",
		}),
	)
	return cmd
}

type nodeChange struct {
	use, short, long, done string
	change                 func(c *daemon.Client, ctx context.Context, id string) ([]string, error)
}

func newNodeChange(path *string, n nodeChange) *cobra.Command {
	return &cobra.Command{
		Use:   n.use,
		Short: n.short,
		Long:  n.long + exitStatus,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client(*path)
			if err != nil {
				return err
			}
			volumes, err := n.change(c, cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(volumes) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "No volume has node %s: there is nothing to do.\n", args[0])
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), n.done, args[0], strings.Join(volumes, ", "))
			return nil
		},
	}
}
