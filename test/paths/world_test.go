//go:build guest

package paths

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// form is which of the two things a ruleset with `flow add` can become.
type form string

const (
	lowered   form = "lowered"
	flowtable form = "flowtable" // the kernel's own
)

// section is the form's table in the matrix.
func (f form) section() string {
	if f == lowered {
		return "Paths, with `load --lower`"
	}
	return "Paths, on the kernel's own flowtable"
}

// world is a router with sites, and the program running on it.
type world struct {
	t      *testing.T
	form   form
	router *testkit.NS
	sites  map[string]*site
	d      *daemon.Daemon
	alone  uint64 // packets lost in reloads without the program
}

// newWorld builds the sites, all of one router, without a ruleset.
func newWorld(t *testing.T, f form, names ...string) *world {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	if f == flowtable {
		testkit.Need(t, testkit.Flowtable)
	}
	w := &world{t: t, form: f, router: testkit.NewHost(t, "router"), sites: map[string]*site{}}
	w.router.Forward()
	for i, name := range names {
		s := &site{w: w, name: name, number: i + 1}
		kinds()[name](s)
		s.address()
		w.sites[name] = s
	}
	return w
}

// listed are the devices that the world's flowtable lists.
func (w *world) listed() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(w.sites)) {
		s := w.sites[name]
		if w.form == flowtable && s.kernel != nil {
			all = append(all, s.kernel...)
			continue
		}
		all = append(all, s.listed...)
	}
	return all
}

// ruleset hands established flows of all sites over, as users write it, and counts what the forward chain sees.
func (w *world) ruleset() string {
	return fmt.Sprintf(`flush ruleset
table inet filter {
	flowtable f1 {
		hook ingress priority 0
		devices = { %s }
	}
	counter udp4 { }
	counter udp6 { }
	counter tcp4 { }
	counter tcp6 { }
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta nfproto ipv4 meta l4proto udp counter name udp4
		meta nfproto ipv6 meta l4proto udp counter name udp6
		meta nfproto ipv4 meta l4proto tcp counter name tcp4
		meta nfproto ipv6 meta l4proto tcp counter name tcp6
		meta l4proto { tcp, udp } ct state established flow add @f1
		ct state established,related accept
		ct state invalid drop
		ct state new accept
	}
}
table inet nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan" meta nfproto ipv4 masquerade
	}
}
`, `"`+strings.Join(w.listed(), `", "`)+`"`)
}

// run loads the ruleset in the world's form and starts the program.
func (w *world) run(args ...string) {
	w.t.Helper()
	w.load(w.ruleset())
	w.d = daemon.Start(w.t, w.router, args...)
	w.allUsed()
}

// become loads the ruleset in another form, under the program that runs.
func (w *world) become(f form) {
	w.t.Helper()
	w.form = f
	w.load(w.ruleset())
	testkit.MustAwait(w.t, time.Minute, func() error {
		for _, table := range w.d.Status().Flowtables {
			if table.Lowered == (f == lowered) {
				return nil
			}
		}
		return errors.New("the program has not seen the new ruleset")
	})
	w.allUsed()
}

// allUsed wants the fast path on every device that the ruleset lists.
func (w *world) allUsed() {
	w.t.Helper()
	for _, d := range w.d.Status().Devices {
		if d.Hook == engine.Off {
			w.t.Errorf("%s: %s", d.Name, d.Reason)
		}
	}
}

// load loads a ruleset in the world's form and returns what the command said.
func (w *world) load(ruleset string, flags ...string) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte(ruleset), 0o600); err != nil {
		w.t.Fatal(err)
	}
	args := append([]string{"load", file}, flags...)
	if w.form == lowered {
		args = append(args, "--lower")
	}
	out, err := daemon.Command(w.t, w.router, args...)
	if err != nil {
		w.t.Fatalf("load: %v\n%s", err, out)
	}
	return out
}

// forwarded returns how many packets the forward chain has seen, by the names of its counters.
func (w *world) forwarded(t testing.TB) map[string]uint64 {
	t.Helper()
	var listed struct {
		Nftables []struct {
			Counter *struct {
				Name    string `json:"name"`
				Packets uint64 `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(w.router.Run("nft", "-j", "list", "counters")), &listed); err != nil {
		t.Fatalf("read counters: %v", err)
	}
	counts := map[string]uint64{}
	for _, o := range listed.Nftables {
		if o.Counter != nil {
			counts[o.Counter.Name] = o.Counter.Packets
		}
	}
	return counts
}
