package tidy

// module is the name of this repository's module.
const module = "rozobox"

// contract is imported by all that store chunks or send them.
const contract = "pkg/chunk"

// mayImport lists what the code of each package, tests aside, may import of
// this module. Imports point from the gateway's outside to the cards.
var mayImport = map[string][]string{
	"cmd/rozobox": {"pkg/daemon", "pkg/daemon/film", "pkg/daemon/simulate", "pkg/metrics", "pkg/monitor",
		"pkg/monitor/web", "pkg/nbd/attach"},
	"pkg/chunk":              {},
	"pkg/chunk/chunktest":    {contract},
	"pkg/erasure":            {},
	"pkg/metrics":            {},
	"pkg/metrics/host":       {contract},
	"pkg/metrics/prom":       {"pkg/metrics"},
	"pkg/nbd":                {},
	"pkg/nbd/attach":         {"pkg/nbd"},
	"pkg/chunkstore":         {contract, "pkg/metrics"},
	"pkg/chunkstore/crashfs": {"pkg/chunkstore"},
	"scripts/crashload":      {"pkg/nbd/attach"},
	"scripts/rawload":        {contract, contract + "/chunktest", "pkg/chunkrpc", "pkg/daemon"},
	"scripts/webfeed":        {"pkg/monitor/web"},
	"pkg/chunkrpc":           {contract, "pkg/metrics"},
	"pkg/chunkrpc/rpctest":   {},
	"pkg/cluster":            {contract},
	"pkg/stripe":             {contract, "pkg/cluster", "pkg/erasure", "pkg/metrics"},
	"pkg/volume":             {"pkg/metrics", "pkg/stripe"},
	"pkg/repair":             {contract, "pkg/cluster", "pkg/metrics", "pkg/stripe"},
	"pkg/monitor":            {"pkg/metrics"},
	"pkg/monitor/web":        {},
	"pkg/daemon": {contract, "pkg/chunkrpc", "pkg/chunkstore", "pkg/cluster", "pkg/daemon/film", "pkg/daemon/watch", "pkg/erasure", "pkg/metrics",
		"pkg/metrics/host", "pkg/metrics/prom", "pkg/nbd", "pkg/nbd/attach", "pkg/repair", "pkg/stripe", "pkg/volume"},
	"pkg/daemon/film":  {"pkg/metrics", "pkg/nbd/attach"},
	"pkg/daemon/watch": {contract, "pkg/metrics"},
	"pkg/daemon/simulate": {contract, contract + "/chunktest", "pkg/chunkrpc", "pkg/chunkrpc/rpctest",
		"pkg/cluster", "pkg/repair", "pkg/stripe", "pkg/volume"},
	"pkg/internal/tidy": {},
}

// testsMayImport lists what tests may import besides: the reference store and
// the conformance suite everywhere, and what else stands here.
var testsMayImport = map[string][]string{
	"pkg/chunkstore":  {"pkg/chunkstore/crashfs"},
	"pkg/chunkrpc":    {"pkg/chunkrpc/rpctest"},
	"pkg/daemon/film": {"pkg/nbd"},               // to serve a film
	"pkg/volume":      {contract, "pkg/cluster"}, // to set up an array of memory stores

	"pkg/monitor/web": {"pkg/metrics"}, // to compare the page's types with
}

// mayImportAll has the packages whose tests start whole clusters.
var mayImportAll = []string{"pkg/daemon"}

// owners lists the third-party modules, and the one package that may import
// each; an empty owner stands for everybody. A part of a module may have an owner
// of its own.
var owners = map[string]string{
	"github.com/BurntSushi/toml":           "pkg/daemon",
	"github.com/charmbracelet/bubbletea":   "pkg/monitor",
	"github.com/charmbracelet/lipgloss":    "pkg/monitor",
	"github.com/klauspost/reedsolomon":     "pkg/erasure",
	"github.com/pojntfx/go-nbd":            "pkg/nbd",
	"github.com/prometheus/client_golang":  "pkg/metrics/prom",
	"github.com/quic-go/quic-go":           "pkg/chunkrpc",
	"github.com/quic-go/quic-go/testutils": "pkg/chunkrpc/rpctest",
	"github.com/shirou/gopsutil/v4":        "pkg/metrics/host",
	"github.com/spf13/cobra":               "cmd/rozobox",
	"github.com/templexxx/reedsolomon":     "pkg/erasure",
	"golang.org/x/net":                     "pkg/chunkrpc",
	"golang.org/x/sync":                    "",
	"golang.org/x/sys":                     "",
	"golang.org/x/time":                    "pkg/repair",
}

// topLevel has the names that may stand beside the dot files.
var topLevel = []string{
	"LICENSE", "README.md", "cmd", "configs", "go.mod", "go.sum", "pkg", "scripts", "testdata",
}

const (
	maxFunction = 70  // lines: what fits on a screen
	maxFile     = 500 // lines: what is read in one sitting
)
