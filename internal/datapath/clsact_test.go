package datapath

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestWithdrawFindsFiltersThatNothingRemembers(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.Tc)
	ns := testkit.NewNS(t, "filters")
	ns.Run("ip", "link", "add", "r0", "type", "veth", "peer", "name", "c0")
	index, err := ns.Ifindex("r0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}, // TC_ACT_UNSPEC
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close() //nolint:errcheck // nothing was written
	dir := filepath.Join(t.TempDir(), "pins")
	err = ns.Do(func() error {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		for _, place := range []string{placeIngress, placeEgress} {
			if err := attachClsact(dir, uint32(index), place, p); err != nil {
				return err
			}
		}
		return os.RemoveAll(dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Run("tc", "filter", "add", "dev", "r0", "ingress", "pref", "7", "protocol", "ip", "u32", "match", "u32", "0", "0", "classid", "1:1")
	filters := func() string {
		return ns.Run("tc", "filter", "show", "dev", "r0", "ingress") + ns.Run("tc", "filter", "show", "dev", "r0", "egress")
	}
	if before := filters(); strings.Count(before, "nfo_") != 2 {
		t.Fatalf("before: %s", before)
	}
	if err := ns.Do(func() error { return Withdraw(dir) }); err != nil {
		t.Fatal(err)
	}
	if after := filters(); strings.Contains(after, "nfo_") || !strings.Contains(after, "pref 7") {
		t.Errorf("after: %s", after)
	}
}

// Before Linux 6.6 a program is changed by replacing its filter, which packets see as one step.
func TestFilterIsReplacedInItsPlace(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.Tc)
	ns := testkit.NewNS(t, "replaced")
	ns.Run("ip", "link", "add", "r0", "type", "veth", "peer", "name", "c0")
	index, err := ns.Ifindex("r0")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "pins")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close() //nolint:errcheck // nothing was written
		if err := ns.Do(func() error { return attachClsact(dir, uint32(index), placeIngress, p) }); err != nil {
			t.Fatal(err)
		}
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		filters := ns.Run("tc", "filter", "show", "dev", "r0", "ingress")
		if strings.Count(filters, "nfo_ingress") != 1 || !strings.Contains(filters, fmt.Sprintf("id %d ", id)) {
			t.Errorf("not program %d alone: %s", id, filters)
		}
	}
}
