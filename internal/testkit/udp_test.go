package testkit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const quiet = 300 * time.Millisecond

func TestUDPFlowThroughThePlainRouterIsWhole(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	families(t, func(t *testing.T, six bool) {
		f := testkit.OpenUDP(t, r.Path(six, 6001), testkit.UDPOptions{Size: 64})
		begin := time.Now()
		s := f.Exchange(500, 2000, quiet)
		if err := s.Whole(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < 200*time.Millisecond {
			t.Errorf("500 datagrams at 2000 a second took %v", took)
		}
		if s.Seen != f.Local() || s.SeenAll != 1 {
			t.Errorf("server saw %v (%d peers), client is %v", s.Seen, s.SeenAll, f.Local())
		}
		again := f.Exchange(10, 1000, quiet)
		if again.Sent != 10 || again.Whole() != nil {
			t.Errorf("a second exchange counts alone: %+v", again)
		}
	})
}

func TestUDPFlowCountsWhatARuleDrops(t *testing.T) {
	testkit.Need(t, testkit.NFT)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	f := testkit.OpenUDP(t, r.Path(false, 6001), testkit.UDPOptions{})
	if err := f.Exchange(10, 1000, quiet).Whole(); err != nil {
		t.Fatal(err)
	}
	r.Router.NFTables("table ip t { chain f { type filter hook forward priority 0; udp sport 6001 drop; }; }")
	s := f.Exchange(20, 1000, quiet)
	if s.Sent != 20 || s.Up.Received != 20 || s.Down.Received != 0 || s.Whole() == nil {
		t.Errorf("got %+v", s)
	}
}

func TestUDPFlowRunsUntilStopped(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	f := testkit.OpenUDP(t, r.Path(false, 6001), testkit.UDPOptions{})
	f.Start(1000)
	testkit.MustAwait(t, wait, func() error {
		if n := f.Stats().Down.Received; n < 100 {
			return fmt.Errorf("only %d echoes so far", n)
		}
		return nil
	})
	s := f.Stop(quiet)
	if err := s.Whole(); err != nil || s.Sent < 100 {
		t.Errorf("sent %d: %v", s.Sent, err)
	}
}

func TestUDPFlowThroughMasqueradeSeesTheRouter(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	r.Router.NFTables(masquerade)
	families(t, func(t *testing.T, six bool) {
		f := testkit.OpenUDP(t, r.Path(six, 6001), testkit.UDPOptions{Size: 700})
		s := f.Exchange(50, 1000, quiet)
		if err := s.Whole(); err != nil {
			t.Error(err)
		}
		if s.Seen.Addr() != r.R1.Addr(six) {
			t.Errorf("seen as %v, want %v", s.Seen, r.R1.Addr(six))
		}
	})
}

// A copy, a late one and a damaged one are made by hand: the plain router makes none.
func TestUDPFlowCountsCopiesLateOnesAndDamage(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{PermanentNeighbours: true, NoChecksumOffload: true})
	f := testkit.OpenUDP(t, r.Path(false, 6001), testkit.UDPOptions{OneWay: true})
	tap := testkit.OpenPort(t, r.C0, testkit.PortOptions{Outgoing: true})
	first := f.Exchange(2, 1000, quiet)
	if first.Up.Received != 2 {
		t.Fatalf("got %+v", first)
	}
	frames, err := tap.Collect(2, wait, testkit.Decoded(func(h packet.Header) bool { return h.Tuple.Dst.Port() == 6001 }))
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), frames[0].Data...)
	h, err := packet.Decode(damaged)
	if err != nil {
		t.Fatal(err)
	}
	h.Payload(damaged)[8] ^= 1 // our own CRC now fails
	damaged[h.L4Offset+6] = 0  // and no UDP checksum, so that the kernel lets it through
	damaged[h.L4Offset+7] = 0
	for _, b := range [][]byte{frames[1].Data, frames[0].Data, damaged} {
		if err := tap.Send(b); err != nil {
			t.Fatal(err)
		}
	}
	testkit.MustAwait(t, wait, func() error {
		if s := f.Stats(); s.Up.Duplicated != 2 || s.Up.Corrupt != 1 || s.Up.Received != 2 {
			return fmt.Errorf("counted %+v", s.Up)
		}
		return nil
	})
}
