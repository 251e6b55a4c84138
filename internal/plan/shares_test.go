package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestSharesEndPacketsAsTheRulesetDoes: what a share drops or forwards, the whole ruleset drops or forwards, and counts
// the same on the way.
func TestSharesEndPacketsAsTheRulesetDoes(t *testing.T) {
	const rulesets, packets = 4000, 25
	t.Logf("seed %d", *seed)
	ended, all := 0, 0
	for i := range uint64(rulesets) {
		r := newRandom(*seed<<32 + 1<<31 + i)
		r.wide = true
		rs := r.ruleset(2+r.IntN(8), r.IntN(2) == 0)
		if r.IntN(2) == 0 {
			rs.Meta = json.RawMessage(`{"version":"1.0.6"}`)
		}
		m, o := r.machine(t)
		pl := Make(rs, m, o)
		shares := pl.Shares()
		if len(shares) != 1 {
			t.Fatalf("seed %d ruleset %d: %d shares", *seed, i, len(shares))
		}
		checkTiers(t, pl, &shares[0])
		full := eval.New(rs, map[string]uint32{"eth0": 2, "eth1": 3})
		for range packets {
			data := r.damaged()
			want := full.Run(addressed(data))
			if want.Outcome == eval.Unknown {
				t.Fatalf("seed %d ruleset %d: eval does not know: %v", *seed, i, want.Missing)
			}
			all++
			f, ok := decode(data)
			if !ok {
				continue
			}
			got, ok := f.execute(&shares[0])
			if !ok {
				continue
			}
			ended++
			if d := differs(got, want); d != "" {
				t.Fatalf("seed %d ruleset %d at %s: %s\nframe %x\n%s\n%s\n%s", *seed, i, shares[0].Hook, d, data, rs, pl.Text(), show(&shares[0]))
			}
		}
	}
	t.Logf("%d packets, %d ended by the share", all, ended)
	if ended < all/10 {
		t.Errorf("only %d of %d packets were ended: the test proves little", ended, all)
	}
}

// differs is in what a share and the whole ruleset differ; empty: in nothing.
func differs(got executed, want eval.Result) string {
	outcome := map[share.Ending]eval.Outcome{share.Drops: eval.Dropped, share.Forwards: eval.Stolen}[got.ending]
	var refs []string
	for _, r := range got.counted {
		refs = append(refs, fmt.Sprint(r.Chain, " ", r.Handle))
	}
	var counts []string
	for _, s := range want.Steps {
		for n, stmt := range s.Rule.Stmts {
			if _, ok := stmt.(ruleset.Counter); ok && n < s.Reached {
				counts = append(counts, fmt.Sprint(s.Rule.Chain, " ", s.Rule.Handle))
			}
		}
	}
	if outcome != want.Outcome || !slices.Equal(refs, counts) {
		return fmt.Sprintf("share: %s, counted %v; whole ruleset: %s, counted %v", outcome, refs, want.Outcome, counts)
	}
	return ""
}

// checkTiers compares what plan says of rules with what the share has.
func checkTiers(t *testing.T, pl *Plan, s *share.Share) {
	t.Helper()
	in := map[string]bool{}
	for _, e := range s.Entries {
		in[fmt.Sprint(e.Rule.Chain, " ", e.Rule.Number)] = true
	}
	for _, c := range pl.Chains {
		for _, r := range c.Rules {
			name := fmt.Sprint(c.Name, " ", r.Number)
			jump := strings.Contains(r.Text, "jump") || strings.Contains(r.Text, "goto")
			for _, at := range r.At {
				if at.Tier != Software && !in[name] && !jump {
					t.Fatalf("rule %s is said to run at %s, and is not in the share\n%s", name, at.Tier, pl.Text())
				}
			}
		}
	}
}

// addressed is a packet whose address, where it is one of a single device, is that of eth0.
func addressed(data []byte) eval.Packet {
	p := ingress(data)
	mac := packet.MAC{2, 0, 0, 0, 0, 9}
	if len(data) > len(mac) && data[0]&1 == 0 {
		copy(mac[:], data)
	}
	p.In.MAC = &mac
	return p
}

// machine is one on which eth0 has a hook.
func (r random) machine(t *testing.T) (caps.Machine, Options) {
	t.Helper()
	name := pick(r, "ixgbe", "r8169", "ice-uplink", "veth")
	p, ok := caps.Lookup(name)
	if !ok {
		t.Fatalf("no profile %s", name)
	}
	o := Options{SetsChange: r.IntN(2) == 0, NoHardware: true}
	if r.IntN(4) == 0 {
		o.Hooks = map[string]string{"eth0": pick(r, "tc", "xdp")}
	}
	m := caps.Assume(p, "eth0", "eth1")
	if name == "r8169" && o.Hooks["eth0"] == "xdp" {
		o.Hooks = nil
	}
	return m, o
}

// damaged is a random frame, or a part of one.
func (r random) damaged() []byte {
	data, _ := r.packet()
	switch r.IntN(8) {
	case 0:
		return data[:14+r.IntN(len(data)-13)]
	case 1:
		data[14+r.IntN(min(30, len(data)-14))] ^= byte(1 << r.IntN(8))
	case 2:
		data[r.IntN(6)] = 0xff
	case 3:
		copy(data, "\xff\xff\xff\xff\xff\xff")
	case 4:
		tag := []byte{0x81, 0, 0, pick[byte](r, 10, 20)}
		if r.IntN(2) == 0 {
			tag[0], tag[1] = 0x88, 0xa8
		}
		data = slices.Insert(data, 12, tag...)
	}
	return data
}

// show writes the entries of a share, for failures.
func show(s *share.Share) string {
	out := ""
	for i, e := range s.Entries {
		out += fmt.Sprintf("%d: %+v\n", i, e)
	}
	return out
}
