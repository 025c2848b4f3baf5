package daemon

import (
	"strings"
	"testing"

	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/daemon/simulate"
)

// These are chosen so that each test takes some seconds with -race on two busy
// cores: the race detector makes histories over a network eight times as long.
// scripts/test.sh plays more, without it.
const (
	simulatedSeeds = 6
	matrixStep     = 397
	networkSeeds   = 1
)

func TestSimulation(t *testing.T) { simulateIt(t, simulate.Plan{First: 1, Seeds: simulatedSeeds}) }

func TestSimulationOverNetwork(t *testing.T) {
	for _, over := range []chunkrpc.Transport{chunkrpc.QUIC, chunkrpc.TLS} {
		t.Run(string(over), func(t *testing.T) {
			simulateIt(t, simulate.Plan{First: 1, Seeds: networkSeeds, Over: over})
		})
	}
}

func TestSimulationCrashMatrix(t *testing.T) {
	simulateIt(t, simulate.Plan{Matrix: true, Step: matrixStep})
}

func simulateIt(t *testing.T, plan simulate.Plan) {
	t.Helper()
	var out strings.Builder
	ok := simulate.Play(t, &out, plan)
	t.Log(out.String())
	if !ok {
		t.Fail()
	}
}
