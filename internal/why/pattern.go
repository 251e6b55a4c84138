package why

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// Pattern is any part of a flow's tuples: "10.0.0.5", "10.0.0.5:443", ":443", "tcp 10.0.0.5 > 1.2.3.4:443".
type Pattern struct {
	Proto uint8 // 0: any
	// A is one end of the flow. B is the other one, where it is given.
	A, B End
	text string
}

// End is a condition on one end of a flow.
type End struct {
	Prefix netip.Prefix // the zero Prefix: any address
	Port   uint16       // 0: any
}

func (e End) any() bool { return e == End{} }

func (e End) meets(a netip.AddrPort) bool {
	return (e.Port == 0 || e.Port == a.Port()) && (!e.Prefix.IsValid() || e.Prefix.Contains(a.Addr()))
}

// errPattern ends every complaint about a pattern.
var errPattern = errors.New("write a part of it as 10.0.0.5, 10.0.0.5:443, [2001:db8::5]:443, 10.0.0.0/8, :443, or both ends as \"tcp 10.0.0.5 > 1.2.3.4:443\"")

// ParsePattern reads a pattern.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{text: strings.Join(strings.Fields(s), " ")}
	for _, arrow := range []string{"->", "→", ">"} {
		s = strings.ReplaceAll(s, arrow, " ")
	}
	words := strings.Fields(s)
	if len(words) > 0 {
		if n, ok := protocol(words[0]); ok {
			p.Proto, words = n, words[1:]
		}
	}
	if len(words) > 2 || len(words) == 0 && p.Proto == 0 {
		return Pattern{}, fmt.Errorf("flow %q: %w", p.text, errPattern)
	}
	for i, w := range words {
		e, err := parseEnd(w)
		if err != nil {
			return Pattern{}, fmt.Errorf("flow %q: %w; %w", p.text, err, errPattern)
		}
		if i == 0 {
			p.A = e
		} else {
			p.B = e
		}
	}
	if a, b := p.A.Prefix, p.B.Prefix; a.IsValid() && b.IsValid() && a.Addr().Is4() != b.Addr().Is4() {
		return Pattern{}, fmt.Errorf("flow %q: no flow goes from %s to %s: one is IPv4 and the other IPv6", p.text, words[0], words[1])
	}
	return p, nil
}

// String is the pattern as it was given.
func (p Pattern) String() string { return p.text }

// Family4 and Family6 say which families the pattern can mean.
func (p Pattern) Family4() bool { return p.family(true) }

// Family6 is Family4 of IPv6.
func (p Pattern) Family6() bool { return p.family(false) }

func (p Pattern) family(four bool) bool {
	for _, e := range []End{p.A, p.B} {
		if e.Prefix.IsValid() && e.Prefix.Addr().Is4() != four {
			return false
		}
	}
	return true
}

func parseEnd(s string) (End, error) {
	if s == "*" || s == "any" {
		return End{}, nil
	}
	if bare, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(s, "]") {
		s = strings.TrimSuffix(bare, "]")
	}
	if prefix, err := parsePrefix(s); err == nil {
		return End{Prefix: prefix}, nil
	}
	i := strings.LastIndexByte(s, ':')
	port, err := parsePort(s[i+1:])
	if err != nil {
		return End{}, fmt.Errorf("%q is neither an address nor a port", s)
	}
	rest := s[:max(i, 0)]
	if rest == "" || rest == "*" {
		return End{Port: port}, nil
	}
	inside, bracketed := strings.CutPrefix(rest, "[")
	if bracketed {
		inside = strings.TrimSuffix(inside, "]")
	}
	prefix, err := parsePrefix(inside)
	if err != nil || !bracketed && !prefix.Addr().Is4() {
		return End{}, fmt.Errorf("%q is neither an address nor an address and a port", s)
	}
	return End{Prefix: prefix, Port: port}, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("read address: %w", err)
	}
	return p.Masked(), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// meets reports whether the pattern means a flow with these ends: those of one side as it sends and as it is sent to, and
// of the other. Who began, and on which side of NAT an address was read, does not matter.
func (p Pattern) meets(proto uint8, one, other []netip.AddrPort) bool {
	if p.Proto != 0 && p.Proto != proto {
		return false
	}
	return within(p.A, one) && within(p.B, other) || within(p.A, other) && within(p.B, one)
}

func within(e End, ends []netip.AddrPort) bool {
	return e.any() || slices.ContainsFunc(ends, e.meets)
}

// Match reports whether the pattern means a connection.
func (p Pattern) Match(c Connection) bool {
	o, r := c.Orig, c.Reply
	return p.meets(o.Proto, []netip.AddrPort{o.Src, r.Dst}, []netip.AddrPort{o.Dst, r.Src})
}

// MatchEntry reports whether the pattern means an entry of the datapath.
func (p Pattern) MatchEntry(f engine.Flow) bool {
	return p.meets(number(f.Proto), []netip.AddrPort{f.Src, f.NATSrc}, []netip.AddrPort{f.Dst, f.NATDst})
}

// MatchRefused reports whether the pattern means a flow that the datapath refused. It is known as it arrives only, and of
// packets without ports nothing but the addresses is.
func (p Pattern) MatchRefused(r engine.Refused) bool {
	if portless(r) {
		p.Proto, p.A.Port, p.B.Port = 0, 0, 0
	}
	return p.meets(number(r.Proto), []netip.AddrPort{r.Src}, []netip.AddrPort{r.Dst})
}

// protocol is the number of a protocol by its name in /etc/protocols (IANA protocol-numbers).
func protocol(name string) (uint8, bool) {
	for n := range 256 {
		if protoName(uint8(n)) == name {
			return uint8(n), true
		}
	}
	return 0, false
}

// protoName names the protocols that conntrack knows; others are "protocol 89".
func protoName(n uint8) string {
	switch n {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 33:
		return "dccp"
	case 47:
		return "gre"
	case 50:
		return "esp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	case 136:
		return "udplite"
	}
	return fmt.Sprintf("protocol %d", n)
}
