//go:build guest

package paths

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const fastTC = "fast (tc)"

// path is one way through the router. Connections are opened from one site's host to another's, and flow both ways.
type path struct {
	feature  string
	from, to string // sites; "sw/1" is the second host
	lowered  string // the result wanted; fastTC by default
	kernel   string // the same on the kernel's own flowtable
}

func (p path) want(f form) string {
	want := p.lowered
	if f == flowtable {
		want = p.kernel
	}
	if want == "" {
		return fastTC
	}
	return want
}

func paths() []path {
	return []path{
		{feature: "veth into a container", from: "lan", to: "wan"},
		{feature: "802.1Q in", from: "vlan", to: "wan"},
		{feature: "802.1Q out", from: "lan", to: "vlan"},
		{feature: "802.1Q in and out", from: "vlan", to: "vlan2"},
		{feature: "QinQ (802.1ad and 802.1Q) in", from: "qinq", to: "wan"},
		{feature: "QinQ (802.1ad and 802.1Q) out", from: "lan", to: "qinq"},
		{feature: "QinQ in, 802.1Q out", from: "qinq", to: "vlan"},
		{feature: "bridge in", from: "sw", to: "wan"},
		{feature: "bridge out", from: "lan", to: "sw/1"},
		{feature: "bridge in, 802.1Q out", from: "sw", to: "vlan"},
		{feature: "VLAN-filtering bridge, untagged port", from: "vsw", to: "wan"},
		{feature: "VLAN-filtering bridge, tagged port", from: "vsw/1", to: "wan"},
		{feature: "bond, active-backup", from: "bond", to: "wan"},
		{feature: "bond, balance-xor", from: "lan", to: "xor"},
		{feature: "PPPoE in", from: "ppp", to: "wan", kernel: "kernel flowtable"},
		{feature: "PPPoE out", from: "lan", to: "ppp", kernel: "kernel flowtable"},
		{feature: "bridge in, PPPoE out", from: "sw", to: "ppp", kernel: "kernel flowtable"},
		{feature: "IPIP in", from: "ipip", to: "wan"},
		{feature: "IPIP out", from: "lan", to: "ipip"},
		{feature: "WireGuard in", from: "wg", to: "wan"},
		{feature: "WireGuard out", from: "lan", to: "wg"},
		{feature: "IPsec (ESP) in", from: "esp", to: "wan", lowered: "slow: ipsec", kernel: "kernel flowtable"},
		{feature: "IPsec (ESP) out", from: "lan", to: "esp", lowered: "slow: ipsec", kernel: "kernel flowtable"},
		{feature: "within a VRF", from: "vrfa", to: "vrfb"},
	}
}

// TestPaths sends TCP and UDP in both families along every path and finds out who forwarded them, first on the kernel's own
// flowtable and then with the ruleset lowered, all with one program. In between rulesets do what they do with flowtables,
// then things happen to running flows, and at last the program is killed.
func TestPaths(t *testing.T) {
	w := newWorld(t, flowtable, append(sitesOf(paths()), "roam", "multi", "jumbo", "narrow")...)
	t.Log("the world is there")
	w.load(w.ruleset())
	w.alone = w.reload(t)
	t.Log("reloaded without the program")
	w.run()
	t.Log("the program runs")
	w.prove(t, paths())
	w.happen(t, "The kernel's own flowtable", tables())
	w.become(lowered)
	w.prove(t, paths())
	w.happen(t, "Changes under traffic, with `load --lower`", events())
	t.Run("without a daemon", func(t *testing.T) { without(t, w) })
}

// prove sends along all paths, in the world's form.
func (w *world) prove(t *testing.T, paths []path) {
	t.Run(string(w.form), func(t *testing.T) {
		for _, p := range paths {
			t.Run(p.feature, func(t *testing.T) { w.along(t, p) })
		}
	})
}

// happen lets events happen, each a row of a table in the matrix.
func (w *world) happen(t *testing.T, section string, events []event) {
	t.Run("events "+string(w.form), func(t *testing.T) {
		for _, e := range events {
			t.Run(e.feature, func(t *testing.T) {
				e.run(t, w)
				testkit.Proved(t, testkit.Feature{Section: section, Name: e.feature, Result: e.result})
			})
		}
	})
}

// sitesOf are the sites that paths lead through, each once.
func sitesOf(paths []path) []string {
	var names []string
	for _, p := range paths {
		for _, end := range []string{p.from, p.to} {
			site, _, _ := strings.Cut(end, "/")
			if !slices.Contains(names, site) {
				names = append(names, site)
			}
		}
	}
	return names
}

// along sends along one path.
func (w *world) along(t *testing.T, p path) {
	t.Helper()
	from, to := w.host(p.from), w.host(p.to)
	before := w.d.Status()
	all := w.open(t, from, to)
	want := p.want(w.form)
	if strings.HasPrefix(want, "fast") {
		w.awaitReady(t, all)
	}
	shares := w.measure(t, all)
	reasons := w.reasons(before, from, to)
	for _, f := range all {
		got := shares[f.name].tier()
		if got == "slow" {
			got += ": " + reasons[0]
			if code, ok := strings.CutPrefix(want, "slow: "); ok && slices.Contains(reasons, code) {
				got = want
			}
		}
		if got != want {
			t.Errorf("%s is %s, want %s; %s; reasons %v; %s", f.name, got, want, shares[f.name], reasons, w.counters())
		}
		f.close(t)
	}
	testkit.Proved(t, testkit.Feature{Section: w.form.section(), Name: p.feature, Result: want})
}

// host returns a host by its site's name, "sw", or with its number, "sw/1".
func (w *world) host(name string) *host {
	site, number, _ := strings.Cut(name, "/")
	var n int
	if number != "" {
		if _, err := fmt.Sscan(number, &n); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.sites[site].hosts[n]
}

// reasons says why packets between the hosts were slow, since an earlier status: what the observer counted most often
// first, then why devices of their sites are off.
func (w *world) reasons(before engine.Status, ends ...*host) []string {
	after := w.d.Status()
	counts := map[string]uint64{}
	for _, r := range after.Stats.Reasons {
		counts[r.Code] = r.Packets
	}
	for _, r := range before.Stats.Reasons {
		counts[r.Code] -= r.Packets
	}
	var codes []string
	for _, r := range after.Stats.Reasons {
		if counts[r.Code] > 0 && !ordinary(r) {
			codes = append(codes, r.Code)
		}
	}
	slices.SortFunc(codes, func(a, b string) int { return int(counts[b]) - int(counts[a]) })
	for _, d := range after.Devices {
		if d.Hook != engine.Off {
			continue
		}
		for _, e := range ends {
			if d.Name == e.site.top || slices.Contains(e.site.listed, d.Name) {
				codes = append(codes, d.Reason.Code.Code())
			}
		}
	}
	return append(codes, "unknown")
}

// ordinary reports whether a reason is counted for fast flows too, as they begin, end and are renewed.
func ordinary(r engine.Count) bool {
	switch r.Code {
	case "learned", "renewed", "renewal", "min-packets", "conntrack-state", "tcp-state", "tcp-flags", "no-reply", "not-liberal",
		"no-entry", "not-ready", "not-ip", "not-tcp-udp", "one-way", "untracked", "not-added":
		return true
	}
	return false
}

// close ends the flow.
func (f *traffic) close(t *testing.T) {
	t.Helper()
	if f.udp != nil {
		f.udp.Close()
		return
	}
	if err := f.tcp.Finish(quiet); err != nil {
		t.Errorf("%s: %v", f.name, err)
	}
}
