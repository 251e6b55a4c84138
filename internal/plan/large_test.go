package plan

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// large is a chain of rules of mixed kinds and a set of ten times as many elements. Every fourth rule logs, so that it
// blocks those behind it that it overlaps.
func large(rules int) *ruleset.Ruleset {
	t := &ruleset.Table{Family: ruleset.Netdev, Name: "t"}
	set := &ruleset.Set{Family: t.Family, Table: t.Name, Name: "s", Type: []string{"ipv4_addr"}, Flags: []string{"interval"}}
	for i := range 10 * rules {
		set.Elems = append(set.Elems, ruleset.Str(address(1, 2*i)))
	}
	t.Sets = []*ruleset.Set{set}
	c := &ruleset.Chain{Family: t.Family, Table: t.Name, Name: "ingress", Base: &ruleset.Base{
		Type: "filter", Hook: "ingress", Priority: 10, Policy: "accept", Devices: []string{"eth0"},
	}}
	t.Chains = []*ruleset.Chain{c}
	eq := func(proto, field string, v ruleset.Expr) ruleset.Stmt {
		return ruleset.Match{Op: "==", Left: ruleset.Payload{Proto: proto, Field: field}, Right: v}
	}
	for i := range rules {
		r := &ruleset.Rule{Family: t.Family, Table: t.Name, Chain: c.Name, Index: i, Handle: i + 2}
		switch i % 4 {
		case 0:
			r.Stmts = []ruleset.Stmt{eq("ip", "saddr", ruleset.Str(address(100, i))), ruleset.Action{Kind: "log"}}
		case 1:
			r.Stmts = []ruleset.Stmt{eq("ip", "saddr", ruleset.Prefix{Addr: ruleset.Str(address(150, i<<8)), Len: 24})}
		case 2:
			r.Stmts = []ruleset.Stmt{
				eq("ip", "daddr", ruleset.Str(address(150, i))),
				eq("tcp", "dport", ruleset.Range{From: ruleset.Num(i % 1000), To: ruleset.Num(i%1000 + 100)}),
				ruleset.Counter{},
			}
		case 3:
			r.Stmts = []ruleset.Stmt{eq("ip", "saddr", ruleset.SetRef("s")), eq("udp", "dport", ruleset.Num(i%60000))}
		}
		r.Stmts = append(r.Stmts, ruleset.Verdict{Kind: ruleset.Drop})
		c.Rules = append(c.Rules, r)
	}
	return &ruleset.Ruleset{Tables: []*ruleset.Table{t}}
}

func address(first, n int) string {
	return fmt.Sprintf("%d.%d.%d.%d", first+n>>24, n>>16&255, n>>8&255, n&255)
}

func nic(t testing.TB) caps.Machine {
	p, ok := caps.Lookup("mlx5")
	if !ok {
		t.Fatal("no profile")
	}
	return caps.Assume(p, "eth0")
}

// TestLargeRulesetIsPlanned: 10,000 rules and a set of 100,000 elements. Time and memory are printed; the limits are for
// slow and busy machines.
func TestLargeRulesetIsPlanned(t *testing.T) {
	rs, m := large(10_000), nic(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	p := Make(rs, m, Options{})
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	mb := (after.TotalAlloc - before.TotalAlloc) >> 20
	t.Logf("10,000 rules and 100,000 elements: %v, %d MB allocated in all; %s", took.Round(time.Millisecond), mb, p.Summary())
	if took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if mb > 500 {
		t.Errorf("allocated %d MB", mb)
	}
}

func BenchmarkMake(b *testing.B) {
	for _, rules := range []int{1_000, 10_000, 100_000} {
		rs, m := large(rules), nic(b)
		b.Run(fmt.Sprintf("rules=%d", rules), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Make(rs, m, Options{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rules), "ns/rule")
		})
	}
}
