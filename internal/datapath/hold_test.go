package datapath

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func TestHoldComesBackFromTheMapAsItWent(t *testing.T) {
	const now = 1 << 40
	for _, c := range []struct {
		src, dst string
		port     uint16
		proto    uint8
	}{
		{},
		{port: 443},
		{proto: packet.UDP},
		{src: "10.0.0.0/8"},
		{dst: "192.0.2.1/32", port: 53, proto: packet.UDP},
		{src: "10.0.0.0/9", dst: "192.0.2.128/25"},
		{src: "2001:db8::/32"},
		{dst: "2001:db8::1/128", proto: packet.TCP},
		{src: "2001:db8:1:2:3:4:5:6/127", dst: "fe80::/10"},
		{src: "0.0.0.0/0"},
		{src: "::/0"},
		{dst: "128.0.0.0/1"},
	} {
		h := Hold{Src: prefix(c.src), Dst: prefix(c.dst), Port: c.port, Proto: c.proto, Left: time.Minute}
		raw, err := h.raw(now)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := (holdSlot{raw: raw}).hold(now); got != h {
			t.Errorf("%+v came back as %+v", h, got)
		}
		if got := (holdSlot{raw: raw}).hold(now + uint64(2*time.Minute)); got.Left != 0 {
			t.Errorf("%+v has %v left after its time", h, got.Left)
		}
	}
}

// The programs read the words one by one, in network byte order.
func TestHoldIsInTheMapAsTheProgramsReadIt(t *testing.T) {
	raw, err := Hold{Src: prefix("10.1.2.3/32"), Dst: prefix("192.0.2.0/24"), Port: 443, Proto: packet.TCP, Left: time.Second}.raw(0)
	if err != nil {
		t.Fatal(err)
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw))
	want := map[int][]byte{8: {10, 1, 2, 3, 0, 0}, 24: {192, 0, 2, 0, 0, 0}, 40: {32, 24, 4, 6, 1, 187}}
	for at, b := range want {
		if string(bytes[at:at+len(b)]) != string(b) {
			t.Errorf("at %d: % x, want % x", at, bytes[at:at+len(b)], b)
		}
	}
	if uint64(raw.Until) != uint64(time.Second) {
		t.Errorf("until %d", raw.Until)
	}
}

func TestHoldThatMakesNoSenseIsRefused(t *testing.T) {
	for text, h := range map[string]Hold{
		"not a time ahead":      {},
		"-1s: not a time ahead": {Left: -time.Second},
		"one is IPv4":           {Src: prefix("10.0.0.0/8"), Dst: prefix("::/0"), Left: time.Second},
	} {
		if _, err := h.raw(0); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", h, err, text)
		}
	}
}

// A prefix with bits behind its length means the same as without.
func TestHoldMasksItsPrefixes(t *testing.T) {
	raw, err := Hold{Src: netip.PrefixFrom(netip.MustParseAddr("10.1.2.3"), 8), Left: time.Second}.raw(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := (holdSlot{raw: raw}).hold(0).Src; got != prefix("10.0.0.0/8") {
		t.Errorf("got %s", got)
	}
}

func TestReasonsOfAMomentDoNotLast(t *testing.T) {
	for r, want := range map[Refused]bool{
		{Reason: reason.SeenDeviceRefused, Samples: 1}: true,
		{Reason: reason.SeenHeld, Samples: 1}:          true,
		{Reason: reason.SeenIPsec, Samples: 1}:         true,
		{Reason: reason.SlowTCPFlags, Samples: 1000}:   false,
		{Reason: reason.EntryDead, Samples: 1000}:      false,
		{Reason: reason.SeenOneWay, Samples: 1}:        false,
		{Reason: reason.SeenOneWay, Samples: settled}:  true,
		{Reason: reason.SeenNotLiberal, Samples: 15}:   false,
		{Reason: reason.SeenNotLiberal, Samples: 1000}: true,
	} {
		if r.Lasting() != want {
			t.Errorf("%s after %d samples lasts: %v", r.Reason, r.Samples, r.Lasting())
		}
	}
}
