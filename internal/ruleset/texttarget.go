package ruleset

import (
	"fmt"
	"slices"
	"strings"
)

// target prints the statements that do something to the packet.
func (p *printer) target(s Stmt) {
	switch s := s.(type) {
	case NAT:
		p.nat(s)
	case Reject:
		p.reject(s)
	case Fwd:
		p.put("fwd ")
		if s.Addr != nil {
			p.put(s.Family, " to ")
			p.expr(s.Addr, Type{})
			p.put(" device ")
		} else {
			p.put("to ")
		}
		p.device(s.Dev)
	case Dup:
		p.put("dup")
		if s.Addr != nil {
			p.put(" to ")
			p.device(s.Addr)
		}
		if s.Dev != nil {
			p.put(" device ")
			p.device(s.Dev)
		}
	case Queue:
		p.put("queue")
		p.flags(" flags ", s.Flags)
		if s.Num != nil {
			p.put(" to ")
			p.expr(s.Num, Type{})
		}
	case SetObject:
		p.setObject(s)
	case XT:
		p.put("xt")
		if s.Name != "" {
			p.put(" ", s.Type, " ", quote(s.Name))
		}
	case Action:
		p.action(s)
	}
}

// device prints a device, or in place of one an address.
func (p *printer) device(e Expr) {
	if s, ok := e.(Str); ok && address(string(s)) {
		p.put(string(s))
		return
	}
	p.expr(e, Type{Name: "ifname", Bits: 128})
}

func (p *printer) nat(s NAT) {
	p.put(s.Kind)
	if s.Family != "" {
		p.put(" ", s.Family)
	}
	for _, f := range s.TypeFlags {
		switch f {
		case "concat":
			p.put(" addr . port")
		default:
			p.put(" ", f)
		}
	}
	if s.Addr != nil || s.Port != nil {
		p.put(" to ")
		p.natAddr(s.Addr, s.Port != nil)
	}
	if s.Port != nil {
		p.put(":")
		p.expr(s.Port, Type{})
	}
	flags := slices.DeleteFunc(slices.Clone(s.Flags), func(f string) bool { return f == "netmap" }) // comes with "prefix"
	p.flags(" ", flags)
}

// natAddr prints the address to translate to; in front of a port IPv6 addresses are in brackets.
func (p *printer) natAddr(e Expr, port bool) {
	bracket := func(e Expr) {
		if port && ipv6(e) {
			p.put("[")
			p.expr(e, Type{})
			p.put("]")
			return
		}
		p.expr(e, Type{})
	}
	if r, ok := e.(Range); ok {
		bracket(r.From)
		p.put("-")
		bracket(r.To)
		return
	}
	if e != nil {
		bracket(e)
	}
}

func (p *printer) reject(s Reject) {
	p.put("reject")
	if s.Type == "" && s.Expr == nil {
		return
	}
	p.put(" with ", s.Type)
	if s.Expr != nil {
		p.put(" ")
		p.expr(s.Expr, Type{})
	}
}

func (p *printer) setObject(s SetObject) {
	switch s.Kind {
	case "secmark":
		p.named("meta secmark set ", s.Value)
	case "synproxy", "tunnel":
		p.named(s.Kind+" name ", s.Value)
	default:
		p.named(s.Kind+" set ", s.Value)
	}
}

func (p *printer) action(s Action) {
	p.put(s.Kind)
	switch s.Kind {
	case "log":
		p.log(s.Fields)
	case "tproxy":
		if family, ok := s.Fields.Str("family"); ok {
			p.put(" ", family)
		}
		addr, port := s.Fields.Expr("addr"), s.Fields.Expr("port")
		p.put(" to ")
		p.natAddr(addr, port != nil)
		if port != nil {
			p.put(":")
			p.expr(port, Type{})
		}
	case "synproxy":
		p.synproxy(" ", s.Fields)
	case "reset":
		if e := s.Fields.Expr(""); e != nil {
			p.put(" ")
			p.resetOption(e)
		}
	case "last":
		if n, ok := s.Fields.Uint("used"); ok {
			p.put(" used ", duration(n/1000))
		}
	}
}

// resetOption prints the option that is taken out, by name or number.
func (p *printer) resetOption(e Expr) {
	if op, ok := e.(Option); ok && op.Name == "" {
		n, _ := op.Extra.Int("base")
		fmt.Fprintf(p, "%s %d", op.Kind, n)
		return
	}
	p.expr(e, Type{})
}

func (p *printer) log(x Extra) {
	if s, ok := x.Str("prefix"); ok {
		p.put(" prefix ", quote(s))
	}
	for _, k := range []string{"group", "snaplen", "queue-threshold"} {
		if n, ok := x.Uint(k); ok {
			fmt.Fprintf(p, " %s %d", k, n)
		}
	}
	if s, ok := x.Str("level"); ok {
		p.put(" level ", s)
	}
	for _, f := range x.Words("flags") {
		p.put(" flags ", f)
	}
}

// synproxy prints what a synproxy announces, each with something in front.
func (p *printer) synproxy(sep string, x Extra) {
	for _, k := range []string{"mss", "wscale"} {
		if n, ok := x.Uint(k); ok {
			fmt.Fprintf(p, "%s%s %d", sep, k, n)
		}
	}
	if flags := x.Words("flags"); len(flags) > 0 {
		p.put(sep, strings.Join(flags, " "))
	}
}
