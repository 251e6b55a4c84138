package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

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
	return s, c.get(ctx, pathStatus, nil, &s)
}

// Flows asks for the flows that pass a filter, given as engine.ParseFilter reads it.
func (c *Client) Flows(ctx context.Context, src, dst, port, proto string) ([]engine.Flow, error) {
	q := url.Values{}
	for name, v := range map[string]string{"src": src, "dst": dst, "port": port, "proto": proto} {
		if v != "" {
			q.Set(name, v)
		}
	}
	var l flowList
	err := c.get(ctx, pathFlows, q, &l)
	return l.Flows, err
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	// The host has no meaning on a unix socket.
	u := url.URL{Scheme: "http", Host: "nft-offload", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
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
