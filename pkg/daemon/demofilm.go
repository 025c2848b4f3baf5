package daemon

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"rozobox/pkg/cluster"
	"rozobox/pkg/daemon/film"
)

// filmName is the volume that the film is played from. It is the demo's own:
// each start makes it anew, as large as the film.
const filmName = "film"

// filmTail is how much larger the volume is than the film: what is read ahead
// at its end keeps the cards at work until it begins anew.
const filmTail = 4 << 20

// takeFilm makes the player, which shows in every picture of the gateway.
func (d *demo) takeFilm() {
	if d.opts.Film == nil {
		return
	}
	d.player = film.New(film.Options{
		Film: d.opts.Film, Addr: d.gateway.fronts[0].Addr().String(), Volume: filmName,
		Why: func() string { return d.gateway.keeps(filmName) },
	})
	d.gateway.film = d.player.Figures
}

// play writes the film into its volume, and plays it until ctx ends.
func (d *demo) play(ctx context.Context) error {
	geo := d.filmGeometry()
	if _, err := d.volume(ctx, filmName, geo); err != nil {
		return fmt.Errorf("make volume %q of %v: %w", filmName, Size(geo.Size), err)
	}
	if err := d.player.Load(ctx); err != nil {
		return err
	}
	d.player.Run(ctx)
	return nil
}

func (d *demo) filmGeometry() cluster.Geometry {
	v := d.init.Volume
	v.Extent = cmp.Or(d.opts.Extent, DefaultDemoExtent)
	block := int64(v.BlockSize)
	return v.geometry(Size((d.opts.Film.Size + filmTail + block - 1) / block * block))
}

// keeps says what keeps a volume's requests waiting; nothing where it is not
// known.
func (g *Gateway) keeps(name string) string {
	s := g.find(name)
	if s == nil {
		return ""
	}
	sb, array := s.sees()
	if array == nil {
		return s.status(0).Why
	}
	var silent []string
	for i, up := range array.Up {
		if !up && sb.Nodes[i].State != cluster.Lost {
			silent = append(silent, string(sb.Nodes[i].ID))
		}
	}
	if len(silent) <= sb.Geometry.Parity {
		return ""
	}
	return fmt.Sprintf("%s do not answer, and it can do without %d only",
		strings.Join(silent, ", "), sb.Geometry.Parity)
}
