package main

import (
	"github.com/spf13/cobra"
)

// Exit statuses other than 0; the help texts explain them.
const (
	exitDegraded = 1 // degraded now, or until a scrub mended it
	exitError    = 2
)

const exitStatus = "\n\nEXIT STATUS\n  0 when all went well, 2 on any error."

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "rozobox",
		Short: "A network block device on a shelf of small machines",
		Long: "Rozobox spreads a network block device (NBD) over small machines with\n" +
			"erasure coding. Try it: rozobox demo" + exitStatus,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(
		newDemo(),
		newInit(),
		newChunkserver(),
		newGateway(),
		newVolume(),
		newStatus(),
		newMonitor(),
		newSimulate(),
		newNode(),
		newRepair(),
		newScrub(),
		newExplain(),
		newAttach(),
		newDetach(),
		newVersion(),
	)
	return root
}
