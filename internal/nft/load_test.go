package nft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// before is a live ruleset with state in it: a failed load must leave all of it.
const before = "table ip old {\ncounter c { packets 7 bytes 700 }\nset s { type ipv4_addr; elements = { 10.0.0.1 }; }\n" +
	"chain x { type filter hook input priority 0; policy accept\nip saddr @s counter packets 3 bytes 30 drop\n}\n}\n"

func nsWith(t *testing.T, text string) *testkit.NS {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	ns := testkit.NewNS(t, "load")
	ns.NFTables(text)
	return ns
}

func listing(ns *testkit.NS) string { return ns.Run("nft", "list", "ruleset") }

func TestLoad_BadInput_NamesThePlaceAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("broken.inc", "# nothing\ntcp dport accept\n")
	tests := map[string]struct {
		text string
		file string // by the error; relative to dir
		line int
		says string
	}{
		"syntax": {
			text: "flush ruleset\ntable ip t {\n chain c {\n  tcp dport eightty accept\n }\n}\n",
			file: "syntax.nft", line: 4, says: "eightty",
		},
		"syntax in the match of a lowered rule": {
			text: "flush ruleset\ntable ip t {\n flowtable f {\n hook ingress priority 0\n devices = { lo }\n }\n chain c {\n  tcp dprot 80 flow add @f accept\n }\n}\n",
			file: "syntax in the match of a lowered rule.nft", line: 8, says: "syntax error",
		},
		"syntax behind flow add": {
			text: "flush ruleset\ntable ip t {\n flowtable f { hook ingress priority 0; }\n chain c {\n  flow add @f acept\n }\n}\n",
			file: "syntax behind flow add.nft", line: 5, says: "syntax error",
		},
		"syntax in an included file": {
			text: "flush ruleset\ntable ip t {\n flowtable f { hook ingress priority 0; }\n chain c {\n  include \"./broken.inc\"\n }\n}\n",
			file: "broken.inc", line: 2, says: "syntax error",
		},
		"syntax in an included file, nothing to lower": {
			text: "flush ruleset\ntable ip t {\n chain c {\n  include \"./broken.inc\"\n }\n}\n",
			file: "broken.inc", line: 2, says: "syntax error",
		},
		"refused by the kernel": {
			text: "flush ruleset\ntable ip t {\n chain c {\n }\n}\ndelete chain ip t gone\n",
			file: "refused by the kernel.nft", line: 6, says: "gone",
		},
		"unknown flowtable": {
			text: "table ip t {\n chain c {\n flow add @f\n }\n}\n",
			file: "unknown flowtable.nft", line: 3, says: "f",
		},
		"JSON": {
			text: `{"nftables": [{"flush": {"ruleset": null}}, {"rule": {"family": "ip", "table": "gone", "chain": "c", "expr": [{"accept": null}]}}]}`,
			file: "JSON.nft", says: "No such file",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ns := nsWith(t, before)
			was := listing(ns)
			_, err := tryLoad(ns, write(name+".nft", tt.text), "", Options{})
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want an *Error", err)
			}
			// nft names included files relative to the directory it runs in.
			if filepath.Base(refused.File) != tt.file || refused.Line != tt.line || !strings.Contains(refused.Text, tt.says) {
				t.Errorf("got file %q line %d text:\n%s\nwant %q %d %q", refused.File, refused.Line, refused.Text, tt.file, tt.line, tt.says)
			}
			if now := listing(ns); now != was {
				t.Errorf("the ruleset changed from\n%s\nto\n%s", was, now)
			}
		})
	}
}

func TestLoad_WithoutFlush_AddsAsNftDoes(t *testing.T) {
	const text = "table ip old {\nchain x {\naccept\n}\n}\n"
	ns, ref := nsWith(t, before), nsWith(t, before)
	loadText(t, ns, text, Options{})
	ref.NFTables(text)
	if got, want := listing(ns), listing(ref); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLoad_SameFileTwiceWithoutFlush_KeepsWorking(t *testing.T) {
	ns := nsWith(t, "")
	const text = "table ip t {\nflowtable f { hook ingress priority 0; devices = { lo }; }\nchain c { type filter hook forward priority 0\n" +
		"flow add @f accept\n}\n}\n"
	first := loadText(t, ns, text, Options{Lower: true}).Flowtables[0].Labels
	second := loadText(t, ns, text, Options{Lower: true}).Flowtables[0].Labels
	if first == second {
		t.Errorf("both loads use labels %s", first)
	}
	if got := live(t, ns).Flowtables; len(got) != 1 || got[0].Labels != first.Union(second) {
		t.Errorf("listed %+v, want labels %s and %s", got, first, second)
	}
}

func TestLoad_BeforeNftIsAsked_FailsWithAReason(t *testing.T) {
	ns := nsWith(t, before)
	was := listing(ns)
	if _, err := tryLoad(ns, filepath.Join(t.TempDir(), "gone.nft"), "", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	err := ns.Do(func() error { // the thread ends with Do, and with it the lost capability
		if err := dropNetAdmin(); err != nil {
			t.Errorf("drop CAP_NET_ADMIN: %v", err)
		}
		_, err := Load(context.Background(), "-", Options{Stdin: strings.NewReader("flush ruleset\n")})
		return err
	})
	if !errors.Is(err, ErrPermission) {
		t.Errorf("without CAP_NET_ADMIN: %v", err)
	}
	func() {
		path := os.Getenv("PATH")
		defer func() { _ = os.Setenv("PATH", path) }()
		_ = os.Setenv("PATH", t.TempDir())
		if _, err := tryLoad(ns, "-", "flush ruleset\n", Options{}); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("without nft: %v", err)
		}
	}()
	if now := listing(ns); now != was {
		t.Errorf("the ruleset changed to\n%s", now)
	}
}

func dropNetAdmin() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&hdr, &data[0])
}

