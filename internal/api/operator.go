package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// filtered answers requests that name flows.
func filtered(answer func(context.Context, engine.Filter, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		q := r.URL.Query()
		f, err := engine.ParseFilter(q.Get("src"), q.Get("dst"), q.Get("port"), q.Get("proto"))
		if err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		v, err := answer(ctx, f, r)
		var bad *badRequest
		switch {
		case errors.As(err, &bad), errors.Is(err, engine.ErrNoFilter):
			fail(w, http.StatusBadRequest, err)
		case errors.Is(err, engine.ErrHoldsFull):
			fail(w, http.StatusConflict, err)
		default:
			reply(w, v, err)
		}
	}
}

// badRequest is a mistake of the client.
type badRequest struct{ err error }

func (e *badRequest) Error() string { return e.err.Error() }

// meant refuses requests that change something about all flows without saying so.
func meant(f engine.Filter, r *http.Request) error {
	if f == (engine.Filter{}) && r.URL.Query().Get(askAll) != yes {
		return engine.ErrNoFilter
	}
	return nil
}

// Further words of requests.
const (
	askAll = "all"
	askFor = "for"
	yes    = "true"
)

// operate answers what changes or explains single flows.
func operate(mux *http.ServeMux, e Operator) {
	mux.HandleFunc("GET "+pathRefused, filtered(func(ctx context.Context, f engine.Filter, _ *http.Request) (any, error) {
		refused, err := e.Refused(ctx, f)
		return refusedList{orEmpty(refused)}, err
	}))
	mux.HandleFunc("POST "+pathFlush, filtered(func(ctx context.Context, f engine.Filter, r *http.Request) (any, error) {
		if err := meant(f, r); err != nil {
			return nil, err
		}
		return e.Flush(ctx, f)
	}))
	mux.HandleFunc("GET "+pathHolds, filtered(func(ctx context.Context, _ engine.Filter, _ *http.Request) (any, error) {
		holds, err := e.Holds(ctx)
		return holdList{orEmpty(holds)}, err
	}))
	mux.HandleFunc("POST "+pathHolds, filtered(func(ctx context.Context, f engine.Filter, r *http.Request) (any, error) {
		if err := meant(f, r); err != nil {
			return nil, err
		}
		d, err := time.ParseDuration(r.URL.Query().Get(askFor))
		if err == nil && (d < engine.ShortestHold || d > engine.LongestHold) {
			err = fmt.Errorf("not between %s and %s", engine.ShortestHold, engine.LongestHold)
		}
		if err != nil {
			return nil, &badRequest{fmt.Errorf("hold for %q: %w", r.URL.Query().Get(askFor), err)}
		}
		return e.Hold(ctx, f, d)
	}))
	mux.HandleFunc("DELETE "+pathHolds, filtered(func(ctx context.Context, f engine.Filter, _ *http.Request) (any, error) {
		n, err := e.Release(ctx, f)
		return released{n}, err
	}))
}

type refusedList struct {
	Refused []engine.Refused `json:"refused"`
}

type holdList struct {
	Holds []engine.Hold `json:"holds"`
}

type released struct {
	Released int `json:"released"`
}
