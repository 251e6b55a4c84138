package nft

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// Tests about devices that are missing or that refuse: the ruleset is loaded all the same. They run on the build machine,
// whose kernel has no flowtables, and in guests, whose kernels have them.

func hasFlowtables(t *testing.T) bool {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	has, err := HasFlowtables(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// The rules around a flowtable whose devices are all missing are in force, in text, JSON and through variables.
func TestLoadDevices_AllMissing_TheRestIsInForce(t *testing.T) {
	has := hasFlowtables(t)
	const chain = "chain c { type filter hook forward priority 0; policy drop\ntcp dport 22 accept\nmeta l4proto udp flow add @f\n}\n"
	for name, text := range map[string]string{
		"one":      "flush ruleset\ntable inet t {\nflowtable f { hook ingress priority 0; devices = { gone }; }\n" + chain + "}\n",
		"several":  "flush ruleset\ntable inet t {\nflowtable f {\nhook ingress priority 0\ndevices = { gone, lost, wan }\ncounter\n}\n" + chain + "}\n",
		"variable": "define wan = { gone, lost }\nflush ruleset\ntable inet t {\nflowtable f { hook ingress priority 0; devices = $wan; }\n" + chain + "}\n",
		"none":     "flush ruleset\ntable inet t {\nflowtable f { hook ingress priority 0; }\n" + chain + "}\n",
		"JSON": `{"nftables": [{"flush": {"ruleset": null}}, {"add": {"table": {"family": "inet", "name": "t"}}},
			{"add": {"flowtable": {"family": "inet", "table": "t", "name": "f", "hook": "ingress", "prio": 0, "dev": ["gone", "lost"]}}},
			{"add": {"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}},
			{"add": {"rule": {"family": "inet", "table": "t", "chain": "c", "expr": [
				{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]}}},
			{"add": {"rule": {"family": "inet", "table": "t", "chain": "c", "expr": [
				{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}}, {"flow": {"op": "add", "flowtable": "@f"}}]}}}]}`,
	} {
		for _, lower := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s lower=%v", name, lower), func(t *testing.T) {
				ns := nsWith(t, before)
				r := loadText(t, ns, text, Options{Lower: lower})
				f := r.Flowtables[0]
				if len(r.Flowtables) != 1 || len(f.Devices) != 0 || name != "none" && len(f.Missing) == 0 || name == "none" && len(f.Missing) != 0 {
					t.Errorf("report %+v", r)
				}
				if r.Lowered != (lower || !has) {
					t.Errorf("lowered %v, kernel with flowtables %v", r.Lowered, has)
				}
				if got := listing(ns); strings.Contains(got, "table ip old") || !strings.Contains(got, "policy drop") || !strings.Contains(got, "tcp dport 22 accept") {
					t.Errorf("loaded:\n%s", got)
				}
				var names []string // a lowered flowtable keeps them, for when they appear
				if r.Lowered {
					names = slices.Sorted(slices.Values(f.Missing))
				}
				got := live(t, ns).Flowtables
				if len(got) != 1 || !slices.Equal(got[0].Devices, names) || got[0].Lowered != r.Lowered {
					t.Errorf("flowtables %+v, want one over %q", got, names)
				}
			})
		}
	}
}

// A device that comes later is in a flowtable of the kernel after the next load, and in a lowered one before.
func TestLoadDevices_DeviceThatAppears_IsThereAfterTheNextLoad(t *testing.T) {
	ns := nsWith(t, "")
	const text = "flush ruleset\ntable inet t {\nflowtable f { hook ingress priority 0; devices = { late }; }\nchain c { type filter hook forward priority 0\nflow add @f\n}\n}\n"
	if f := loadText(t, ns, text, Options{}).Flowtables[0]; !slices.Equal(f.Missing, []string{"late"}) {
		t.Errorf("report %+v", f)
	}
	ns.Run("ip", "link", "add", "late", "type", "veth", "peer", "name", "other")
	if f := loadText(t, ns, text, Options{}).Flowtables[0]; len(f.Missing) != 0 || !slices.Equal(f.Devices, []string{"late"}) {
		t.Errorf("report %+v", f)
	}
	if got := live(t, ns).Flowtables; len(got) != 1 || !slices.Equal(got[0].Devices, []string{"late"}) {
		t.Errorf("flowtables %+v", got)
	}
}

// `flags offload` that a device refuses costs that flag, on that flowtable: other flags, other flowtables and the rules
// are as written. No device of these tests offloads, so where the kernel asks them each flowtable with the flag loses it.
func TestLoadDevices_OffloadRefused_CostsTheFlagOnThatFlowtableOnly(t *testing.T) {
	has := hasFlowtables(t)
	const text = `flush ruleset
table inet t {
	flowtable hard { hook ingress priority 0; devices = { d0, gone }; flags offload; counter; }
	flowtable soft { hook ingress priority 5; devices = { d1 }; counter; }
	chain c {
		type filter hook forward priority 0; policy drop;
		meta l4proto tcp flow add @hard
		meta l4proto udp flow add @soft
	}
}
`
	ns := nsWith(t, before)
	ns.Run("ip", "link", "add", "name", "d0", "type", "veth", "peer", "name", "d1")
	r := loadText(t, ns, text, Options{})
	hard, soft := r.Flowtables[0], r.Flowtables[1]
	if (hard.Refused != "") != has || soft.Refused != "" {
		t.Errorf("kernel with flowtables %v: refused %q and %q", has, hard.Refused, soft.Refused)
	}
	if has && !strings.Contains(hard.Refused, "device d0 refuses it") {
		t.Errorf("the refusal names no device: %q", hard.Refused)
	}
	if !slices.Equal(hard.Missing, []string{"gone"}) || !slices.Equal(soft.Devices, []string{"d1"}) {
		t.Errorf("report %+v", r)
	}
	want := map[string][]string{"hard": {"counter", "offload"}, "soft": {"counter"}} // a lowered one remembers what was written
	if has {
		want["hard"] = []string{"counter"}
	}
	got := live(t, ns).Flowtables
	for _, f := range got {
		if !slices.Equal(f.Flags, want[f.Name]) {
			t.Errorf("flowtable %s has flags %q, want %q", f.Name, f.Flags, want[f.Name])
		}
	}
	if len(got) != 2 || !strings.Contains(listing(ns), "policy drop") {
		t.Errorf("loaded:\n%s", listing(ns))
	}
}

// With --lower nobody is asked to offload, and nothing is refused.
func TestLoadDevices_OffloadWithLower_IsNotAskedFor(t *testing.T) {
	ns := nsWith(t, "")
	ns.Run("ip", "link", "add", "name", "d0", "type", "veth", "peer", "name", "d1")
	r := loadText(t, ns, "table inet t {\nflowtable f { hook ingress priority 0; devices = { d0 }; flags offload; }\nchain c { type filter hook forward priority 0\nflow add @f\n}\n}\n", Options{Lower: true})
	if r.Flowtables[0].Refused != "" || !slices.ContainsFunc(r.Deviations, func(d string) bool { return strings.Contains(d, "flags offload") }) {
		t.Errorf("report %+v", r)
	}
}