func TestLoad_MarkInUse_RefusesAndChangesNothing(t *testing.T) {
	const flow = "table ip t {\nflowtable f { hook ingress priority 0; devices = { lo }; }\nchain c { type filter hook forward priority 0\n%s\nflow add @f accept\n}\n}\n"
	tests := map[string]struct {
		live, rule string
		ok         bool
	}{
		"nobody uses marks":        {ok: true},
		"copied":                   {rule: "meta mark set ct mark"},
		"copied without the bit":   {rule: "meta mark set ct mark & 0xff00", ok: true},
		"compared":                 {rule: "ct mark 1 accept"},
		"compared under a mask":    {rule: "ct mark & 0xf == 1 accept", ok: true},
		"looked up":                {rule: "ct mark { 1, 2 } accept"},
		"overwritten":              {rule: "ct mark set 1"},
		"one other bit set":        {rule: "ct mark set ct mark | 0x1", ok: true},
		"the same bit set":         {rule: "ct mark set ct mark | 0x40"},
		"the same bit cleared":     {rule: "ct mark set ct mark & 0xffffffbf"},
		"overwritten by a packet":  {rule: "ct mark set meta mark"},
		"overwritten elsewhere":    {live: "table ip o {\nchain c {\nct mark set 1\n}\n}\n"},
		"packet marks are no harm": {rule: "meta mark 5 accept", ok: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ns := nsWith(t, tt.live)
			was := listing(ns)
			_, err := tryLoad(ns, "-", fmt.Sprintf(flow, tt.rule), Options{Lower: true, Mark: 0x40})
			var refused *MarkError
			switch {
			case tt.ok && err != nil:
				t.Error(err)
			case !tt.ok && !errors.As(err, &refused):
				t.Errorf("got %v, want a *MarkError", err)
			case !tt.ok && len(refused.Rules) == 0:
				t.Errorf("no rule named: %v", err)
			case !tt.ok && listing(ns) != was:
				t.Error("the ruleset changed")
			}
		})
	}
}

func TestLoad_MarkOfTwoBits_Refuses(t *testing.T) {
	var refused *MarkError
	if _, err := tryLoad(nsWith(t, ""), "-", "table ip t {\n}\n", Options{Lower: true, Mark: 3}); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}

func live(t *testing.T, ns *testkit.NS) handover.Ruleset {
	t.Helper()
	var r handover.Ruleset
	if err := ns.Do(func() (err error) {
		r, err = List(context.Background())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoad_MissingDevices_AreReportedAndTakenUpWhenTheyAppear(t *testing.T) {
	ns := nsWith(t, "")
	ns.Run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
	const text = "table inet t {\nflowtable f { hook ingress priority 0; devices = { %s }; }\nchain c { type filter hook forward priority 0\nflow add @f\n}\n}\n"
	f := loadText(t, ns, fmt.Sprintf(text, "here, gone"), Options{Lower: true}).Flowtables[0]
	if !slices.Equal(f.Devices, []string{"here"}) || !slices.Equal(f.Missing, []string{"gone"}) {
		t.Errorf("report: %+v", f)
	}
	if got := live(t, ns).Flowtables[0].Devices; !slices.Equal(got, []string{"gone", "here"}) {
		t.Errorf("live devices: %q", got)
	}
	f = loadText(t, ns, "flush ruleset\n"+fmt.Sprintf(text, "gone, lost"), Options{Lower: true}).Flowtables[0]
	if got := live(t, ns).Flowtables[0].Devices; len(f.Devices) != 0 || !slices.Equal(got, []string{"gone", "lost"}) {
		t.Errorf("report: %+v, live devices: %q", f, got)
	}
}

func TestLoad_Pattern_StandsForDevicesThatBeginSo(t *testing.T) {
	ns := nsWith(t, "")
	const text = "table inet t {\nflowtable f { hook ingress priority 0; devices = { \"here*\", gone }; }\nchain c { type filter hook forward priority 0\nflow add @f\n}\n}\n"
	f := loadText(t, ns, text, Options{Lower: true}).Flowtables[0]
	if !slices.Equal(f.Devices, []string{"here*"}) || !slices.Equal(f.Missing, []string{"gone"}) {
		t.Errorf("report: %+v", f)
	}
	if got := live(t, ns).Flowtables[0].Devices; !slices.Equal(got, []string{"gone", "here*"}) {
		t.Errorf("live devices: %q", got)
	}
}

func TestLoad_JSON_LowersLikeText(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	loadText(t, r.Router, `{"nftables": [
		{"table": {"family": "inet", "name": "t"}},
		{"counter": {"family": "inet", "table": "t", "name": "taken"}},
		{"flowtable": {"family": "inet", "name": "f", "table": "t", "hook": "ingress", "prio": 0, "dev": ["r0", "r1"]}},
		{"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
		{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": [
			{"flow": {"op": "add", "flowtable": "@f"}}, {"counter": "taken"}, {"accept": null}]}},
		{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": [
			{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, {"accept": null}]}}
	]}`, Options{})
	udp(t, r.Path(false, 5001), 20)
	wantCounters(t, r.Router, map[string]int{"taken": 1})
}

// Which form a ruleset takes depends on the kernel; what it says of its flowtables does not.
func TestLoad_OnThisKernel_UsesItsFlowtablesOrLowers(t *testing.T) {
	ns := nsWith(t, "")
	ns.Run("ip", "link", "add", "name", "d0", "type", "veth", "peer", "name", "d1")
	has, err := HasFlowtables(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// No veth device offloads flows to hardware: where the kernel asks it, it refuses.
	const text = "table inet t {\nflowtable f { hook ingress priority -5; flags offload; counter; devices = { d1, d0, gone }; }\n" +
		"chain c { type filter hook forward priority 0\nflow add @f\n}\n}\n"
	r := loadText(t, ns, text, Options{})
	f := r.Flowtables[0]
	if r.Lowered == has || (f.Refused != "") != has || !slices.Equal(f.Missing, []string{"gone"}) {
		t.Errorf("kernel with flowtables %v: report %+v", has, r)
	}
	if has && !strings.Contains(f.Refused, "d1") {
		t.Errorf("the refusal names no device: %q", f.Refused)
	}
	flags, devices := []string{"counter", "offload"}, []string{"d0", "d1", "gone"} // a lowered one has what was written
	if has {
		flags, devices = []string{"counter"}, []string{"d0", "d1"}
	}
	got := live(t, ns).Flowtables
	if len(got) != 1 || got[0].Lowered == has || got[0].Priority != "-5" ||
		!slices.Equal(got[0].Devices, devices) || !slices.Equal(got[0].Flags, flags) {
		t.Errorf("live: %+v", got)
	}
}

func TestHasFlowtables_AgreesWithTheKernelsSysctl(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	has, err := HasFlowtables(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// The probe loads the module where it can, so the sysctl is asked afterwards.
	_, err = os.Stat("/proc/sys/net/netfilter/nf_flowtable_tcp_timeout")
	if has != (err == nil) {
		t.Errorf("probe says %v, sysctl %v", has, err)
	}
}

func TestList_DeviceChains_HaveTheirDevices(t *testing.T) {
	ns := nsWith(t, "")
	ns.Run("ip", "link", "add", "name", "d0", "type", "veth", "peer", "name", "d1")
	ns.NFTables("table netdev n {\nchain in { type filter hook ingress devices = { d1, d0 } priority 0\naccept\n}\n" +
		"chain out { type filter hook egress device d0 priority 0\naccept\n}\nchain idle { type filter hook ingress device d1 priority 5\n}\n}\n" +
		"table inet i {\nchain in { type filter hook ingress device d1 priority 0\naccept\n}\n}\n" +
		"table bridge br {\nchain f { type filter hook forward priority 0; policy drop\n}\n}\n")
	r := live(t, ns)
	names := func(chains []handover.Chain) (out []string) {
		for _, c := range chains {
			out = append(out, c.Family+" "+c.Name)
		}
		return out
	}
	for dev, want := range map[string][]string{"d0": {"netdev in", "netdev out"}, "d1": {"netdev in", "inet in"}, "lo": nil} {
		if got := names(r.Ingress(dev)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", dev, got, want)
		}
	}
	if got := names(r.Bridge()); !slices.Equal(got, []string{"bridge f"}) {
		t.Errorf("bridge chains: %q", got)
	}
}
