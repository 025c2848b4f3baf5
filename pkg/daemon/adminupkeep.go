package daemon

import (
	"context"
	"net/http"
)

// changeMember answers what is done to a node by hand. It ends with the
// client's patience while it only looks, so that no change comes unasked.
func (a *admin) changeMember(c memberChange) change {
	return func(w http.ResponseWriter, r *http.Request, _ []byte) {
		ctx, cancel := context.WithTimeout(r.Context(), memberTimeout)
		defer cancel()
		select {
		case a.members <- struct{}{}:
			defer func() { <-a.members }()
		case <-ctx.Done():
			return // the client has gone, or this process ends
		}
		volumes, err := a.gateway.changeMember(ctx, r.PathValue("id"), c)
		if err != nil {
			fail(w, statusOf(err), err)
			return
		}
		answer(w, http.StatusOK, NodeChange{volumes})
	}
}

func (a *admin) showScrub(w http.ResponseWriter, r *http.Request) {
	report, err := a.gateway.scrub(r.PathValue("name"), false)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	answer(w, http.StatusOK, report)
}

func (a *admin) startScrub(w http.ResponseWriter, r *http.Request, _ []byte) {
	before, err := a.gateway.scrub(r.PathValue("name"), true)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	answer(w, http.StatusAccepted, before)
}

func (a *admin) setPace(w http.ResponseWriter, _ *http.Request, body []byte) {
	var pace Pace
	err := decodeJSON(body, &pace)
	if err == nil {
		err = pace.check()
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	a.gateway.setPace(pace)
	answer(w, http.StatusOK, a.gateway.pace.current())
}
