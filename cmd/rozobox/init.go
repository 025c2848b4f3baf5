package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"rozobox/pkg/daemon"
)

type initFlags struct {
	daemon.InitOptions
	nodes   []string
	addNode string
}

func newInit() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init --dir DIR --name NAME --node ID=HOST:PORT ...",
		Short: "Make a cluster's certificates and configuration files",
		Long: "Makes the cluster's own CA, and one folder for each chunk server, for the\n" +
			"gateway and for a monitor, each with its configuration, certificate and key,\n" +
			"to be copied to its machine. Overwrites nothing.\n\n" +
			"With --add-node, adds a node to a cluster that init has made: its folder, and\n" +
			"its place in the gateway's and the monitor's node lists. Volumes that exist\n" +
			"keep the nodes that they were made with." + exitStatus,
		Example: "  rozobox init --dir lab --name lab --node pi1=10.0.0.11:7400 --node pi2=10.0.0.12:7400 ...\n" +
			"  rozobox init --dir lab --add-node pi9=10.0.0.19:7400",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.addNode != "" {
				return f.add(cmd.OutOrStdout())
			}
			return f.make(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Dir, "dir", "", "folder of the cluster's files")
	flags.StringVar(&f.Name, "name", "", "name of the cluster")
	flags.StringSliceVar(&f.nodes, "node", nil, "a chunk server, ID=HOST:PORT; once for each")
	flags.StringVar(&f.addNode, "add-node", "", "one more chunk server, ID=HOST:PORT")
	flags.StringVar((*string)(&f.Transport), "transport", string(daemon.DefaultTransport),
		"what connects gateway and nodes: quic (over UDP) or tls (over TCP)")
	flags.StringVar(&f.NBD, "nbd", daemon.DefaultNBD, "where the gateway exports volumes")
	flags.StringVar(&f.Admin, "admin", daemon.DefaultAdmin, "where the gateway answers status and volume commands")
	flags.IntVar(&f.Volume.DataChunks, "data", daemon.DefaultDataChunks, "data chunks of new volumes")
	flags.IntVar(&f.Volume.ParityChunks, "parity", daemon.DefaultParityChunks, "parity chunks of new volumes")
	cmd.MarkFlagsMutuallyExclusive("add-node", "name")
	cmd.MarkFlagsMutuallyExclusive("add-node", "node")
	cmd.MarkFlagsMutuallyExclusive("add-node", "transport")
	return cmd
}

func (f *initFlags) make(out io.Writer) error {
	for _, text := range f.nodes {
		n, err := parseNode(text)
		if err != nil {
			return fmt.Errorf("--node: %w", err)
		}
		f.Nodes = append(f.Nodes, n)
	}
	if err := daemon.Init(f.InitOptions); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `Made cluster %q in %s.
Copy each folder to its machine and keep %[2]s/ca to yourself: it can make members.
On each chunk server:  rozobox chunkserver --config chunkserver.toml
On the gateway:        rozobox gateway --config gateway.toml
Then, beside it:       rozobox volume create NAME --size 64GiB --config gateway.toml
`, f.Name, f.Dir)
	return err
}

func (f *initFlags) add(out io.Writer) error {
	n, err := parseNode(f.addNode)
	if err != nil {
		return fmt.Errorf("--add-node: %w", err)
	}
	if err := daemon.AddNode(f.Dir, n); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `Made %s/%s and added it to the node lists in %[1]s/gateway and %[1]s/monitor.
Copy all three to their machines and restart the gateway.
Volumes that exist keep their nodes; new volumes use this one too.
`, f.Dir, n.ID)
	return err
}

func parseNode(text string) (daemon.Node, error) {
	id, addr, ok := strings.Cut(text, "=")
	if !ok {
		return daemon.Node{}, fmt.Errorf("%q: want ID=HOST:PORT", text)
	}
	return daemon.Node{ID: id, Addr: addr}, nil
}
