package simulate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"rozobox/pkg/stripe"
	"rozobox/pkg/volume"
)

// requestPatience bounds a request of a client, above the volume's own bound.
const requestPatience = 20 * time.Second

// client sends requests, one after another, until the history says stop.
type client struct {
	*history
	rng *rand.Rand
}

func (c *client) run() {
	for {
		select {
		case <-c.stopClients:
			return
		case <-time.After(time.Duration(1+c.rng.IntN(120)) * time.Millisecond):
		}
		c.request()
	}
}

// request does one request on one gateway, if there is any.
func (c *client) request() {
	g, deposed := c.choose(c.rng)
	if g == nil {
		return
	}
	defer g.busy.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), requestPatience)
	defer cancel()
	began := time.Now()
	what, err := c.act(ctx, g, deposed)
	c.judge(what, g, deposed, began, err)
}

// act draws a request and does it.
func (c *client) act(ctx context.Context, g *gateway, deposed bool) (string, error) {
	first, n := c.sectorRange()
	switch draw := c.rng.IntN(100); {
	case draw < 45:
		return "write", c.write(ctx, g, first, n, deposed)
	case draw < 80:
		return "read", c.readSectors(ctx, g, first, n)
	case draw < 88:
		return "flush", c.flush(ctx, g)
	case draw < 94:
		return "zero", c.zero(ctx, g, first, n, deposed)
	default:
		return "trim", c.trim(ctx, g, first, n, deposed)
	}
}

// sectorRange draws one sector, a part of a block, or several blocks; often in
// the first blocks, so that requests meet.
func (c *client) sectorRange() (first, n int) {
	bound := sectors
	if c.rng.IntN(2) == 0 {
		bound = 4 * perBlock
	}
	switch c.rng.IntN(4) {
	case 0:
		n = 1
	case 1:
		n = 1 + c.rng.IntN(perBlock)
	case 2:
		return c.rng.IntN(bound/perBlock) * perBlock, perBlock
	default:
		n = 1 + c.rng.IntN(4*perBlock)
	}
	return c.rng.IntN(bound - n + 1), n
}

func (c *client) write(ctx context.Context, g *gateway, first, n int, deposed bool) error {
	ch, stamp := c.begin(first, n, false, deposed)
	buf := make([]byte, n*sectorSize)
	stampSectors(first, stamp, buf)
	err := g.disk.WriteAt(ctx, buf, int64(first)*sectorSize)
	c.note("gateway %s: write %d of sectors %d+%d: %v", g.name, stamp, first, n, err)
	c.model.end(ch, err)
	return err
}

// begin enters a request into the model. What is sent to a deposed gateway
// must never show.
func (c *client) begin(first, n int, zeroes, deposed bool) (*change, uint64) {
	ch, stamp := c.model.begin(first, n, zeroes)
	if deposed {
		c.model.forbid(ch)
	}
	return ch, stamp
}

func (c *client) zero(ctx context.Context, g *gateway, first, n int, deposed bool) error {
	ch, _ := c.begin(first, n, true, deposed)
	err := g.disk.Zero(ctx, int64(first)*sectorSize, int64(n)*sectorSize, c.rng.IntN(4) == 0)
	c.note("gateway %s: zero sectors %d+%d: %v", g.name, first, n, err)
	c.model.end(ch, err)
	return err
}

// trim trims the whole blocks within the range; the rest stays as it is.
func (c *client) trim(ctx context.Context, g *gateway, first, n int, deposed bool) error {
	from, to := (first+perBlock-1)/perBlock*perBlock, (first+n)/perBlock*perBlock
	ch, _ := c.begin(from, max(to-from, 0), true, deposed)
	err := g.disk.Trim(ctx, int64(first)*sectorSize, int64(n)*sectorSize)
	c.note("gateway %s: trim sectors %d+%d: %v", g.name, first, n, err)
	c.model.end(ch, err)
	return err
}

func (c *client) flush(ctx context.Context, g *gateway) error {
	then := c.model.start()
	err := g.disk.Flush(ctx)
	c.note("gateway %s: flush: %v", g.name, err)
	if err == nil {
		c.model.flushed(then)
	}
	return err
}

// readSectors reads and compares with the model.
func (h *history) readSectors(ctx context.Context, g *gateway, first, n int) error {
	then := h.model.start()
	buf := make([]byte, n*sectorSize)
	if err := g.disk.ReadAt(ctx, buf, int64(first)*sectorSize); err != nil {
		h.note("gateway %s: read sectors %d+%d: %v", g.name, first, n, err)
		return err
	}
	if err := h.model.read(then, first, buf); err != nil {
		h.fail("gateway %s: %v", g.name, err)
	}
	return nil
}

// judge asks whether the outcome of a request was allowed.
func (c *client) judge(what string, g *gateway, deposed bool, began time.Time, err error) {
	c.count(what, err)
	if deposed {
		if err == nil && what != "trim" { // a trim of less than a block does nothing
			c.fail("I5: gateway %s did a %s that was sent after its successor served", g.name, what)
		}
		return
	}
	switch {
	case err == nil, g.array.Err() != nil, errors.Is(err, stripe.ErrDeposed): // it has ended meanwhile
	case errors.Is(err, stripe.ErrNoSpace) && c.wasFull(began):
	case c.wasShort(began) && (errors.Is(err, volume.ErrTimeout) || errors.Is(err, stripe.ErrTooFewNodes) ||
		errors.Is(err, stripe.ErrUnreadable)):
	default:
		c.fail("gateway %s: a %s failed although enough nodes were well: %v", g.name, what, err)
	}
}
