package eval_test

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// constants collects addresses and ports that the ruleset names.
func (c *site) constants(rs *ruleset.Ruleset) {
	seen := map[any]bool{}
	add := func(a netip.Addr) {
		if !seen[a] && a.IsGlobalUnicast() && !c.near(a) {
			seen[a] = true
			i := 0
			if a.Is6() {
				i = 1
			}
			c.addrs[i] = append(c.addrs[i], a)
		}
	}
	each(reflect.ValueOf(rs), func(v any) {
		switch v := v.(type) {
		case ruleset.Str:
			if a, err := netip.ParseAddr(string(v)); err == nil {
				add(a)
				add(a.Next())
			}
		case ruleset.Num:
			if v > 0 && v < 1<<16 && !seen[v] {
				seen[v] = true
				c.ports = append(c.ports, uint16(v))
			}
		}
	})
	c.strangers = [2]netip.Addr{netip.MustParseAddr("100.64.0.5"), netip.MustParseAddr("fdaa::5")}
	for _, a := range c.strangers {
		add(a)
	}
	c.ports = append(c.ports, 7, 40000)
}

// near reports whether the router has a route to an address. It would answer.
func (c *site) near(a netip.Addr) bool {
	for i, bits := range []int{24, 64} {
		for _, own := range []netip.Addr{c.l.local[i], c.l.remote[i]} {
			if netip.PrefixFrom(own, bits).Masked().Contains(a) {
				return true
			}
		}
	}
	return false
}

// each visits every value that another one holds.
func each(v reflect.Value, visit func(any)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			each(v.Elem(), visit)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			each(f, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			each(v.Index(i), visit)
		}
	default:
		visit(v.Interface())
	}
}

// lab puts the lab's devices and addresses in the places of two that the text names, and compares devices by name,
// since the others do not exist.
func (c *site) lab(text string) string {
	text = regexp.MustCompile(`\b(fwd|dup) to "[^"]*"`).ReplaceAllString(text, `$1 to "r1"`)
	index := regexp.MustCompile(`\b([io])if ([@{"]|vmap)`)
	text = strings.ReplaceAll(index.ReplaceAllString(text, "${1}ifname $2"), "iface_index", "ifname")
	text = c.substitute(text, `ifname|elements = .*"`, `"([a-z][\w.-]*)"[ ,]`, "r0", "r1")
	text = c.substitute(text, `ip daddr`, `ip daddr.* (\d+\.\d+\.\d+\.\d+)[ ,]`, c.l.remote[0].String(), c.l.local[0].String())
	return c.substitute(text, `ip6 daddr`, `ip6 daddr.* ([0-9a-f]+:[0-9a-f:]+)[ ,]`, c.l.remote[1].String(), c.l.local[1].String())
}

// substitute puts new words in the places of words in lines of a kind; the more often, the likelier.
func (c *site) substitute(text, line, word string, with ...string) string {
	kind, find := regexp.MustCompile(line), regexp.MustCompile(word)
	var words []string
	lines := strings.Split(text, "\n")
	for _, l := range lines {
		if !kind.MatchString(l) {
			continue
		}
		for _, m := range find.FindAllStringSubmatch(l+" ", -1) {
			if !slices.Contains(with, m[1]) {
				words = append(words, m[1])
			}
		}
	}
	for _, w := range with {
		if len(words) == 0 {
			break
		}
		old := words[c.r.IntN(len(words))]
		words = slices.DeleteFunc(words, func(w string) bool { return w == old })
		place := regexp.MustCompile(`([" ])` + regexp.QuoteMeta(old) + `(["\s,])`)
		for i, l := range lines {
			if kind.MatchString(l) {
				lines[i] = strings.TrimSuffix(place.ReplaceAllString(l+" ", "${1}"+w+"${2}"), " ")
			}
		}
	}
	return strings.Join(lines, "\n")
}

// frames are the first packets of connections that nobody answers.
func (c *site) frames() []frame {
	fs := make([]frame, framesPerTurn)
	for i := range fs {
		six := c.r.IntN(4) / 3
		dst := c.l.remote[six]
		if c.r.IntN(3) == 0 {
			dst = c.l.local[six]
		}
		src := c.strangers[six]
		if c.r.IntN(3) > 0 {
			src = c.addrs[six][c.r.IntN(len(c.addrs[six]))]
		}
		// No two frames of a run are of one connection.
		sport := uint16(1024 + (c.turn*framesPerTurn+i)%60000)
		proto := []uint8{6, 6, 17, 17, 1 + 57*uint8(six)}[c.r.IntN(5)]
		payload := make([]byte, c.r.IntN(64))
		tuple := packet.Tuple{Src: netip.AddrPortFrom(src, sport), Dst: netip.AddrPortFrom(dst, c.ports[c.r.IntN(len(c.ports))]), Proto: proto}
		switch proto {
		case 1, 58:
			tuple.Src, tuple.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
			payload = append([]byte{8 + 120*uint8(six), 0, 0, 0, byte(sport >> 8), byte(sport), 0, 1}, payload...)
			binary.BigEndian.PutUint16(payload[2:], icmpChecksum(src, dst, payload)) // conntrack calls a wrong one invalid
		}
		s := packet.New(tuple, payload)
		s.Flags = packet.SYN
		s.TTL = []uint8{1, 64, 255}[c.r.IntN(3)]
		s.TOS = []uint8{0, 0xb8, 0x20}[c.r.IntN(3)]
		if dst == c.l.remote[six] {
			s.TTL = 64 // forwarded: one less is sent on, none would be answered
		}
		f := s.Build()
		copy(f, c.l.r0.MAC[:])
		c.tuples[string(f)] = tuple
		fs[i] = frame{data: f}
	}
	return fs
}

// icmpChecksum is the checksum of an ICMP message, or of an ICMPv6 one, which counts the pseudo header too (RFC 4443, 2.3).
func icmpChecksum(src, dst netip.Addr, msg []byte) uint16 {
	if src.Is4() {
		return packet.Checksum(msg)
	}
	a, b := src.As16(), dst.As16()
	head := binary.BigEndian.AppendUint32(append(a[:], b[:]...), uint32(len(msg)))
	return packet.Checksum(append(append(head, 0, 0, 0, 58), msg...))
}

// packet is a frame of a new connection.
func (c *site) packet(f frame) eval.Packet {
	p := c.l.packet(f)
	var none uint32
	var mark uint32
	var zone uint16
	var reply bool
	var helper string
	p.CT = &eval.Conntrack{
		State: eval.StateNew, Status: &none, Mark: &mark, Labels: &[16]byte{}, Reply: &reply, Zone: &zone, Helper: &helper,
		Packets: &[2]uint64{}, Bytes: &[2]uint64{},
	}
	there := c.tuples[string(f.data)]
	back := packet.Tuple{Src: there.Dst, Dst: there.Src, Proto: there.Proto}
	p.CT.Original, p.CT.Answer = &there, &back
	return p
}
