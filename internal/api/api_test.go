package api_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// fake answers with what it has, and remembers the filter.
type fake struct {
	status engine.Status
	flows  []engine.Flow
	counts []engine.RuleCount
	err    error
	filter engine.Filter

	refused []engine.Refused
	holds   []engine.Hold
	asked   string
}

func (f *fake) Status(context.Context) (engine.Status, error) { return f.status, f.err }

func (f *fake) Flows(_ context.Context, filter engine.Filter) ([]engine.Flow, error) {
	f.filter = filter
	return f.flows, f.err
}

func (f *fake) RuleCounts(context.Context) ([]engine.RuleCount, error) { return f.counts, f.err }

// serve answers from e until the end of the test.
func serve(t *testing.T, e api.Engine) (*api.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	s, err := api.Listen(path, e)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-ended); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	return api.NewClient(path), path
}

func TestStatusComesBackAsItWas(t *testing.T) {
	want := engine.Status{
		Identity: engine.Identity{PID: 7, Version: "v1", Namespace: 4026531840, Adopted: true},
		Since:    time.Unix(1000, 0).UTC(),
		Settings: engine.Settings{Lease: engine.Seconds(1500 * time.Millisecond), MinPackets: 3, Keep: true},
		Flowtables: []engine.Flowtable{{
			Family: "inet", Table: "filter", Name: "f1", Lowered: true, Labels: []int{126, 127}, Devices: []string{"r0"},
		}},
		Devices: []engine.Decision{{
			Name: "r0", Ifindex: 2, Hook: engine.TC, Reason: engine.Reason{Code: reason.OffPort, Text: "t", Advice: "a"},
			Flowtables: []string{"inet filter f1"},
		}},
		Rules: engine.RulesStatus{On: true, Executing: true, Since: time.Unix(1500, 0).UTC(), Why: "rule", Devices: []engine.RuledDevice{{
			Name: "r0", Ifindex: 2, Hook: engine.TC, Early: 3, Packets: engine.EarlyPackets{Dropped: 8},
			Software: []engine.SoftwareRules{{Reason: engine.Reason{Code: reason.TCOnly, Text: "t"}, Rules: 1, First: "f"}},
		}}},
		Stats: engine.Stats{
			Fast: map[engine.Hook]engine.Counter{engine.TC: {Packets: 9, Bytes: 900}}, Slow: engine.Counter{Packets: 1, Bytes: 2},
			Reasons: []engine.Count{{Code: "renewal", Stage: "table", Text: "x", Counter: engine.Counter{Packets: 3, Bytes: 4}}},
			Flows:   2, Ready: 2, MaxFlows: 100, BytesPerFlow: 208,
		},
		Generations: engine.Generations{Count: 5, Last: time.Unix(2000, 0).UTC(), Why: "route"},
		Sweep:       engine.SweepInfo{Entries: 2, Took: engine.Seconds(2 * time.Millisecond)},
		Problems:    []engine.Problem{{Time: time.Unix(3000, 0).UTC(), Text: "p", Times: 2}},
	}
	c, _ := serve(t, &fake{status: want})
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(engine.Decision{}, engine.RuledDevice{})); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestCountersOfRulesComeBackAsTheyWere(t *testing.T) {
	want := []engine.RuleCount{{
		RuleID:  engine.RuleID{Family: "netdev", Table: "t", TableHandle: 3, Chain: "c", Handle: 9},
		Counter: engine.Counter{Packets: 1 << 60, Bytes: 7},
	}}
	c, _ := serve(t, &fake{counts: want})
	got, err := c.RuleCounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestFlowsAreAskedForWithTheFilter(t *testing.T) {
	f := &fake{flows: []engine.Flow{{
		Proto: "udp", Src: netip.MustParseAddrPort("[2001:db8::1]:53"), Dst: netip.MustParseAddrPort("[2001:db8::2]:99"),
		NATSrc: netip.MustParseAddrPort("[2001:db8::1]:53"), NATDst: netip.MustParseAddrPort("[2001:db8::2]:99"),
		In: "r0", InIndex: 2, Hook: engine.XDP, State: "ready", Packets: 1 << 60, Lease: engine.Seconds(-time.Second),
	}}}
	c, _ := serve(t, f)
	got, err := c.Flows(t.Context(), "10.1.2.3/8", "192.0.2.2", "53", "udp")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.flows, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	want := engine.Filter{Src: netip.MustParsePrefix("10.0.0.0/8"), Dst: netip.MustParsePrefix("192.0.2.2/32"), Port: 53, Proto: "udp"}
	if f.filter != want {
		t.Errorf("filter %+v, want %+v", f.filter, want)
	}
}

func TestErrorsReachTheClientAsText(t *testing.T) {
	c, _ := serve(t, &fake{err: errors.New("the table burned down")})
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "the table burned down") {
		t.Errorf("status: %v", err)
	}
	if _, err := c.Flows(t.Context(), "", "", "http", ""); err == nil || !strings.Contains(err.Error(), `port "http"`) {
		t.Errorf("flows: %v", err)
	}
}

func TestNobodyBehindTheSocketIsNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if _, err := api.NewClient(path).Status(t.Context()); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.NewClient(path).Status(t.Context()); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("a file that nobody listens on: %v", err)
	}
}

func TestSocketIsForItsOwnerAloneAndReplacesAStaleOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := api.Listen(path, &fake{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // nothing was served
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
