package daemon

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rozobox/pkg/metrics"
)

func TestExplainOverTheAdminAPI(t *testing.T) {
	r := newRig(t)
	r.start()
	d := exported(t, r, "films")
	if err := d.WriteAt(t.Context(), make([]byte, 65536), 32768); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	offset := int64(65536 + 5)
	s, err := r.client.Explain(t.Context(), "films", Explain{Offset: &offset, Verify: true})
	if err != nil || s.Volume != "films" || s.Block != 2 || s.Offset != 65536 || len(s.Chunks) != 6 || !s.Read.IsZero() ||
		s.Chunks[5].State != metrics.Present || !s.Chunks[5].Parity {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := d.ReadAt(t.Context(), make([]byte, 32768), 32768); err != nil {
		t.Fatal(err)
	}
	s, err = r.client.Explain(t.Context(), "films", Explain{})
	if err != nil || s.Block != 1 || s.Read.IsZero() || !s.Chunks[3].Used || s.Chunks[4].Asked {
		t.Errorf("the block read last: %+v, %v", s, err)
	}
	s, err = r.client.Explain(t.Context(), "films", Explain{Offset: &offset, Read: true})
	if err != nil || s.Block != 2 || s.Read.IsZero() || !s.Chunks[3].Used {
		t.Errorf("a block that is read now: %+v, %v", s, err)
	}
}

func TestExplainSaysWhatIsWrongWithTheQuestion(t *testing.T) {
	r := newRig(t)
	r.start()
	exported(t, r, "films")
	for query, want := range map[string]string{
		"films/explain?offset=1048576": `400 explain volume \"films\": no such offset: 1048576 is not within 0 to 1048575 (1MiB)`,
		"films/explain?offset=-1":      `400 explain volume \"films\": no such offset: -1 is not within`,
		"films/explain?offset=1MiB":    `400 bad offset \"1MiB\"`,
		"films/explain":                `404 explain volume \"films\": no read was seen`,
		"film/explain?offset=0":        `404 explain volume \"film\": no such volume`,
	} {
		code, reply := r.send(t, r.request(t, http.MethodGet, "/v1/volumes/"+query, ""))
		if got := fmt.Sprintf(`%d %s`, code, strings.TrimPrefix(reply, `{"error":"`)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestStripeForPeople(t *testing.T) {
	s := &metrics.Stripe{
		Volume: "films", Block: 32, Offset: mib, Version: "3.17", Data: 2, Parity: 1,
		Read: time.Date(2026, 11, 22, 18, 5, 4, 25e6, time.Local),
		Chunks: []metrics.StripeChunk{
			{Node: "pi3", State: metrics.Present, Version: "3.17", Asked: true, Used: true, Seconds: 0.0012},
			{Index: 1, Node: "pi1", State: metrics.Unavailable, Asked: true, Why: "is out since version 3.2; does not answer: link is cut"},
			{Index: 1, Node: "pi8", Spare: true, State: metrics.Present, Version: "3.17", Why: "in place of pi1, which is out since version 3.2"},
			{Index: 2, Parity: true, Node: "pi5", State: metrics.Present, Version: "3.17", Asked: true, Used: true, Hedged: true, Seconds: 0.0134},
		},
	}
	var text strings.Builder
	if err := PrintStripe(&text, s); err != nil {
		t.Fatal(err)
	}
	const want = `Block 32 of volume "films", from byte 1048576 (1MiB) on, has version 3.17.
2 data and 1 parity chunks: any 2 of the 3 give it back.

CHUNK          CARD  STATE        VERSION  LAST READ
data 0         pi3   present      3.17     1.2 ms, used
data 1         pi1   unavailable  -        asked, gave nothing in time  is out since version 3.2; does not answer: link is cut
data 1, spare  pi8   present      3.17     -                            in place of pi1, which is out since version 3.2
parity 2       pi5   present      3.17     13.4 ms, used, hedged

The last read was at 18:05:04.025.
`
	if got := trimLines(text.String()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// trimLines takes the padding from the ends of lines.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
