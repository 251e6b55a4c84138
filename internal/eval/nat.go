package eval

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// nat compiles a translation, which accepts the packet in its chain. Chains of later hooks see the new address and port
// where the rule says them; an address that the kernel chooses, by `redirect`, `masquerade` or out of a range, is left
// as it is, and a note says so.
func (c *compiler) nat(s ruleset.NAT) error {
	if s.Family != "" && c.table.Family == ruleset.Inet {
		c.needNetwork(s.Family, false)
	}
	addr, err := c.natPart(s.Addr)
	if err != nil {
		return err
	}
	port, err := c.natPart(s.Port)
	if err != nil {
		return err
	}
	c.emit(func(r *run) status {
		a, st := addr(r)
		if st != known {
			return st
		}
		p, st := port(r)
		if st != known {
			return st
		}
		r.translate(c, s.Kind, a, p)
		r.translated = true
		r.decide(ruleset.Verdict{Kind: ruleset.Accept})
		return known
	})
	return nil
}

// natPart gives the expression for a new address or port, by way of a map where the rule has one. A packet that is not in
// the map is not translated.
func (c *compiler) natPart(e ruleset.Expr) (func(*run) (ruleset.Expr, status), error) {
	m, ok := e.(ruleset.Map)
	if !ok {
		return func(*run) (ruleset.Expr, status) { return e, known }, nil
	}
	key, err := c.expression(m.Key, dtype{})
	if err != nil {
		return nil, err
	}
	from, err := c.source(m.Data, key.types)
	if err != nil {
		return nil, err
	}
	return func(r *run) (ruleset.Expr, status) {
		el, st := from.lookup(r, key.load)
		if st != known {
			return nil, st
		}
		if el == nil {
			return nil, broke
		}
		return el.data, known
	}, nil
}

// translate writes the new address and port.
func (r *run) translate(c *compiler, kind string, addr, port ruleset.Expr) {
	if cat, ok := addr.(ruleset.Concat); ok && len(cat) == 2 {
		addr, port = cat[0], cat[1]
	}
	which, side := "daddr", "dport"
	if kind == "snat" || kind == "masquerade" {
		which, side = "saddr", "sport"
	}
	network := "ip"
	if r.s.pf == pfIPv6 {
		network = "ip6"
	}
	text := kind
	if r.rewrite(c, network, which, addr) {
		text += fmt.Sprintf(" to %s", addr)
	} else {
		text += ", address not known here"
	}
	proto := map[uint8]string{protoTCP: "tcp", protoUDP: "udp"}[r.s.proto]
	if proto != "" && port != nil && r.rewrite(c, proto, side, port) {
		text += fmt.Sprintf(", port %s", port)
	}
	r.note(text)
}

// rewrite writes a constant to a field and reports whether it is one.
func (r *run) rewrite(c *compiler, proto, name string, e ruleset.Expr) bool {
	if e == nil {
		return false
	}
	fd := fields(proto)[name]
	i, err := c.constant(e, fd.typ)
	if err != nil || toUint(i.lo) != toUint(i.hi) || string(i.lo) != string(i.hi) {
		return false
	}
	return r.storeField(proto, name, fd, i.lo) == known
}
