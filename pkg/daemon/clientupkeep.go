package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// LoseNode gives a node up for good, and returns the volumes that had it.
func (c *Client) LoseNode(ctx context.Context, id string) ([]string, error) {
	return c.changeNode(ctx, id, "lost")
}

// ReplaceNode takes the card of a node for gone, and returns the volumes that
// had it.
func (c *Client) ReplaceNode(ctx context.Context, id string) ([]string, error) {
	return c.changeNode(ctx, id, "replace")
}

func (c *Client) changeNode(ctx context.Context, id, how string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout+2*time.Second)
	defer cancel()
	var done NodeChange
	err := c.do(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(id)+"/"+how, nil, &done)
	return done.Volumes, err
}

// SetPace changes how repair goes, and returns how it goes then.
func (c *Client) SetPace(ctx context.Context, pace Pace) (now Pace, err error) {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	body, err := json.Marshal(pace)
	if err != nil {
		return now, fmt.Errorf("pace of repair: %w", err)
	}
	return now, c.do(ctx, http.MethodPost, "/v1/repair", body, &now)
}

// scrubPoll is how often a client asks how far a scrub is.
const scrubPoll = 500 * time.Millisecond

// errForgotten means that the volume was opened anew meanwhile.
var errForgotten = errors.New("the volume was opened anew and knows of no scrub; ask for it again")

// Scrub verifies a volume, and returns when that has ended. Meanwhile it hands
// the volume's status to progress. When ctx ends, the scrub goes on.
func (c *Client) Scrub(ctx context.Context, volume string, progress func(VolumeStatus)) (*ScrubReport, error) {
	path := "/v1/volumes/" + url.PathEscape(volume) + "/scrub"
	var before ScrubReport
	if err := c.do(ctx, http.MethodPost, path, nil, &before); err != nil {
		return nil, err
	}
	for {
		var now ScrubReport
		if err := c.do(ctx, http.MethodGet, path, nil, &now); err != nil {
			return nil, err
		}
		switch begun := now.Started != nil && (before.Started == nil || !now.Started.Equal(*before.Started)); {
		case begun && now.Ended != nil:
			return &now, nil
		case !begun && !now.Asked && (now.Started == nil || now.Ended != nil):
			return nil, fmt.Errorf("scrub volume %q: %w", volume, errForgotten)
		}
		if err := c.showVolume(ctx, volume, progress); err != nil {
			return nil, err
		}
		pause(ctx, scrubPoll)
	}
}

// VolumeNames asks the gateway for its volumes.
func (c *Client) VolumeNames(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	var status Status
	err = c.do(ctx, http.MethodGet, "/v1/status", nil, &status)
	for _, v := range status.Volumes {
		names = append(names, v.Name)
	}
	return names, err
}

func (c *Client) showVolume(ctx context.Context, volume string, show func(VolumeStatus)) error {
	var status Status
	if err := c.do(ctx, http.MethodGet, "/v1/status", nil, &status); err != nil {
		return err
	}
	for _, v := range status.Volumes {
		if v.Name == volume {
			show(v)
		}
	}
	return nil
}
