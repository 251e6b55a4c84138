package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// ErrNoDaemon says that nobody answers on the socket.
var ErrNoDaemon = errors.New("no daemon runs in this network namespace")

// Client asks the daemon behind one socket.
type Client struct{ http http.Client }

// NewClient returns a client; it connects with the first question.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (engine.Status, error) {
	var s engine.Status
	return s, c.ask(ctx, http.MethodGet, pathStatus, nil, &s)
}

// Flows asks for the flows that pass a filter, given as engine.ParseFilter reads it.
func (c *Client) Flows(ctx context.Context, src, dst, port, proto string) ([]engine.Flow, error) {
	var l flowList
	err := c.ask(ctx, http.MethodGet, pathFlows, query(src, dst, port, proto), &l)
	return l.Flows, err
}

func query(src, dst, port, proto string) url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"src": src, "dst": dst, "port": port, "proto": proto} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

// filterQuery says a filter as engine.ParseFilter reads it.
func filterQuery(f engine.Filter) url.Values {
	prefix := func(p netip.Prefix) string {
		if !p.IsValid() {
			return ""
		}
		return p.String()
	}
	port := ""
	if f.Port != 0 {
		port = fmt.Sprint(f.Port)
	}
	return query(prefix(f.Src), prefix(f.Dst), port, f.Proto)
}

// meantQuery is filterQuery of a request that changes something: who asks it with the zero Filter means all flows.
func meantQuery(f engine.Filter) url.Values {
	q := filterQuery(f)
	if f == (engine.Filter{}) {
		q.Set(askAll, yes)
	}
	return q
}

// Refused asks for the flows that the ruleset handed over and that are not carried.
func (c *Client) Refused(ctx context.Context, f engine.Filter) ([]engine.Refused, error) {
	var l refusedList
	err := c.ask(ctx, http.MethodGet, pathRefused, filterQuery(f), &l)
	return l.Refused, err
}

// Flush removes flows from the table; the zero Filter means all.
func (c *Client) Flush(ctx context.Context, f engine.Filter) (engine.Flushed, error) {
	var n engine.Flushed
	return n, c.ask(ctx, http.MethodPost, pathFlush, meantQuery(f), &n)
}

// Hold keeps flows slow for so long; the zero Filter means all.
func (c *Client) Hold(ctx context.Context, f engine.Filter, d time.Duration) (engine.Flushed, error) {
	q := meantQuery(f)
	q.Set(askFor, d.String())
	var n engine.Flushed
	return n, c.ask(ctx, http.MethodPost, pathHolds, q, &n)
}

// Holds asks for the holds in force.
func (c *Client) Holds(ctx context.Context) ([]engine.Hold, error) {
	var l holdList
	err := c.ask(ctx, http.MethodGet, pathHolds, nil, &l)
	return l.Holds, err
}

// Release ends the holds that have all conditions of a filter; the zero Filter means all.
func (c *Client) Release(ctx context.Context, f engine.Filter) (int, error) {
	var n released
	err := c.ask(ctx, http.MethodDelete, pathHolds, filterQuery(f), &n)
	return n.Released, err
}

// RuleCounts asks what rules have counted of packets that never came to nftables.
func (c *Client) RuleCounts(ctx context.Context) ([]engine.RuleCount, error) {
	var l ruleList
	err := c.ask(ctx, http.MethodGet, pathRules, nil, &l)
	return l.Rules, err
}

func (c *Client) ask(ctx context.Context, method, path string, q url.Values, into any) error {
	// The host has no meaning on a unix socket.
	u := url.URL{Scheme: "http", Host: "nft-offload", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			return ErrNoDaemon
		}
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("ask the daemon: %w: root is needed", os.ErrPermission)
		}
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	d := json.NewDecoder(resp.Body)
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := d.Decode(&f); err != nil || f.Error == "" {
			f.Error = resp.Status
		}
		return fmt.Errorf("the daemon says: %s", f.Error)
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}
