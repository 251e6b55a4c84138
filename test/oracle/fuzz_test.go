package oracle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// Return values of the programs.
const (
	xdpPass     = 2
	xdpRedirect = 4
	tcUnspec    = 0xffffffff
	tcRedirect  = 7
)

// FuzzFrames runs arbitrary frames through both programs with entries in the table: whatever comes in, a frame either
// passes untouched, or leaves as the same frame with nothing but its headers rewritten, and rightly.
func FuzzFrames(f *testing.F) {
	masquerade := nats()[1]
	var benches []*testBench
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		benches = append(benches, newTestBench(f, hook, masquerade))
	}
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, tuples := range benches[0].flows {
		for side, tup := range tuples {
			for range 20 {
				s, _ := vary(rnd, packet.New(tup, nil))
				benches[0].b.macs(&s, side)
				f.Add(s.Build())
			}
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < packet.EthernetLen || len(frame) > 3000 {
			return // the kernel refuses to run shorter or longer ones
		}
		for _, bench := range benches {
			bench.run(t, frame)
		}
	})
}

// testBench is a router with ready flows whose program is run on single frames.
type testBench struct {
	b     *box
	prog  *ebpf.Program
	flows [][2]packet.Tuple
}

func newTestBench(f *testing.F, hook datapath.Hook, n nat) *testBench {
	f.Helper()
	// Leases that outlast the fuzzing: a renewal would only pass the frame.
	b := makeBox(f, setup{hook: hook, rules: n.rules, cfg: datapath.Config{Due: 24 * time.Hour, Hard: 24 * time.Hour}})
	tb := &testBench{b: b}
	for i, proto := range []uint8{packet.TCP, packet.UDP, packet.TCP, packet.UDP} {
		tuples := b.connect(b.tuple(n, proto, i > 1, uint16(i+1)))
		for range 2 {
			for side, tup := range tuples {
				b.one(side, packet.New(tup, make([]byte, 1400)))
			}
		}
		tb.flows = append(tb.flows, tuples)
	}
	place := "ingress"
	if hook == datapath.HookXDP {
		place = "xdp"
	}
	l, err := link.LoadPinnedLink(filepath.Join(pinRoot, b.r.Router.Name, fmt.Sprintf("link-%d-%s", b.r.R0.Index, place)), nil)
	if err != nil {
		f.Fatal(err)
	}
	info, err := l.Info()
	if err != nil {
		f.Fatal(err)
	}
	if tb.prog, err = ebpf.NewProgramFromID(info.Program); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = tb.prog.Close()
		_ = l.Close()
	})
	return tb
}

// xdpContext is struct xdp_md (include/uapi/linux/bpf.h).
type xdpContext struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }

// skContext is the part of struct __sk_buff up to ifindex, padded to its whole size.
type skContext struct {
	_       [10]uint32 // len to ingress_ifindex
	Ifindex uint32
	_       [192 - 44]byte
}

func (tb *testBench) run(t *testing.T, frame []byte) {
	out := make([]byte, len(frame)+256)
	opts := ebpf.RunOptions{Data: frame, DataOut: out, Repeat: 1}
	index := uint32(tb.b.r.R0.Index)
	if tb.b.hook == datapath.HookXDP {
		opts.Context = xdpContext{DataEnd: uint32(len(frame)), Ingress: index}
	} else {
		opts.Context = skContext{Ifindex: index}
	}
	var ret uint32
	if err := tb.b.r.Router.Do(func() (err error) {
		ret, err = tb.prog.Run(&opts)
		return err
	}); errors.Is(err, unix.EINVAL) && len(frame) < packet.EthernetLen+packet.IPv6Len {
		return // bpf_prog_test_run_skb wants the IP header whole (net/bpf/test_run.c)
	} else if err != nil {
		t.Fatalf("%s: run %x: %v", tb.b.hook, frame, err)
	}
	switch ret {
	case xdpRedirect, tcRedirect:
		if err := rewrittenRight(frame, opts.DataOut); err != nil {
			t.Errorf("%s: %v\n in  %x\n out %x\n %s", tb.b.hook, err, frame, opts.DataOut, packet.Diff(frame, opts.DataOut))
		}
	case xdpPass, tcUnspec:
		if !bytes.Equal(frame, opts.DataOut) {
			t.Errorf("%s: a frame that passed was changed\n in  %x\n out %x", tb.b.hook, frame, opts.DataOut)
		}
	default:
		t.Errorf("%s: returned %d for %x", tb.b.hook, ret, frame)
	}
}

// rewrittenRight compares a forwarded frame with what came in.
func rewrittenRight(in, out []byte) error {
	a, err := packet.Decode(in)
	if err != nil {
		return fmt.Errorf("a frame that does not decode was forwarded: %w", err)
	}
	b, err := packet.Decode(out)
	if err != nil {
		return fmt.Errorf("what came out does not decode: %w", err)
	}
	switch {
	case b.TTL != a.TTL-1:
		return fmt.Errorf("ttl %d became %d", a.TTL, b.TTL)
	case !a.IPChecksumOK(in) || !b.IPChecksumOK(out):
		return fmt.Errorf("IP checksum right before: %v, after: %v", a.IPChecksumOK(in), b.IPChecksumOK(out))
	case a.L4ChecksumOK(in) != b.L4ChecksumOK(out):
		return fmt.Errorf("layer 4 checksum right before: %v, after: %v", a.L4ChecksumOK(in), b.L4ChecksumOK(out))
	case len(out) != len(in)-a.Trailing:
		return fmt.Errorf("%d bytes became %d, with %d of padding", len(in), len(out), a.Trailing)
	}
	if !bytes.Equal(neutral(in[:len(out)], a), neutral(out, b)) {
		return fmt.Errorf("more than addresses, ports, TTL and checksums changed")
	}
	return nil
}

// neutral is the frame with all that may be rewritten set to zero.
func neutral(frame []byte, h packet.Header) []byte {
	n := bytes.Clone(frame)
	clear(n[:12])
	ip := n[h.IPOffset:]
	if h.Family == 4 {
		ip[8] = 0
		clear(ip[10:20])
	} else {
		ip[7] = 0
		clear(ip[8:40])
	}
	l4 := n[h.L4Offset:]
	clear(l4[:4])
	at := 6
	if h.Tuple.Proto == packet.TCP {
		at = 16
	}
	binary.BigEndian.PutUint16(l4[at:], 0)
	return n
}
