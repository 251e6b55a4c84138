package bench

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// little is a benchmark of every shape that measures nothing well.
func little() RulesOptions {
	return RulesOptions{Rules: []int{20}, Elements: []int{50}, Rounds: 1, Window: 5 * time.Millisecond}
}

func TestRulesMeasuresEveryShapeByEveryPathAndLeavesNothing(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	o := little()
	r, err := Rules(context.Background(), o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for _, n := range r.Refused {
		t.Errorf("not shown: %+v", n)
	}
	paths := []string{PathNFT, PathTC, PathXDP, PathDrop, PathSender}
	if want := len(o.withDefaults().groups()) * len(paths); len(r.Rows) != want {
		t.Errorf("%d rows, want %d", len(r.Rows), want)
	}
	for i, row := range r.Rows {
		if row.Path != paths[i%len(paths)] || row.NsPerPacket <= 0 || row.Packets < leastFrames || row.LostShare > 0 {
			t.Errorf("%+v", row)
		}
	}
	nothingPinned(t)
}

func TestRulesEndsWithItsContextAndLeavesNothing(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	for _, when := range []string{"loading", "checking", "round"} {
		ctx, cancel := context.WithCancel(context.Background())
		o := little()
		o.Progress = func(what string, _ float64) {
			if strings.Contains(what, when) {
				cancel()
			}
		}
		if _, err := Rules(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: ended with %v", when, err)
		}
		nothingPinned(t)
	}
}

func TestCheckOfRulesRefusesWhatCannotBeMeasured(t *testing.T) {
	for _, o := range []RulesOptions{{Rules: []int{0}}, {Rules: []int{1 << 15}}, {Elements: []int{1 << 21}}, {Shapes: []string{"round"}}, {Rounds: -1}} {
		if o.Check() == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if err := (RulesOptions{Rules: []int{1, 10_000}, Elements: []int{1_000_000}, Shapes: Shapes()}).Check(); err != nil {
		t.Error(err)
	}
}

func TestSourcesWritesEveryAddressOnceWithRightChecksums(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	const n = 1000
	s := sources{template: template(device{}, device{}), first: otherNet, step: elementSlot, count: n}
	g, err := newSources(device{name: "lo", index: 1}, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	frames, err := g.preview(n)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]bool{}
	for _, f := range frames {
		h, err := packet.Decode(f)
		if err != nil || !h.IPChecksumOK(f) {
			t.Fatalf("frame %x: checksum wrong or %v", f, err)
		}
		seen[h.Tuple.Src.Addr()] = true
	}
	if len(seen) != n || !seen[address(otherNet)] || !seen[address(otherNet+(n-1)*elementSlot)] {
		t.Errorf("%d of %d addresses", len(seen), n)
	}
	if after, err := g.sent(); err != nil || after != 0 {
		t.Errorf("after the preview the generator is at %d: %v", after, err)
	}
}

func TestTextOfRulesFitsEightyColumns(t *testing.T) {
	var r RulesReport
	costs := Costs{MemoryBytes: 123 << 20, LoadMs: 12345, FillMs: 54321, ReloadMs: 12345, ChangeMs: 1.5, Reload: &Reload{9999, 9999, 9999, 9999, 99}}
	for _, p := range []string{PathNFT, PathTC, PathXDP, PathDrop, PathSender} {
		for _, k := range (RulesOptions{}).withDefaults().groups() {
			s := burst{packets: 1, elapsed: 1234567 * time.Nanosecond}
			r.Rows = append(r.Rows, k.row(&rulesPath{name: p, costs: costs}, []burst{s, s}, 44))
		}
	}
	k := chainKind{shape: ShapeSet, keys: ShapePrefix, rules: 1, elements: 1_000_000}
	r.Refused = append(r.Refused, k.refuse(PathXDP, errors.New(strings.Repeat("many words ", 20))))
	r.Targets = r.targets()
	r.Method = (&rulesRunner{RulesOptions: RulesOptions{}.withDefaults()}).method(Machine{Kernel: "6.18.44", CPU: "a processor with a long name of its own"})
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > textWidth {
			t.Fatalf("%d columns: %s", n, line)
		}
	}
}
