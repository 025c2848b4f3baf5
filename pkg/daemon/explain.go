package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"rozobox/pkg/cluster"
	"rozobox/pkg/metrics"
	"rozobox/pkg/stripe"
)

var (
	// errBeyond means that an offset does not lie within the volume.
	errBeyond = errors.New("no such offset")
	// errNoRead means that nobody has read the volume while somebody watched.
	errNoRead = errors.New("no read was seen since somebody asked; ask again in a second")
)

// Explain is what to tell of a block, beside where its chunks stand.
type Explain struct {
	// Offset is any byte of the block; nil means the block that clients have
	// read last, which is known from a first question on.
	Offset *int64
	// Verify has each chunk read whole on its card, so that damage shows. The
	// cards are working then.
	Verify bool
	// Read has the gateway read the block first, so that it shows who answers.
	Read bool
}

// Explain tells where the chunks of a block stand, and who gave them when it
// was read last, if that was seen.
func (g *Gateway) Explain(ctx context.Context, volume string, what Explain) (*metrics.Stripe, error) {
	s := g.find(volume)
	if s == nil {
		return nil, fmt.Errorf("explain volume %q: %w", volume, errNoVolume)
	}
	told, err := s.explain(ctx, what)
	if err != nil {
		return nil, fmt.Errorf("explain volume %q: %w", volume, err)
	}
	return told, nil
}

func (s *served) explain(ctx context.Context, what Explain) (*metrics.Stripe, error) {
	array, device := s.serving(), s.open()
	if array == nil || device == nil {
		return nil, errNotServed
	}
	block, err := chosen(array, what.Offset)
	if err != nil {
		return nil, err
	}
	if !what.Read {
		return array.Explain(ctx, block, what.Verify)
	}
	array.Watch(block)
	for again := false; ; again = true {
		began := time.Now()
		if err := readBlock(ctx, device, array.Geometry(), block); err != nil {
			return nil, err
		}
		// What the gateway had read ahead asks nobody, once.
		told, err := array.Explain(ctx, block, what.Verify)
		if err != nil || again || !told.Read.Before(began) {
			return told, err
		}
	}
}

func readBlock(ctx context.Context, d *device, geo cluster.Geometry, block uint64) error {
	off := int64(block) * int64(geo.BlockSize)
	return d.ReadAt(ctx, make([]byte, min(int64(geo.BlockSize), geo.Size-off)), off)
}

// chosen returns the block that offset lies in, or the one read last.
func chosen(array *stripe.Array, offset *int64) (uint64, error) {
	if offset == nil {
		block, known := array.LastRead()
		if !known {
			return 0, errNoRead
		}
		return block, nil
	}
	geo := array.Geometry()
	if *offset < 0 || *offset >= geo.Size {
		return 0, fmt.Errorf("%w: %d is not within 0 to %d (%v)", errBeyond, *offset, geo.Size-1, Size(geo.Size))
	}
	return uint64(*offset) / uint64(geo.BlockSize), nil
}

func (a *admin) explain(w http.ResponseWriter, r *http.Request) {
	what, err := explainQuery(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(a.gateway.config.IOTimeout))
	defer cancel()
	told, err := a.gateway.Explain(ctx, r.PathValue("name"), what)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	answer(w, http.StatusOK, told)
}

// explainQuery reads offset=BYTES, verify=1 and read=1, each of which may be
// missing.
func explainQuery(q url.Values) (what Explain, err error) {
	if text := q.Get("offset"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return what, fmt.Errorf("bad offset %q: want a number of bytes", text)
		}
		what.Offset = &n
	}
	what.Verify, what.Read = q.Get("verify") == "1", q.Get("read") == "1"
	return what, nil
}

func (e Explain) query() string {
	q := url.Values{}
	if e.Offset != nil {
		q.Set("offset", strconv.FormatInt(*e.Offset, 10))
	}
	if e.Verify {
		q.Set("verify", "1")
	}
	if e.Read {
		q.Set("read", "1")
	}
	return q.Encode()
}

// Explain asks the gateway about a block.
func (c *Client) Explain(ctx context.Context, volume string, what Explain) (*metrics.Stripe, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(maxIOTimeout)+statusPatience)
	defer cancel()
	var told metrics.Stripe
	path := "/v1/volumes/" + url.PathEscape(volume) + "/explain?" + what.query()
	if err := c.do(ctx, http.MethodGet, path, nil, &told); err != nil {
		return nil, err
	}
	return &told, nil
}

// PrintStripe writes for people what Explain tells.
func PrintStripe(w io.Writer, s *metrics.Stripe) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Block %d of volume %q, from byte %d (%v) on, %s.\n",
		s.Block, s.Volume, s.Offset, Size(s.Offset), content(s))
	fmt.Fprintf(t, "%d data and %d parity chunks: any %d of the %d give it back.\n\n",
		s.Data, s.Parity, s.Data, s.Data+s.Parity)
	fmt.Fprint(t, "CHUNK\tCARD\tSTATE\tVERSION\tLAST READ\t\n")
	for _, c := range s.Chunks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", chunkName(c), c.Node, c.State, dash(c.Version), lastRead(c), c.Why)
	}
	switch {
	case s.Memory:
		fmt.Fprintf(t, "\nThe last read, at %s, was served from the gateway's memory.\n", clock(s.Read))
	case s.Read.IsZero():
		fmt.Fprintln(t, "\nNo read of the block was seen in the last seconds; with --read it is read now.")
	default:
		fmt.Fprintf(t, "\nThe last read was at %s.\n", clock(s.Read))
	}
	return t.Flush()
}

func content(s *metrics.Stripe) string {
	switch {
	case s.Zeroes && s.Version == "":
		return "was never written and reads as zeroes"
	case s.Zeroes:
		return "reads as zeroes since version " + s.Version
	}
	return "has version " + dash(s.Version)
}

func chunkName(c metrics.StripeChunk) string {
	name := fmt.Sprintf("data %d", c.Index)
	if c.Parity {
		name = fmt.Sprintf("parity %d", c.Index)
	}
	if c.Spare {
		name += ", spare"
	}
	return name
}

// lastRead says what a card did for the last read.
func lastRead(c metrics.StripeChunk) string {
	text := "-"
	switch {
	case c.Asked && c.Seconds == 0:
		text = "asked, gave nothing in time"
	case c.Asked:
		text = fmt.Sprintf("%.1f ms", c.Seconds*1e3)
		if c.Used {
			text += ", used"
		}
	}
	if c.Hedged {
		text += ", hedged"
	}
	return text
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }
