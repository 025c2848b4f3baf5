package daemon

import (
	"strings"
	"testing"

	"rozobox/pkg/daemon/simulate"
)

// simulatedSeeds and matrixStep are chosen so that both tests take some seconds
// with -race on two busy cores.
const (
	simulatedSeeds = 6
	matrixStep     = 397
)

func TestSimulation(t *testing.T) { simulateIt(t, simulate.Plan{First: 1, Seeds: simulatedSeeds}) }

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
