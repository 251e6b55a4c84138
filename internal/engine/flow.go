package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Seconds is a duration that JSON shows as a number of seconds.
type Seconds time.Duration

// MarshalJSON renders seconds with milliseconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(s).Milliseconds()) / 1000)
}

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("read seconds: %w", err)
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Flow is one direction of a flow in the table.
type Flow struct {
	Proto   string         `json:"proto"`
	Src     netip.AddrPort `json:"src"` // as it arrives
	Dst     netip.AddrPort `json:"dst"`
	NATSrc  netip.AddrPort `json:"nat_src"` // as it leaves
	NATDst  netip.AddrPort `json:"nat_dst"`
	InIndex uint32         `json:"in_ifindex"`
	In      string         `json:"in"` // empty when the device is gone
	// OutIndex and Out: where it leaves.
	OutIndex uint32  `json:"out_ifindex"`
	Out      string  `json:"out"`
	DstMAC   string  `json:"dst_mac"` // of the next hop
	Hook     Hook    `json:"hook"`
	State    string  `json:"state"` // "learned", StateReady, "dead"
	Packets  uint64  `json:"packets"`
	Bytes    uint64  `json:"bytes"`
	Slow     uint64  `json:"slow_packets"` // that the kernel forwarded since it is in the table
	Age      Seconds `json:"age_seconds"`
	Idle     Seconds `json:"idle_seconds"`
	Lease    Seconds `json:"lease_seconds"` // zero or less: expired
	MaxLen   uint16  `json:"max_len"`
	Priority uint32  `json:"priority,omitempty"`
	Mark     uint32  `json:"mark,omitempty"`
	// Missed counts packets that met the entry and went slow all the same, those that renewed it included. LastMiss is
	// the reason of the last one, a code; empty where there was none.
	Missed         uint64  `json:"missed_packets"`
	LastMiss       string  `json:"last_miss,omitempty"`
	LastMissText   string  `json:"-"`
	LastMissAdvice string  `json:"-"`
	LastMissAgo    Seconds `json:"last_miss_ago_seconds,omitempty"`
}

// StateReady is the state of a flow that is carried.
const StateReady = "ready"

// NAT reports whether the flow is translated.
func (f Flow) NAT() bool { return f.Src != f.NATSrc || f.Dst != f.NATDst }

// Filter selects flows; the zero value all. It means a flow when one of its two directions, as it arrives or as it
// leaves, meets all conditions: so it does not matter who began, nor on which side of NAT one looks.
type Filter struct {
	Src   netip.Prefix `json:"src,omitzero"`
	Dst   netip.Prefix `json:"dst,omitzero"`
	Port  uint16       `json:"port,omitzero"`  // of either end
	Proto string       `json:"proto,omitzero"` // "tcp" or "udp"
}

// ParseFilter reads the four conditions; empty text sets none. Addresses may be prefixes.
func ParseFilter(src, dst, port, proto string) (Filter, error) {
	var f Filter
	var errs [3]error
	f.Src, errs[0] = parsePrefix("source", src)
	f.Dst, errs[1] = parsePrefix("destination", dst)
	if port != "" {
		if _, err := fmt.Sscan(port, &f.Port); err != nil || f.Port == 0 || fmt.Sprint(f.Port) != port {
			errs[2] = fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return Filter{}, err
	}
	if f.Src.IsValid() && f.Dst.IsValid() && f.Src.Addr().Is4() != f.Dst.Addr().Is4() {
		return Filter{}, fmt.Errorf("no flow goes from %s to %s: one is IPv4 and the other IPv6", src, dst)
	}
	switch proto {
	case "", packet.ProtoName(packet.TCP), packet.ProtoName(packet.UDP):
		f.Proto = proto
		return f, nil
	}
	return Filter{}, fmt.Errorf("protocol %q is neither tcp nor udp", proto)
}

func parsePrefix(what, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s %q is neither an address nor a prefix", what, s)
	}
	return p.Masked(), nil
}

// Match reports whether the filter means the flow.
func (f Filter) Match(l Flow) bool {
	return f.matches(l.Proto, l.Src, l.Dst) || f.matches(l.Proto, l.NATSrc, l.NATDst)
}
