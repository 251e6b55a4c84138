package lint

import (
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// cover is what is known about a match: the classes whose packets all match, and those of which some may.
type cover struct{ must, may box }

func unknown() cover { return cover{may: full()} }

func everything() cover { return cover{must: full(), may: full()} }

// and is the cover of two matches that both have to hold.
func (c cover) and(d cover) cover { return cover{c.must.and(d.must), c.may.and(d.may)} }

// axis is one dimension of a box: an expression that the analysis understands.
type axis struct {
	// value returns the cover of "expression == v".
	value func(v ruleset.Expr) cover
	// not turns a part of this dimension into the rest of it.
	not func(b box) box
	// domain are the classes that have a value at all: for others, neither == nor != matches.
	domain word
}

// axis returns how to read an expression's values; false where the analysis does not follow it.
func (a *analysis) axis(key ruleset.Expr) (axis, bool) {
	switch k := key.(type) {
	case ruleset.CT:
		switch {
		case k.Key == "state" && k.Dir == "":
			return wordAxis(allWords, stateValue), true
		case k.Key == "direction":
			return wordAxis(allWords&^ofStates(stateUntracked), directionValue), true
		}
	case ruleset.Meta:
		return a.metaAxis(k.Key)
	case ruleset.Payload:
		switch {
		case k.Proto == "ip" && k.Field == "protocol":
			return wordAxis(ofFamily(familyIP), protoValue), true
		case k.Proto == "ip6" && k.Field == "nexthdr": // an extension header may come first
			return wordAxis(ofFamily(familyIP6), nextHeader), true
		}
	}
	return axis{}, false
}

func (a *analysis) metaAxis(key string) (axis, bool) {
	switch key {
	case "l4proto":
		return wordAxis(allWords, protoValue), true
	case "nfproto", "protocol":
		return wordAxis(allWords, familyValue), true
	case "iif", "iifname":
		return axis{func(v ruleset.Expr) cover {
			may, must := a.deviceValue(v)
			return cover{box{allWords, must, allDevices}, box{allWords, may, allDevices}}
		}, func(b box) box { return box{allWords, ^b.in & allDevices, allDevices} }, allWords}, true
	case "oif", "oifname":
		return axis{func(v ruleset.Expr) cover {
			may, must := a.deviceValue(v)
			return cover{box{allWords, allDevices, must}, box{allWords, allDevices, may}}
		}, func(b box) box { return box{allWords, allDevices, ^b.out & allDevices} }, allWords}, true
	}
	return axis{}, false
}

func wordAxis(domain word, value func(v ruleset.Expr) (must, may word)) axis {
	return axis{func(v ruleset.Expr) cover {
		must, may := value(v)
		return cover{box{must & domain, allDevices, allDevices}, box{may & domain, allDevices, allDevices}}
	}, func(b box) box { return box{domain &^ b.w, allDevices, allDevices} }, domain}
}

func (a *analysis) deviceValue(v ruleset.Expr) (may, must devset) {
	name, ok := v.(ruleset.Str)
	if !ok {
		return allDevices, 0
	}
	return a.devices.matching(string(name))
}

func stateValue(v ruleset.Expr) (must, may word) {
	var w word
	switch v := v.(type) {
	case ruleset.Str:
		switch v {
		case "new":
			w = ofStates(stateNew)
		case "established":
			w = established()
		case "related":
			w = ofStates(stateRelated)
		case "invalid":
			w = ofStates(stateInvalid)
		case "untracked":
			w = ofStates(stateUntracked)
		default:
			return 0, allWords
		}
	case ruleset.Num: // bits of NF_CT_STATE_BIT
		for bit, s := range map[ruleset.Num]word{
			1: ofStates(stateInvalid), 2: established(), 4: ofStates(stateRelated), 8: ofStates(stateNew), 64: ofStates(stateUntracked),
		} {
			if v&bit != 0 {
				w |= s
			}
		}
	default:
		return 0, allWords
	}
	return w, w
}

func directionValue(v ruleset.Expr) (must, may word) {
	switch v {
	case ruleset.Str("original"), ruleset.Num(0):
		return ofStates(stateNew, stateOriginal), ofStates(stateNew, stateOriginal, stateRelated, stateInvalid)
	case ruleset.Str("reply"), ruleset.Num(1):
		return ofStates(stateReply), ofStates(stateReply, stateRelated, stateInvalid)
	}
	return 0, allWords
}

func protoValue(v ruleset.Expr) (must, may word) {
	switch v {
	case ruleset.Str("tcp"), ruleset.Num(6):
		return ofProto(tcp), ofProto(tcp)
	case ruleset.Str("udp"), ruleset.Num(17):
		return ofProto(udp), ofProto(udp)
	case ruleset.Str("gre"), ruleset.Num(47):
		return ofProto(gre), ofProto(gre)
	}
	switch v.(type) {
	case ruleset.Str, ruleset.Num:
		return 0, ofProto(otherProto)
	}
	return 0, allWords
}

// nextHeader reads `ip6 nexthdr`: of packets with an extension header it names that.
func nextHeader(v ruleset.Expr) (must, may word) {
	if must, _ := protoValue(v); must != 0 {
		return 0, must
	}
	return 0, allWords
}

func familyValue(v ruleset.Expr) (must, may word) {
	switch v {
	case ruleset.Str("ipv4"), ruleset.Str("ip"), ruleset.Num(2), ruleset.Num(0x0800):
		return ofFamily(familyIP), ofFamily(familyIP)
	case ruleset.Str("ipv6"), ruleset.Str("ip6"), ruleset.Num(10), ruleset.Num(0x86dd):
		return ofFamily(familyIP6), ofFamily(familyIP6)
	}
	switch v.(type) {
	case ruleset.Str, ruleset.Num:
		return 0, 0
	}
	return 0, allWords
}

// match returns the cover of a match.
func (a *analysis) match(t *ruleset.Table, m ruleset.Match) cover {
	if b, ok := m.Left.(ruleset.Binary); ok {
		return a.masked(b, m)
	}
	if _, ok := m.Left.(ruleset.Concat); ok && m.Op == "==" {
		return a.concatMatch(t, m)
	}
	ax, ok := a.axis(m.Left)
	if !ok {
		return implied(m.Left)
	}
	values, exact := a.values(t, m.Right)
	if !exact {
		return cover{may: box{ax.domain, allDevices, allDevices}}
	}
	var c cover
	for _, v := range values {
		one := ax.value(v)
		c.must, c.may = c.must.join(one.must), c.may.hull(one.may)
	}
	switch m.Op {
	case "==", "in":
		return c
	case "!=":
		return cover{ax.rest(c.may), ax.rest(c.must)}
	}
	return cover{may: box{ax.domain, allDevices, allDevices}}
}

// rest is what of the dimension is not in a box; all that has a value where the box is empty.
func (ax axis) rest(b box) box {
	if b.empty() {
		return box{ax.domain, allDevices, allDevices}
	}
	return ax.not(b)
}

// masked reads `ct state & (established | related) != 0`.
func (a *analysis) masked(b ruleset.Binary, m ruleset.Match) cover {
	k, ok := b.Operands[0].(ruleset.CT)
	if !ok || k.Key != "state" || b.Op != "&" || len(b.Operands) != 2 || m.Right != ruleset.Num(0) {
		return implied(b.Operands[0])
	}
	values, exact := a.values(nil, b.Operands[1])
	if !exact {
		return unknown()
	}
	var w word
	for _, v := range values {
		must, may := stateValue(v)
		if must != may {
			return unknown()
		}
		w |= must
	}
	switch m.Op {
	case "==":
		w = ^w & allWords
	case "!=":
	default:
		return unknown()
	}
	return cover{box{w, allDevices, allDevices}, box{w, allDevices, allDevices}}
}

func (a *analysis) concatMatch(t *ruleset.Table, m ruleset.Match) cover {
	values, exact := a.values(t, m.Right)
	if !exact || len(values) > maxElements {
		return unknown()
	}
	var c cover
	for _, v := range values {
		one := a.element(m.Left, v)
		c.must, c.may = c.must.join(one.must), c.may.hull(one.may)
	}
	return c
}

// element returns the cover of "key == v", a concatenation part by part.
func (a *analysis) element(key, v ruleset.Expr) cover {
	keys, isConcat := key.(ruleset.Concat)
	if !isConcat {
		ax, ok := a.axis(key)
		if !ok {
			return implied(key)
		}
		if v == ruleset.Expr(ruleset.Str("*")) {
			return unknown()
		}
		return ax.value(v)
	}
	parts, ok := v.(ruleset.Concat)
	if !ok || len(parts) != len(keys) {
		return unknown()
	}
	c := everything()
	for i, k := range keys {
		c = c.and(a.element(k, parts[i]))
	}
	return c
}

// implied is what reading an expression says about the packet: a port is one of its protocol. Whether it matches is
// not known.
func implied(e ruleset.Expr) cover {
	w := allWords
	switch e := e.(type) {
	case ruleset.Payload:
		w = impliedBy(e.Proto)
	case ruleset.Option:
		switch e.Kind {
		case "tcp option":
			w = ofProto(tcp)
		case "ip option":
			w = ofFamily(familyIP)
		case "sctp chunk", "dccp option":
			w = ofProto(otherProto)
		}
	case ruleset.Exthdr:
		w = ofFamily(familyIP6)
	}
	return cover{may: box{w, allDevices, allDevices}}
}

func impliedBy(proto string) word {
	switch proto {
	case "tcp":
		return ofProto(tcp)
	case "udp":
		return ofProto(udp)
	case "ip":
		return ofFamily(familyIP)
	case "ip6":
		return ofFamily(familyIP6)
	case "icmp", "igmp", "icmpv6", "udplite", "sctp", "dccp", "ah", "esp", "comp":
		return ofProto(otherProto)
	case "gre":
		return ofProto(gre)
	case "arp":
		return 0
	}
	return allWords
}
