package main

import (
	"os"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

func newChunkserver() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "chunkserver",
		Short: "Serve the chunks on this machine's card",
		Long: "Serves the store of one card until SIGINT or SIGTERM, in the foreground.\n" +
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
			return daemon.RunChunkserver(cmd.Context(), config, logger)
		},
	}
	cmd.Flags().StringVar(&path, "config", "chunkserver.toml", "configuration file")
	return cmd
}
