package testkit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func pass(t *testing.T, name string, typ ebpf.ProgramType, verdict int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: typ, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// only counts the eBPF objects of this test, by name.
func only(prefix string) func(string) bool {
	return func(name string) bool { return strings.HasPrefix(name, prefix) }
}

func TestSnapshotSeesEveryKindOfChangeAndItsUndoing(t *testing.T) {
	testkit.Need(t, testkit.BPF, testkit.NFT)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	dir := t.TempDir()
	o := testkit.SnapshotOptions{BPF: only("snaptest"), Dirs: []string{dir, filepath.Join(dir, "missing")}}
	// do makes a change and returns how to undo it.
	for name, c := range map[string]struct {
		want string // in the difference
		do   func(t *testing.T) (undo func() error)
	}{
		"program": {"+ eBPF program", func(t *testing.T) func() error {
			return pass(t, "snaptest_prog", ebpf.SchedCLS, 0).Close
		}},
		"map": {"Array snaptest_map", func(t *testing.T) func() error {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "snaptest_map", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			if err != nil {
				t.Fatal(err)
			}
			return m.Close
		}},
		"tcx link": {"r0 tcx ingress: program", func(t *testing.T) func() error {
			p := pass(t, "snaptest_tcx", ebpf.SchedCLS, -1)
			var l link.Link
			err := r.Router.Do(func() (err error) {
				l, err = link.AttachTCX(link.TCXOptions{Interface: r.R0.Index, Program: p, Attach: ebpf.AttachTCXIngress})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return func() error { _ = p.Close(); return l.Close() }
		}},
		"xdp": {"r0 xdp: program", func(t *testing.T) func() error {
			p := pass(t, "snaptest_xdp", ebpf.XDP, 2)
			var l link.Link
			err := r.Router.Do(func() (err error) {
				l, err = link.AttachXDP(link.XDPOptions{Interface: r.R0.Index, Program: p, Flags: link.XDPDriverMode})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return func() error { _ = p.Close(); return l.Close() }
		}},
		"qdisc and filter": {"r0 filters ingress: filter protocol ip pref 7 u32", func(*testing.T) func() error {
			r.Router.Script("tc qdisc add dev r0 clsact\ntc filter add dev r0 ingress pref 7 protocol ip u32 match u32 0 0 flowid 1:1")
			return func() error { _, err := r.Router.Try("tc", "qdisc", "del", "dev", "r0", "clsact"); return err }
		}},
		"ruleset": {"table ip snaptest", func(*testing.T) func() error {
			r.Router.NFTables("table ip snaptest { }")
			return func() error { _, err := r.Router.Try("nft", "delete", "table", "ip", "snaptest"); return err }
		}},
		"sysctl": {"sysctl net/ipv4/conf/r0/accept_local: 1", func(*testing.T) func() error {
			r.Router.Sysctl("net/ipv4/conf/r0/accept_local", "1")
			return func() error { r.Router.Sysctl("net/ipv4/conf/r0/accept_local", "0"); return nil }
		}},
		"conntrack sysctl": {"sysctl net/netfilter/nf_conntrack_tcp_be_liberal: 1", func(*testing.T) func() error {
			r.Router.Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")
			return func() error { r.Router.Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "0"); return nil }
		}},
		"feature": {"r1 features: generic-receive-offload: {\"active\":true", func(*testing.T) func() error {
			r.Router.Run("ethtool", "-K", "r1", "gro", "on")
			return func() error { _, err := r.Router.Try("ethtool", "-K", "r1", "gro", "off"); return err }
		}},
		"file": {"+ file " + filepath.Join(dir, "x"), func(t *testing.T) func() error {
			path := filepath.Join(dir, "x")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Remove(path) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := testkit.Snapshot(o, r.Router)
			if err != nil {
				t.Fatal(err)
			}
			undo := c.do(t)
			after, err := before.Again()
			if err != nil {
				t.Fatal(err)
			}
			if d := before.Diff(after); !strings.Contains(d, c.want) {
				t.Errorf("difference lacks %q:\n%s", c.want, d)
			}
			if before.AwaitRestored(0) == nil {
				t.Error("reported as restored while it is not")
			}
			if err := undo(); err != nil {
				t.Fatal(err)
			}
			if err := before.AwaitRestored(wait); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSnapshotOfTrafficAloneIsUnchanged(t *testing.T) {
	testkit.Need(t, testkit.BPF, testkit.NFT)
	r := testkit.NewRouter(t, testkit.RouterOptions{XDP: true})
	r.Router.NFTables(masquerade)
	testkit.CheckRestored(t, wait, testkit.SnapshotOptions{BPF: only("snaptest")}, r.Client, r.Router, r.Server)
	if err := testkit.OpenUDP(t, r.Path(false, 6001), testkit.UDPOptions{}).Exchange(50, 1000, quiet).Whole(); err != nil {
		t.Error(err)
	}
}
