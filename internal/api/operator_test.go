package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func (f *fake) Refused(_ context.Context, filter engine.Filter) ([]engine.Refused, error) {
	f.asked = "refused " + filter.String()
	return f.refused, f.err
}

func (f *fake) Flush(_ context.Context, filter engine.Filter) (engine.Flushed, error) {
	f.asked = "flush " + filter.String()
	return engine.Flushed{Flows: 1, Directions: 2}, f.err
}

func (f *fake) Hold(_ context.Context, filter engine.Filter, d time.Duration) (engine.Flushed, error) {
	f.asked = fmt.Sprintf("hold %s %s", filter, d)
	return engine.Flushed{Flows: 1, Directions: 2}, f.err
}

func (f *fake) Holds(context.Context) ([]engine.Hold, error) { return f.holds, f.err }

func (f *fake) Release(_ context.Context, filter engine.Filter) (int, error) {
	f.asked = "release " + filter.String()
	return 3, f.err
}

// filters are every form a filter has.
func filters(t *testing.T) []engine.Filter {
	t.Helper()
	var out []engine.Filter
	for _, c := range [][4]string{
		{}, {"10.0.0.0/8"}, {"", "2001:db8::1"}, {"", "", "53"}, {"", "", "", "udp"}, {"192.0.2.1", "10.0.0.0/9", "443", "tcp"}, {"::/0", "", "", ""},
	} {
		f, err := engine.ParseFilter(c[0], c[1], c[2], c[3])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func TestOperationsArriveWithTheirFilter(t *testing.T) {
	e := &fake{}
	c, _ := serve(t, e)
	flushed := engine.Flushed{Flows: 1, Directions: 2}
	for _, f := range filters(t) {
		if n, err := c.Flush(t.Context(), f); err != nil || n != flushed || e.asked != "flush "+f.String() {
			t.Errorf("flush %s: asked %q, got %+v, %v", f, e.asked, n, err)
		}
		if n, err := c.Hold(t.Context(), f, 90*time.Second); err != nil || n != flushed || e.asked != "hold "+f.String()+" 1m30s" {
			t.Errorf("hold %s: asked %q, got %+v, %v", f, e.asked, n, err)
		}
		if n, err := c.Release(t.Context(), f); err != nil || n != 3 || e.asked != "release "+f.String() {
			t.Errorf("release %s: asked %q, got %d, %v", f, e.asked, n, err)
		}
		if _, err := c.Refused(t.Context(), f); err != nil || e.asked != "refused "+f.String() {
			t.Errorf("refused %s: asked %q, %v", f, e.asked, err)
		}
	}
}

func TestHoldsAndRefusedFlowsComeBackAsTheyWere(t *testing.T) {
	all := filters(t)
	e := &fake{
		holds: []engine.Hold{{Filter: all[5], Left: engine.Seconds(1500 * time.Millisecond)}, {Filter: all[0], Left: engine.Seconds(time.Hour)}},
		refused: []engine.Refused{{
			Proto: "tcp", Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2"), In: "r0", InIndex: 2,
			Out: "r1", OutIndex: 3, Code: "device-refused", Text: "t", Advice: "a", Samples: 7, Ago: engine.Seconds(time.Second),
			Causes: []engine.Cause{{Device: "r0", Reason: engine.Reason{Code: reason.OffDeviceChain, Text: "x"}}},
		}},
	}
	c, _ := serve(t, e)
	holds, err := c.Holds(t.Context())
	if diff := cmp.Diff(e.holds, holds, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
		t.Errorf("holds: %v (-want +got):\n%s", err, diff)
	}
	refused, err := c.Refused(t.Context(), engine.Filter{})
	if diff := cmp.Diff(e.refused, refused, cmpopts.EquateComparable(netip.AddrPort{})); err != nil || diff != "" {
		t.Errorf("refused: %v (-want +got):\n%s", err, diff)
	}
}

// raw is a request as any program might make it.
func raw(t *testing.T, socket, method, path string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(b.String())
}

func TestRequestsThatWouldMeanAllFlowsByMistakeAreRefused(t *testing.T) {
	e := &fake{}
	_, socket := serve(t, e)
	for _, c := range []struct {
		method, path string
		code         int
		says         string
	}{
		{"POST", "/v1/flush", 400, "no flow is named"},
		{"POST", "/v1/holds?for=60s", 400, "no flow is named"},
		{"POST", "/v1/flush?port=http", 400, `port \"http\"`},
		{"POST", "/v1/holds?port=1", 400, `hold for \"\"`},
		{"POST", "/v1/holds?port=1&for=1ms", 400, "not between"},
		{"POST", "/v1/holds?port=1&for=100h", 400, "not between"},
		{"GET", "/v1/flush?port=1", 404, "there is no GET /v1/flush"},
		{"GET", "/v1/holds", 200, `{"holds":[]}`},
		{"GET", "/v1/refused", 200, `{"refused":[]}`},
		{"GET", "/v1/flows", 200, `{"flows":[]}`},
		{"POST", "/v1/flush?all=true", 200, `"flows":1`},
	} {
		e.asked = ""
		code, body := raw(t, socket, c.method, c.path)
		if code != c.code || !strings.Contains(body, c.says) || !json.Valid([]byte(body)) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, code, body, c.code, c.says)
		}
		if c.code >= 400 && e.asked != "" {
			t.Errorf("%s %s: the engine was asked to %s", c.method, c.path, e.asked)
		}
	}
}

func TestHoldsThatDoNotFitAreSaidSo(t *testing.T) {
	c, _ := serve(t, &fake{err: engine.ErrHoldsFull})
	if _, err := c.Hold(t.Context(), engine.Filter{Port: 1}, time.Minute); err == nil || !strings.Contains(err.Error(), engine.ErrHoldsFull.Error()) {
		t.Errorf("hold: %v", err)
	}
	c, _ = serve(t, &fake{err: errors.New("the table burned down")})
	if _, err := c.Release(t.Context(), engine.Filter{}); err == nil || !strings.Contains(err.Error(), "burned down") {
		t.Errorf("release: %v", err)
	}
}
