package corpus

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// machines are those that the corpus is planned for: one of which nothing is known, and one with a capable NIC for
// every device that the rules name.
func machines(t testing.TB, r *ruleset.Ruleset) map[string]caps.Machine {
	t.Helper()
	p, ok := caps.Lookup("mlx5")
	if !ok {
		t.Fatal("no profile mlx5")
	}
	return map[string]caps.Machine{"unknown": {}, "mlx5": caps.Assume(p, names(r)...)}
}

// names are the devices of hooks and flowtables.
func names(r *ruleset.Ruleset) []string {
	var out []string
	for _, t := range r.Tables {
		for _, c := range t.Chains {
			if c.Base != nil {
				out = append(out, c.Base.Devices...)
			}
		}
		for _, f := range t.Flowtables {
			out = append(out, f.Devices...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// complete puts back what the JSON of nft 1.0.6 lacks and the text has: devices of netdev chains, flags of flowtables.
func complete(r *ruleset.Ruleset, text string) {
	var t *ruleset.Table
	var c *ruleset.Chain
	var f *ruleset.Flowtable
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.Fields(strings.NewReplacer(`"`, "", ",", " ", ";", " ").Replace(line))
		switch {
		case len(words) < 2:
		case words[0] == "table":
			t = r.Table(ruleset.Family(words[1]), words[2])
		case words[0] == "chain" && len(words) == 3:
			c, f = t.Chain(words[1]), nil
		case words[0] == "flowtable" && len(words) == 3:
			f = t.Flowtable(words[1])
		case words[0] == "type" && c != nil && c.Base != nil && slices.Contains(words, "priority"):
			c.Base.Devices = hookDevices(words)
		case words[0] == "flags" && f != nil:
			f.Flags = append(f.Flags, words[1:]...)
		}
	}
}

// hookDevices are the names between `device` or `devices` and `priority`.
func hookDevices(words []string) []string {
	at := slices.IndexFunc(words, func(w string) bool { return w == "device" || w == "devices" })
	if at < 0 {
		return nil
	}
	var out []string
	for _, w := range words[at+1 : slices.Index(words, "priority")] {
		if !strings.ContainsAny(w, "={}") {
			out = append(out, w)
		}
	}
	return out
}

// TestEveryRuleHasATierAndAReason plans every ruleset for every machine. What is planned is compared with
// testdata/NAME.txt.
func TestEveryRuleHasATierAndAReason(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		r := decode(t, f.json)
		complete(r, string(f.text))
		var out strings.Builder
		ms := machines(t, r)
		for _, name := range slices.Sorted(maps.Keys(ms)) {
			p := plan.Make(r, ms[name], plan.Options{})
			if n, want := rules(t, p), strings.Count(string(f.json), `{"rule": `); n != want {
				t.Errorf("%s: %d rules planned, want %d", name, n, want)
			}
			fmt.Fprintf(&out, "# plan, machine: %s\n%s", name, planned(p))
			fmt.Fprintf(&out, "# lint, machine: %s\n%s", name, linted(lint.Check(r, ms[name])))
		}
		golden(t, filepath.Join("testdata", f.name+".txt"), out.String())
	})
}

// rules counts the rules of a plan, and complains about any without a tier or without a reason for a slower one.
func rules(t *testing.T, p *plan.Plan) int {
	t.Helper()
	n := 0
	for _, c := range p.Chains {
		for _, u := range c.Rules {
			n++
			if len(u.At) == 0 {
				t.Errorf("%s: no tier", u.Text)
			}
			if u.Text == "" {
				t.Errorf("%s %s %s handle %d: no text", c.Family, c.Table, c.Name, u.Handle)
			}
			for _, at := range u.At {
				if at.Tier != plan.Hardware && at.Finding.None() && (at.Hardware == nil || at.Hardware.None()) {
					t.Errorf("%s: %s without a reason", u.Text, at.Tier)
				}
				if at.Finding.Reason.Info().Text == "" && !at.Finding.None() {
					t.Errorf("%s: reason %v has no sentence", u.Text, at.Finding.Reason)
				}
			}
		}
	}
	return n
}

// planned is a summary: how many rules are where and why, then flowtables.
func planned(p *plan.Plan) string {
	count := map[string]int{}
	for _, c := range p.Chains {
		for _, u := range c.Rules {
			for _, at := range u.At {
				why := at.Finding
				if at.Tier == plan.XDP && at.Hardware != nil {
					why = *at.Hardware
				}
				count[fmt.Sprintf("%s: %s", at.Tier, why.Reason)]++
			}
		}
	}
	var out strings.Builder
	for _, k := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&out, "%5d %s\n", count[k], k)
	}
	for _, f := range p.Flowtables {
		fmt.Fprintf(&out, "flowtable %s %s %s\n", f.Family, f.Table, f.Name)
		for _, d := range f.Devices {
			fmt.Fprintf(&out, "  %s: hook %q, xdp %s, offload %s\n", d.Name, d.Hook, d.XDP.Reason, d.Offload.Reason)
		}
		for _, a := range f.Adds {
			fmt.Fprintf(&out, "  %s\n    covers %s; %s; after %d rules\n", a.Text, strings.Join(a.Covers, ", "), a.Finding.Reason, len(a.Before))
		}
	}
	return out.String()
}

// linted is one line a finding.
func linted(fs []lint.Finding) string {
	var out strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&out, "%s %s, %s\n", f.Severity, f.Reason, f.Place)
	}
	if len(fs) == 0 {
		return "nothing\n"
	}
	return out.String()
}
