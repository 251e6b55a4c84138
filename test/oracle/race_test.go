package oracle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

const (
	raceFlows = 64
	raceTime  = 2 * time.Second
)

// transit is one direction of a flow: what goes in and the only thing that may come out.
type transit struct {
	in, out []byte
}

// TestTwoCoresNeverTearAnEntry sends flows from two CPUs through a table too small for them, while entries are deleted
// at random under the programs' hands (far more brutally than the sweeper does). Every frame that comes out must be
// one that the kernel would have sent, to the byte.
func TestTwoCoresNeverTearAnEntry(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("this test needs two CPUs: on one it proves nothing")
	}
	masquerade := nats()[1]
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		for _, six := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/six=%v", hook, six), func(t *testing.T) {
				b := newBoxWith(t, hook, masquerade.rules, datapath.Config{MaxFlows: raceFlows * 3 / 2})
				b.race(b.transits(six))
			})
		}
	}
}

// transits opens the flows and works out every frame.
func (b *box) transits(six bool) [2][]transit {
	b.t.Helper()
	var all [2][]transit
	for i := range raceFlows {
		inside := b.tuple(nats()[1], packet.UDP, six, uint16(i))
		outside := packet.Tuple{Src: netip.AddrPortFrom(b.r.R1.Addr(six), inside.Src.Port()), Dst: inside.Dst, Proto: packet.UDP}
		back := outside.Reverse()
		ways := [2][2]packet.Tuple{{inside, outside}, {back, inside.Reverse()}}
		for side, way := range ways {
			body := make([]byte, 40)
			binary.BigEndian.PutUint32(body, uint32(i))
			in, out := packet.New(way[0], body), packet.New(way[1], body)
			b.macs(&in, side)
			out.TTL--
			if side == client {
				out.Src, out.Dst = b.r.R1.MAC, b.r.S0.MAC
			} else {
				out.Src, out.Dst = b.r.R0.MAC, b.r.C0.MAC
			}
			tr := transit{in.Build(), out.Build()}
			got := b.pass(side, tr.in, 1)
			if len(got) != 1 || !bytes.Equal(got[0], tr.out) {
				b.t.Fatalf("the slow path does not do what the test expects: %x, want %x", got, tr.out)
			}
			all[side] = append(all[side], tr)
		}
	}
	return all
}

func (b *box) race(all [2][]transit) {
	b.t.Helper()
	var group, readers errgroup.Group
	end := time.Now().Add(raceTime)
	seen := [2]int{}
	for side := range all {
		readers.Go(func() (err error) {
			seen[side], err = b.check(1-side, all[side], end)
			return err
		})
	}
	for cpu := range 2 {
		group.Go(func() error { return b.flood(cpu, all, end) })
	}
	group.Go(func() error { return b.vandal(end) })
	if err := errors.Join(group.Wait(), readers.Wait()); err != nil {
		b.t.Error(err)
	}
	st, err := b.d.Stats()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("%d and %d frames checked; %s", seen[0], seen[1], b.reasons())
	if st.Fast[b.hook].Packets < 1000 || st.Reasons[reason.SeenLearned].Packets < 200 || st.Reasons[reason.SeenTableFull].Packets == 0 {
		b.t.Errorf("there was no race: %s", b.reasons())
	}
}

// flood sends random flows from one CPU; veth delivers on the sender's CPU, so the programs run there.
func (b *box) flood(cpu int, all [2][]transit, end time.Time) error {
	if err := pin(cpu); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(7, uint64(cpu)))
	for time.Now().Before(end) {
		side := rnd.IntN(2)
		err := b.ports[side].Send(all[side][rnd.IntN(raceFlows)].in)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	return nil
}

// pin ties the calling goroutine to a CPU, for good: its thread ends with it.
func pin(cpu int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to cpu %d: %w", cpu, err)
	}
	return nil
}

// vandal deletes random entries, ready or not.
func (b *box) vandal(end time.Time) error {
	name := "flows4"
	if flows, err := b.d.Flows(); err == nil && len(flows) > 0 && !flows[0].Tuple.Is4() {
		name = "flows6"
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(pinRoot, b.r.Router.Name, name), nil)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // read and deleted from only
	rnd := rand.New(rand.NewPCG(8, 8))
	for time.Now().Before(end) {
		key := make([]byte, m.KeySize())
		value := make([]byte, m.ValueSize())
		it := m.Iterate()
		for it.Next(&key, &value) {
			if rnd.IntN(4) == 0 {
				if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
					return err
				}
			}
		}
		runtime.Gosched()
	}
	return nil
}

// check compares every frame that arrives at a side with the one its body names.
func (b *box) check(side int, all []transit, end time.Time) (int, error) {
	n := 0
	for {
		f, err := b.ports[side].Recv(100*time.Millisecond, ours)
		if err != nil {
			if time.Now().After(end) {
				return n, nil
			}
			continue
		}
		h, err := packet.Decode(f.Data)
		if err != nil {
			return n, err
		}
		body := h.Payload(f.Data)
		if len(body) < 4 || binary.BigEndian.Uint32(body) >= raceFlows {
			return n, fmt.Errorf("a frame of no flow came out: %x", f.Data)
		}
		want := all[binary.BigEndian.Uint32(body)].out
		if !bytes.Equal(f.Data, want) {
			return n, fmt.Errorf("a torn frame came out: %s\n got  %x\n want %x", packet.Diff(want, f.Data), f.Data, want)
		}
		n++
	}
}
