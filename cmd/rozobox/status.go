package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

// The answers of status that are not "healthy".
var (
	errDegraded    = errors.New("degraded")
	errUnavailable = errors.New("unavailable: a volume or the gateway does not serve")
)

func newStatus() *cobra.Command {
	var path string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show nodes, volumes and the gateway",
		Long: "Shows nodes, volumes and the gateway. Where no gateway answers, the nodes are\n" +
			"asked. The keys of the JSON are an interface: they are only ever added to.\n\n" +
			"EXIT STATUS\n" +
			"  0 healthy\n" +
			"  1 degraded: all volumes serve, but a node is missing, not up to date or\n" +
			"    read-only, or a block has fewer chunks than it should\n" +
			"  2 unavailable: a volume or the gateway does not serve; or any error",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(path)
			if err != nil {
				return err
			}
			status, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := show(cmd, status, asJSON); err != nil {
				return err
			}
			switch status.Health {
			case daemon.Healthy:
				return nil
			case daemon.Degraded:
				return errDegraded
			}
			return errUnavailable
		},
	}
	addConfig(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func show(cmd *cobra.Command, status *daemon.Status, asJSON bool) error {
	if !asJSON {
		return status.Print(cmd.OutOrStdout())
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(status)
}
