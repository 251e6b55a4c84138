package rules_test

import (
	"encoding/hex"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// aim is what a frame takes to hit a rule, as far as its text says so at a glance. What is zero is not said.
type aim struct {
	family       int // 4 or 6
	proto        uint8
	src, dst     []netip.Addr
	sport, dport []uint16
	vlan         int // -1: none
	mac          []byte
}

// aimsOf reads the rules of a ruleset.
func aimsOf(text string) []aim {
	var out []aim
	for line := range strings.Lines(text) {
		if isRule(line) && len(strings.Fields(line)) > 2 {
			out = append(out, aimAt(line))
		}
	}
	return out
}

func aimAt(line string) aim {
	a := aim{vlan: -1}
	switch {
	case strings.Contains(line, "ip6 ") || strings.Contains(line, "icmpv6"):
		a.family = 6
	case strings.Contains(line, "ip ") || strings.Contains(line, "icmp "):
		a.family = 4
	}
	for name, number := range map[string]uint8{"tcp ": packet.TCP, "udp ": packet.UDP, "sctp ": protoSCTP, "icmp ": protoICMP, "icmpv6 ": protoICMPv6} {
		if strings.Contains(line, " "+name) || strings.HasPrefix(strings.TrimSpace(line), name) {
			a.proto = number
		}
	}
	a.src, a.dst = addrsBehind(line, "saddr"), addrsBehind(line, "daddr")
	a.sport, a.dport = portsBehind(line, "sport"), portsBehind(line, "dport")
	if m := regexp.MustCompile(`vlan id (\d+)`).FindStringSubmatch(line); m != nil {
		a.vlan, _ = strconv.Atoi(m[1])
	}
	if m := regexp.MustCompile(`ether saddr (\S\S:\S\S:\S\S:\S\S:\S\S:\S\S)`).FindStringSubmatch(line); m != nil {
		a.mac, _ = hex.DecodeString(strings.ReplaceAll(m[1], ":", ""))
	}
	return a
}

// addrsBehind are the addresses that follow a word in a rule, up to the next field.
func addrsBehind(line, word string) []netip.Addr {
	var out []netip.Addr
	for _, w := range wordsBehind(line, word) {
		for end := range strings.SplitSeq(w, "-") {
			end, _, _ = strings.Cut(end, "/")
			if a, err := netip.ParseAddr(end); err == nil {
				out = append(out, a)
			}
		}
	}
	return out
}

func portsBehind(line, word string) []uint16 {
	var out []uint16
	for _, w := range wordsBehind(line, word) {
		for end := range strings.SplitSeq(w, "-") {
			if p, err := strconv.ParseUint(end, 10, 16); err == nil {
				out = append(out, uint16(p))
			}
		}
	}
	return out
}

// wordsBehind are the words that may be values of a field: those behind it, until a word that is none.
func wordsBehind(line, word string) []string {
	_, rest, ok := strings.Cut(line, word)
	if !ok {
		return nil
	}
	var out []string
	for w := range strings.FieldsSeq(rest) {
		w = strings.Trim(w, "{},;")
		if w == "" || strings.ContainsAny(w, ".:0123456789=!<>&") || w == "vmap" || w == "ip" || w == "dport" || w == "tcp" || w == "udp" {
			out = append(out, w)
			continue
		}
		break
	}
	return out
}

// aim is that of some rule, in most cases.
func (r *random) aim() aim {
	if len(r.aims) == 0 || r.often(35) {
		return aim{vlan: -1}
	}
	return pick(r, r.aims...)
}

// or is an address of a kind, if there is one, or else another.
func or(of []netip.Addr, six bool, other netip.Addr) netip.Addr {
	for _, a := range of {
		if a.Is6() == six {
			return a
		}
	}
	return other
}

func orPort(of []uint16, other uint16) uint16 {
	if len(of) == 0 {
		return other
	}
	return of[0]
}
