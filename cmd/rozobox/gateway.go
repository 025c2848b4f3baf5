package main

import (
	"os"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
	"rozobox/pkg/monitor/web"
)

func newGateway() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Export the cluster's volumes over NBD",
		Long: "Opens every volume of the cluster and exports it over NBD until SIGINT or\n" +
			"SIGTERM, in the foreground. It takes the volumes from a gateway that serves\n" +
			"them already: run one at a time. Logs to standard error: text on a terminal,\n" +
			"else JSON. Every key of the configuration file is explained in\n" +
			"configs/gateway.toml." + exitStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := daemon.LoadGateway(path)
			if err != nil {
				return err
			}
			logger, err := daemon.NewLogger(os.Stderr, config.LogLevel)
			if err != nil {
				return err
			}
			return daemon.RunGateway(cmd.Context(), config, web.Handler(), logger)
		},
	}
	cmd.Flags().StringVar(&path, "config", "gateway.toml", "configuration file")
	return cmd
}
