package rules_test

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestStandPutsTheTagBesideTheBytes runs a program that returns what it sees of a frame: the protocol, and whether a
// tag is beside the bytes.
func TestStandPutsTheTagBesideTheBytes(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	s, err := newStand(true, 1)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer func() { _ = s.close() }()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R0, asm.R1, 16, asm.Word), // protocol
		asm.HostTo(asm.BE, asm.R0, asm.Half),
		asm.LoadMem(asm.R2, asm.R1, 20, asm.Word), // vlan_present
		asm.LSh.Imm(asm.R2, 16),
		asm.Or.Reg(asm.R0, asm.R2),
		asm.Return(),
	}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer func() { _ = p.Close() }()
	if err := s.use(p); err != nil {
		t.Fatal(err)
	}
	head := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, c := range []struct {
		name string
		tail []byte
		want uint32
	}{
		{"plain", []byte{8, 0, 1, 2, 3, 4}, 0x0800},
		{"nothing behind the type", []byte{8, 0}, 0x0800},
		{"ARP", append([]byte{8, 6}, make([]byte, 28)...), 0x0806},
		{"half an IPv6 header", append([]byte{0x86, 0xdd}, make([]byte, 20)...), 0x86dd},
		{"tagged", []byte{0x81, 0, 0, 5, 8, 0, 1, 2, 3, 4}, 0x10800},
		{"tagged 802.1ad, length inside", []byte{0x88, 0xa8, 0, 5, 0, 6, 1, 2, 3, 4}, 0x10004},
		{"double-tagged", []byte{0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0, 1, 2, 3, 4}, 0x18100},
		{"cut off in the tag", []byte{0x81, 0, 0, 5, 8}, lostInTag},
	} {
		frame := append(bytes.Clone(head), c.tail...)
		got, out, err := s.try(frame)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
		if got != lostInTag && !bytes.Equal(out, s.behind(frame)) {
			t.Errorf("%s: left as %x", c.name, out)
		}
	}
}
