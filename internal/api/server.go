package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// Paths of the interface.
const (
	pathStatus  = "/v1/status"
	pathFlows   = "/v1/flows"
	pathRefused = "/v1/refused"
	pathFlush   = "/v1/flush"
	pathHolds   = "/v1/holds"
	pathRules   = "/v1/rules"
)

// callTimeout bounds one answer: a large table takes a second to list.
const callTimeout = 10 * time.Second

// Engine is what the server answers from.
type Engine interface {
	Status(ctx context.Context) (engine.Status, error)
	Flows(ctx context.Context, f engine.Filter) ([]engine.Flow, error)
	RuleCounts(ctx context.Context) ([]engine.RuleCount, error)
	Operator
}

// Operator is what the server passes on.
type Operator interface {
	Refused(ctx context.Context, f engine.Filter) ([]engine.Refused, error)
	Flush(ctx context.Context, f engine.Filter) (engine.Flushed, error)
	Hold(ctx context.Context, f engine.Filter, d time.Duration) (engine.Flushed, error)
	Holds(ctx context.Context) ([]engine.Hold, error)
	Release(ctx context.Context, f engine.Filter) (int, error)
}

// Server answers on one socket.
type Server struct {
	http   http.Server
	listen net.Listener
	path   string
}

// Listen makes the socket, in place of one that a dead daemon left: the caller holds the lock of the namespace.
// Nobody is answered before Serve.
func Listen(path string, e Engine) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Until here the directory, which is root's alone, keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("restrict %s: %w", path, err)
	}
	return &Server{http: http.Server{Handler: Handler(e), ReadHeaderTimeout: callTimeout}, listen: l, path: path}, nil
}

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listen); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.path, err)
	}
	return nil
}

// Close ends Serve, and removes the socket.
func (s *Server) Close() error {
	if err := s.http.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	// Serve may never have taken the listener.
	if err := s.listen.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// Handler answers the requests.
func Handler(e Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		s, err := e.Status(ctx)
		reply(w, s, err)
	})
	mux.HandleFunc("GET "+pathFlows, filtered(func(ctx context.Context, f engine.Filter, _ *http.Request) (any, error) {
		flows, err := e.Flows(ctx, f)
		return flowList{orEmpty(flows)}, err
	}))
	mux.HandleFunc("GET "+pathRules, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		counts, err := e.RuleCounts(ctx)
		reply(w, ruleList{orEmpty(counts)}, err)
	})
	operate(mux, e)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("there is no %s %s", r.Method, r.URL.Path))
	})
	return mux
}

type flowList struct {
	Flows []engine.Flow `json:"flows"`
}

type ruleList struct {
	Rules []engine.RuleCount `json:"rules"`
}

// orEmpty makes a list that JSON shows as one.
func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

type failure struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client hung up
}

func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(failure{err.Error()}) // the client hung up
}
