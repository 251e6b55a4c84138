package rules

import (
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestIntervalsReclaimPagesBesideChanges(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	s, err := tuple.NewSpace([]int{32}, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "intervals", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(s.Layout().PageBytes()), MaxEntries: uint32(s.Pages(1000)), Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	in, err := NewIntervals(s, m, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	element := func(n uint64) tuple.Element {
		return tuple.Element{Key: share.Key{{First: space.Number(n << 8), Last: space.Number(n<<8 + 99)}}, Data: uint32(n)}
	}
	var all []tuple.Element
	for n := range uint64(1000) {
		all = append(all, element(n))
	}
	if err := in.Fill(all); err != nil {
		t.Fatal(err)
	}
	// Many more changes than there are pages.
	for n := range uint64(3000) {
		if err := in.Apply([]tuple.Element{element(n)}, []tuple.Element{element(n + 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if in.Len() != 1000 {
		t.Errorf("%d intervals", in.Len())
	}
	for n := range uint64(4000) {
		data, ok := in.table.Lookup([]uint64{n<<8 + 99})
		if ok != (n >= 3000) || ok && data != uint32(n) {
			t.Fatalf("%d is %d (%t)", n, data, ok)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
}
