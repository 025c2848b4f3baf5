package main

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

func newChunkserver() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "chunkserver",
		Short: "Serve the chunks on this machine's card",
		Long: "Serves the store of one card until SIGINT or SIGTERM, in the foreground, with\n" +
			"half of the machine's cores unless the environment's GOMAXPROCS says otherwise.\n" +
			"Logs to standard error: text on a terminal, else JSON. Every key of the\n" +
			"configuration file is explained in configs/chunkserver.toml." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := daemon.LoadChunkserver(path)
			if err != nil {
				return err
			}
			logger, err := daemon.NewLogger(os.Stderr, config.LogLevel)
			if err != nil {
				return err
			}
			shareCores()
			return daemon.RunChunkserver(cmd.Context(), config, logger)
		},
	}
	cmd.Flags().StringVar(&path, "config", "chunkserver.toml", "configuration file")
	return cmd
}

// shareCores makes this process use half of the cores: a card's computer has
// other things to do, its kernel's network above all, and threads that wake
// each other up for every packet cost more than they bring (scripts/bench.sh
// with 8 chunk servers on 2 cores: 20 to 40 % of all figures).
func shareCores() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}
