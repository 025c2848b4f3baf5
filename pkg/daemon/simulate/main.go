package simulate

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"rozobox/pkg/chunkrpc"
)

// Plan says what to play.
type Plan struct {
	First  uint64             // the first seed
	Seeds  int                // how many
	Over   chunkrpc.Transport // as Options have it
	Only   string             // likewise
	Matrix bool               // the crash matrix instead
	Step   int                // of the matrix: every so many cases; 0: all
}

// Validate reports a plan that cannot be played.
func (p Plan) Validate() error {
	if p.Over == "" {
		return nil
	}
	if p.Matrix {
		return errors.New("the matrix is played in memory only")
	}
	return p.Over.Validate()
}

// Main plays a plan outside of tests and ends the process: with status 1 when
// anything failed. A bubble can only be begun by a test, so this is one.
func Main(w io.Writer, plan Plan) {
	all := func(string, string) (bool, error) { return true, nil }
	play := testing.InternalTest{Name: "simulate", F: func(t *testing.T) {
		if !Play(t, w, plan) {
			t.Fail()
		}
	}}
	testing.Main(all, []testing.InternalTest{play}, nil, nil)
}

// Play plays a plan, writes a line for each seed and the journal of each that
// failed, and reports whether none did.
func Play(t *testing.T, w io.Writer, plan Plan) bool {
	if plan.Matrix {
		return playMatrix(t, w, plan)
	}
	failed := 0
	for seed := plan.First; seed < plan.First+uint64(plan.Seeds); seed++ {
		r := Run(t, seed, Options{Over: plan.Over, Only: plan.Only})
		fmt.Fprintln(w, r)
		if len(r.Failures) > 0 {
			failed++
			r.explain(w)
			fmt.Fprintf(w, "again (goroutines may run in another order, try it several times):\n"+
				"  go run ./cmd/rozobox simulate %s--seed %d\n", plan.over(), seed)
		}
	}
	fmt.Fprintf(w, "%d histories, %d failed\n", plan.Seeds, failed)
	return failed == 0
}

func playMatrix(t *testing.T, w io.Writer, plan Plan) bool {
	failed := Matrix(t, w, max(plan.Step, 1))
	for i, r := range failed {
		if i == 0 {
			r.explain(w)
		} else {
			fmt.Fprintf(w, "failed too: %s: %s\n", r.Case, r.Failures[0])
		}
	}
	return len(failed) == 0
}

// explain writes the journal and what went wrong.
func (r *Report) explain(w io.Writer) {
	fmt.Fprintf(w, "%s\nFAILED:\n  %s\n", strings.Join(r.Journal, "\n"), strings.Join(r.Failures, "\n  "))
}

// over returns the flag that plays over the same transport.
func (p Plan) over() string {
	if p.Over == "" {
		return ""
	}
	return fmt.Sprintf("--over %s ", p.Over)
}
