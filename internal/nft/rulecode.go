package nft

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// setElemKeyEnd is NFTA_SET_ELEM_KEY_END (Linux 5.6), which x/sys does not have.
const setElemKeyEnd = 10

// ruleCode is what the kernel executes for a rule.
type ruleCode struct {
	chain  string
	handle int
	// code is the rule's expressions with all their attributes, but for what they have counted and the names of anonymous
	// sets: those are in sets, in the order in which the rule asks for them.
	code string
	sets []string
}

// ruleCodes asks for the rules of a table, or of all of a family, by table and in the order of each chain.
func (a *asker) ruleCodes(family ruleset.Family, table string) (map[string][]ruleCode, error) {
	e := netlink.NewAttributeEncoder()
	if table != "" {
		e.String(unix.NFTA_RULE_TABLE, table)
	}
	body, err := e.Encode()
	if err != nil {
		return nil, err
	}
	out := map[string][]ruleCode{}
	err = a.ask(unix.NFT_MSG_GETRULE, netlink.Dump, familyNumber(family), body, func(_ element.Generation, b []byte) error {
		var r ruleCode
		var of []byte
		for kind, v := range attrs(b) {
			switch kind {
			case unix.NFTA_RULE_TABLE:
				of = text(v)
			case unix.NFTA_RULE_CHAIN:
				r.chain = string(text(v))
			case unix.NFTA_RULE_HANDLE:
				r.handle = int(binary.BigEndian.Uint64(v))
			case unix.NFTA_RULE_EXPRESSIONS:
				r.expressions(v)
			}
		}
		out[string(of)] = append(out[string(of)], r)
		return nil
	})
	return out, err
}

// expressions takes a rule's expressions over.
func (r *ruleCode) expressions(list []byte) {
	var b []byte
	for _, expr := range attrs(list) {
		var name, data []byte
		for kind, v := range attrs(expr) {
			switch kind {
			case unix.NFTA_EXPR_NAME:
				name = text(v)
			case unix.NFTA_EXPR_DATA:
				data = v
			}
		}
		b = append(append(b, name...), 0)
		switch string(name) {
		case "counter", "last", "quota": // how much they have seen is among their attributes
		case "lookup":
			b = r.lookup(b, data)
		default:
			b = binary.NativeEndian.AppendUint32(b, uint32(len(data)))
			b = append(b, data...)
		}
	}
	r.code = string(b)
}

// lookup writes a lookup in a set.
func (r *ruleCode) lookup(b, data []byte) []byte {
	for kind, v := range attrs(data) {
		if name := string(text(v)); kind == unix.NFTA_LOOKUP_SET && anonymous(name) {
			r.sets = append(r.sets, name)
			v = nil
		}
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

// anonymous reports whether a set is one of a rule, as nft(8) names them. A set that only has such a name is taken for
// one, too: rules are thought to differ then.
func anonymous(set string) bool {
	return strings.HasPrefix(set, "__set") || strings.HasPrefix(set, "__map")
}

// whole is the rule's code with what is in its anonymous sets.
func (a *asker) whole(family ruleset.Family, table string, r *ruleCode) (string, error) {
	b := []byte(r.code)
	for _, name := range r.sets {
		more, err := a.setCode(element.SetID{Family: family, Table: table, Name: name})
		if err != nil {
			return "", err
		}
		b = append(b, more...)
	}
	return string(b), nil
}

// setCode is what a set is for the rules that look into it: what kind of set, and its elements, in an order of their own.
func (a *asker) setCode(set element.SetID) ([]byte, error) {
	ask, err := setAttrs(set)
	if err != nil {
		return nil, err
	}
	family := familyNumber(set.Family)
	var b []byte
	err = a.ask(unix.NFT_MSG_GETSET, netlink.Acknowledge, family, ask, func(_ element.Generation, msg []byte) error {
		b = keep(b, msg, unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_LEN, unix.NFTA_SET_DATA_LEN)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var elements []string
	err = a.ask(unix.NFT_MSG_GETSETELEM, netlink.Dump, family, ask, func(_ element.Generation, msg []byte) error {
		eachElement(msg, func(one []byte) {
			elements = append(elements, string(keep(nil, one,
				unix.NFTA_SET_ELEM_KEY, setElemKeyEnd, unix.NFTA_SET_ELEM_DATA, unix.NFTA_SET_ELEM_FLAGS, unix.NFTA_SET_ELEM_TIMEOUT)))
		})
		return nil
	})
	slices.Sort(elements)
	return append(b, strings.Join(elements, "")...), err
}

// keep appends those attributes that are named, with their kinds and lengths.
func keep(b, msg []byte, kinds ...uint16) []byte {
	for kind, v := range attrs(msg) {
		if slices.Contains(kinds, kind) {
			b = binary.NativeEndian.AppendUint16(b, kind)
			b = binary.NativeEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		}
	}
	return b
}
