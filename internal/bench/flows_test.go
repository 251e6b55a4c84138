package bench

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// tiny is a benchmark of everything that measures nothing well.
func tiny() Options {
	return Options{Flows: []int{1, 64}, Rounds: 1, Pairs: 1, Window: 30 * time.Millisecond}
}

func TestFlowsMeasuresFastPathsAndLeavesNothing(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	r, err := Flows(context.Background(), tiny())
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if want := 2 * 2 * 5; len(r.Rows) != want {
		t.Errorf("%d rows, want %d", len(r.Rows), want)
	}
	for _, row := range r.Rows {
		if row.Failed != "" || row.NsPerPacket <= 0 {
			t.Errorf("%+v", row)
		}
		if row.LostShare > 0.01 {
			t.Errorf("%s, %s, %d flows: %.1f %% lost", row.Path, row.Family, row.Flows, 100*row.LostShare)
		}
	}
	if len(r.Connections) != 4 {
		t.Errorf("new connections: %+v", r.Connections)
	}
	nothingPinned(t)
}

// More flows than conntrack takes are written into the table, where the programs have to find them.
func TestInsertedFlowsAreFast(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	o := tiny()
	o.Flows, o.Pairs = []int{2 * mostLive}, -1
	r, err := Flows(context.Background(), o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	fast := 0
	for _, row := range r.Rows {
		if row.Failed != "" {
			t.Errorf("%+v", row)
		}
		if row.FastShare > 0.9 {
			fast++
		}
	}
	if want := 2 * 2; fast != want {
		t.Errorf("%d of %d rows are fast: %+v", fast, want, r.Rows)
	}
}

func TestFlowsEndsWithItsContextAndLeavesNothing(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	ctx, cancel := context.WithCancel(context.Background())
	o := tiny()
	o.Progress = func(_ string, done float64) {
		if done > 0.1 {
			cancel()
		}
	}
	if _, err := Flows(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	nothingPinned(t)
}

func nothingPinned(t *testing.T) {
	t.Helper()
	p := pins{root: pinDirectory()}
	if _, err := os.Stat(p.root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there", p.root)
	}
}

func TestCheckRefusesWhatCannotBeMeasured(t *testing.T) {
	for _, o := range []Options{{Flows: []int{3}}, {Flows: []int{0}}, {Flows: []int{1 << 21}}, {Families: []string{"ipx"}}, {Rounds: -1}} {
		if o.Check() == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if err := (Options{Flows: []int{1, 1 << 17}, Families: []string{"ip", "ip6"}}).Check(); err != nil {
		t.Error(err)
	}
}
