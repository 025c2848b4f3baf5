package daemon

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/cluster"
	"rozobox/pkg/metrics"
	"rozobox/pkg/stripe"
)

// Client is the command line's way to a gateway, and around it to the nodes.
type Client struct {
	config  string // the file
	cluster string
	admin   string
	nodes   []Node
	over    chunkrpc.Transport
	creds   chunkrpc.Credentials
	http    http.Client
}

const (
	// statusPatience bounds the wait for a gateway's status; it asks its
	// nodes for at most statTimeout.
	statusPatience = 3 * time.Second
	// changePatience bounds the wait for a change, longer than the gateway's.
	changePatience = changeTimeout + 2*time.Second
	// maxReply bounds what is read of an answer: 1024 volumes at 1 KiB.
	maxReply = 4 << 20
)

// ConfigPaths is where FindConfig looks, in this order.
var ConfigPaths = []string{
	filepath.Join(gatewayDir, gatewayFile),
	gatewayFile,
	filepath.Join(monitorDir, monitorFile),
	monitorFile,
	filepath.Join(DefaultDemoDir, gatewayDir, gatewayFile),
}

// FindConfig returns the first of ConfigPaths that exists.
func FindConfig() (string, error) {
	for _, path := range ConfigPaths {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, err
		}
	}
	return "", fmt.Errorf("find a configuration: none of %q is here; say --config FILE", ConfigPaths)
}

// NewClient reads a gateway.toml or, with any other name, a monitor.toml.
func NewClient(path string) (*Client, error) {
	if filepath.Base(path) == monitorFile {
		c, err := LoadMonitor(path)
		if err != nil {
			return nil, err
		}
		creds, err := c.credentials()
		return &Client{
			config: path, cluster: c.Cluster, admin: c.Admin, nodes: c.Nodes, over: c.Transport,
			creds: creds,
		}, err
	}
	c, err := LoadGateway(path)
	if err != nil {
		return nil, err
	}
	creds, err := c.credentials()
	return &Client{
		config: path, cluster: c.Cluster, admin: c.Admin, nodes: c.Nodes, over: c.Transport,
		creds: creds,
	}, err
}

// Status asks the gateway, and where that does not answer, the nodes.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var status Status
	asking, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	err := c.do(asking, http.MethodGet, "/v1/status", nil, &status)
	if err == nil {
		return &status, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return c.askNodes(ctx, err), nil
}

// CreateVolume makes a volume.
func (c *Client) CreateVolume(ctx context.Context, v NewVolume) (*VolumeStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("create volume %q: %w", v.Name, err)
	}
	var made VolumeStatus
	return &made, c.do(ctx, http.MethodPost, "/v1/volumes", body, &made)
}

// DeleteVolume deletes a volume with all its data.
func (c *Client) DeleteVolume(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	return c.do(ctx, http.MethodDelete, "/v1/volumes/"+url.PathEscape(name), nil, nil)
}

// do sends one request, signed where it changes something, and decodes the
// answer into reply.
func (c *Client) do(ctx context.Context, method, path string, body []byte, reply any) error {
	req, err := c.request(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the gateway at %s: %w", c.admin, err)
	}
	if method != http.MethodGet {
		if err := c.sign(req, body); err != nil {
			return err
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the gateway at %s, is it running? %w", c.admin, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("ask the gateway at %s: %w", c.admin, err)
	}
	return c.decode(resp, text, reply)
}

// request is for a gateway of this cluster, which another one that has the same
// address will know.
func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+reachable(c.admin)+path, body)
	if err == nil {
		req.Header.Set(clusterHeader, c.cluster)
	}
	return req, err
}

func (c *Client) decode(resp *http.Response, text []byte, reply any) error {
	if resp.StatusCode >= 300 {
		var f failure
		if json.Unmarshal(text, &f) != nil || f.Error == "" {
			f.Error = "it answered " + resp.Status
		}
		return fmt.Errorf("gateway at %s: %s", c.admin, f.Error)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return fmt.Errorf("gateway at %s: not an answer of Rozobox: %w", c.admin, err)
	}
	return nil
}

// sign needs the gateway's own key: a monitor can change nothing.
func (c *Client) sign(req *http.Request, body []byte) error {
	key, ok := c.creds.Certificate.PrivateKey.(crypto.Signer)
	if c.creds.Identity.Role != chunkrpc.RoleGateway || !ok {
		return fmt.Errorf("%s: changes need the gateway's own configuration and key", c.config)
	}
	sig, err := signature(key, time.Now(), req.Method, req.URL.EscapedPath(), body)
	req.Header.Set(signatureHeader, sig)
	return err
}

// reachable turns an address to listen on into one to connect to.
func reachable(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// askNodes makes the status without a gateway, which is down for the reason
// given.
func (c *Client) askNodes(ctx context.Context, why error) *Status {
	status := &Status{
		Cluster: c.cluster,
		Gateway: GatewayStatus{ID: c.gatewayID(), State: metrics.Unavailable, Why: why.Error()},
		Nodes:   make([]NodeStatus, 0, len(c.nodes)),
		Volumes: []VolumeStatus{},
	}
	var peers []peer
	options := stripe.Options{NodeTimeout: statTimeout}
	for _, n := range c.nodes {
		client := chunkrpc.NewClient(chunkrpc.ClientOptions{
			Node: chunk.NodeID(n.ID), Addr: n.Addr, Transport: c.over, Credentials: c.creds,
		})
		defer client.Close()
		peers = append(peers, peer{Node: n, store: client})
		options.Nodes = append(options.Nodes, stripe.Node{ID: chunk.NodeID(n.ID), Store: client})
	}
	answers := survey(ctx, peers)
	heard := false
	for i, p := range peers {
		status.Nodes = append(status.Nodes, nodeStatus(p.Node, answers[i]))
		heard = heard || answers[i].Err == nil
	}
	if heard && c.creds.Identity.Role == chunkrpc.RoleGateway {
		// Nodes show superblocks to gateways only. An error tells of a damaged
		// one; the others are as good.
		found, _ := stripe.Find(ctx, options)
		status.addVolumes(found, stored(answers))
	} else {
		status.forgetSync()
	}
	status.judge()
	return status
}

// gatewayID is known to the gateway's own configuration only.
func (c *Client) gatewayID() string {
	if c.creds.Identity.Role == chunkrpc.RoleGateway {
		return c.creds.Identity.ID
	}
	return ""
}

// forgetSync says that no superblock was read.
func (s *Status) forgetSync() {
	for i := range s.Nodes {
		s.Nodes[i].Sync = metrics.Unknown
	}
}

func (s *Status) addVolumes(found []*cluster.Superblock, sums map[chunk.VolumeID]uint64) {
	for _, sb := range found {
		v := volumeStatus(sb, sums[sb.Volume])
		v.State, v.Why = stateWaiting, "for a gateway"
		s.Volumes = append(s.Volumes, v)
		addSync(s.Nodes, sb, nil)
	}
}
