package ruleset_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Datagrams to one port are dropped by every program, those to the other pass.
const (
	droppedPort = 10
	passedPort  = 9
)

// shareOf is what of a chain on r0 runs early: `extra` rules that match nothing that is sent, and the one that drops.
func shareOf(t *testing.T, hook engine.Hook, extra int) share.Share {
	t.Helper()
	var text strings.Builder
	text.WriteString("table netdev t {\n chain in {\n  type filter hook ingress device \"r0\" priority 0; policy accept;\n")
	for i := range extra {
		fmt.Fprintf(&text, "  ip saddr 192.0.2.%d tcp dport 7 counter drop\n", i)
	}
	fmt.Fprintf(&text, "  udp dport %d counter drop\n }\n}\n", droppedPort)
	file := filepath.Join(t.TempDir(), "chain.nft")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	rs, err := nft.Read(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	machine := caps.Machine{Devices: []caps.Device{{Name: "r0", Kind: "veth", Driver: "veth", Type: "ether"}}}
	shares := plan.Make(rs, machine, plan.Options{NoHardware: true, SetsChange: true, Hooks: map[string]string{"r0": string(hook)}}).Shares()
	if len(shares) != 1 || len(shares[0].Entries) < extra+1 {
		t.Fatalf("%d shares: %+v", len(shares), shares)
	}
	return shares[0]
}

// swapper puts one program after the other on r0.
type swapper struct {
	programs *rules.Programs
	datapath *datapath.Datapath
	device   datapath.Device
	last     *rules.Loaded
}

func (s *swapper) swap(hook engine.Hook, sh *share.Share) error {
	made, err := bpfgen.Compile(*sh, bpfgen.Options{Next: true})
	if err != nil {
		return err
	}
	l, err := s.programs.Load(rules.Device{
		Name: "r0", Hook: sh.Hook, Share: sh, Made: made, Legend: make([]rules.Rule, len(made.Counters)),
	})
	if err != nil {
		return err
	}
	s.device.Front = &datapath.Front{Hook: datapath.HookTC, Program: l.Entry, Next: l.Next, Slot: bpfgen.NextSlot}
	if hook == engine.XDP {
		s.device.Front.Hook = datapath.HookXDP
	}
	if err := s.datapath.Apply([]datapath.Device{s.device}); err != nil {
		return err
	}
	if s.last != nil {
		err = s.last.End()
	}
	s.last = l
	return errors.Join(err, s.programs.Renew(), s.programs.Sweep())
}

// The flow program stands behind, or does not: the chain alone takes part in either case.
func TestNoPacketIsLostOrLetThroughWhileProgramsAreSwapped(t *testing.T) {
	for _, place := range []string{"alone", "before flows"} {
		t.Run(place, func(t *testing.T) {
			hooks(t, func(t *testing.T, hook engine.Hook) { swapUnderLoad(t, hook, place == "before flows") })
		})
	}
}

func swapUnderLoad(t *testing.T, hook engine.Hook, listed bool) {
	m := newMachine(t)
	m.host.NFTables(fmt.Sprintf("flush ruleset\ntable ip seen { chain in { type filter hook input priority 0; udp dport %d counter; udp dport %d counter; }; }", passedPort, droppedPort))
	shares := []share.Share{shareOf(t, hook, 0), shareOf(t, hook, 100)}
	s := newSwapper(t, m, hook, listed)
	if err := m.host.Do(func() error { return s.swap(hook, &shares[0]) }); err != nil {
		t.Fatal(err)
	}
	swaps := 200
	if os.Getenv("NFT_OFFLOAD_IN_VM") != "" {
		swaps = 10 // an emulated CPU
	}
	sent := m.sendWhile(func() error {
		return m.host.Do(func() error {
			for i := range swaps {
				if err := s.swap(hook, &shares[i%2]); err != nil {
					return fmt.Errorf("swap %d: %w", i, err)
				}
			}
			return nil
		})
	})
	t.Logf("%d datagrams to each port", sent)
	if n := m.counter("ip", "seen", "in", fmt.Sprintf(`udp dport %d counter packets (\d+)`, droppedPort)); n != 0 {
		t.Errorf("%d datagrams passed that have to be dropped", n)
	}
	if n := m.counter("ip", "seen", "in", fmt.Sprintf(`udp dport %d counter packets (\d+)`, passedPort)); n != sent {
		t.Errorf("%d of %d datagrams passed", n, sent)
	}
	if err := errors.Join(s.last.End(), s.programs.Close(), s.datapath.Close()); err != nil {
		t.Error(err)
	}
}

// newSwapper opens a datapath for r0; listed says that a flow program stands behind the rules.
func newSwapper(t *testing.T, m *machine, hook engine.Hook, listed bool) *swapper {
	t.Helper()
	index, err := m.host.Ifindex("r0")
	if err != nil {
		t.Fatal(err)
	}
	pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("swap-%p", t))
	t.Cleanup(func() {
		if err := m.host.Do(func() error { return datapath.Withdraw(pins) }); err != nil {
			t.Error(err)
		}
	})
	s := &swapper{device: datapath.Device{
		Ifindex: uint32(index), Name: "r0", Unlisted: !listed, Hook: datapath.HookTC, Flowtable: true, Stack: uint32(index),
	}}
	if listed && hook == engine.XDP {
		s.device.Hook, s.device.PartialChecksums = datapath.HookXDP, true
	}
	if s.datapath, err = datapath.Open(datapath.Config{Dir: pins, MaxFlows: 16}); err != nil {
		t.Fatal(err)
	}
	if s.programs, err = rules.Open(filepath.Join(pins, "rules"), func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	return s
}

// sendWhile sends datagrams to both ports as fast as it can while f runs, and returns how many to each.
func (m *machine) sendWhile(f func() error) int {
	m.t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var sendErr error
	sent := 0
	wg.Go(func() {
		sendErr = m.sender.Do(func() error {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP("10.9.0.2")})
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // what was sent is sent
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				for _, port := range []int{droppedPort, passedPort} {
					if _, err := c.WriteToUDP(make([]byte, 20), &net.UDPAddr{IP: net.ParseIP("10.9.0.1"), Port: port}); err != nil {
						return err
					}
				}
				sent++
			}
		})
	})
	err := f()
	close(stop)
	wg.Wait()
	if err := errors.Join(err, sendErr); err != nil {
		m.t.Fatal(err)
	}
	return sent
}
