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

// Attributes that x/sys does not have (enum nft_set_desc_attributes, nft_set_elem_attributes).
const (
	setDescConcat = 2  // NFTA_SET_DESC_CONCAT, Linux 5.6
	setElemObject = 9  // NFTA_SET_ELEM_OBJREF
	setElemKeyEnd = 10 // NFTA_SET_ELEM_KEY_END, Linux 5.6
	setElemExprs  = 11 // NFTA_SET_ELEM_EXPRESSIONS, Linux 5.11
)

// ruleCode is what the kernel executes for a rule.
type ruleCode struct {
	chain  string
	handle int
	// code is the rule's expressions with all their attributes, but for what they have counted and the names of anonymous
	// sets. sets are those that the rule looks into, in order.
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
		if name := string(text(v)); kind == unix.NFTA_LOOKUP_SET {
			r.sets = append(r.sets, name)
			if anonymous(name) {
				v = nil
			}
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

// whole is the rule's code with what its sets are; of anonymous ones, with the elements.
func (a *asker) whole(family ruleset.Family, table string, r *ruleCode) (string, error) {
	b := []byte(r.code)
	for _, name := range r.sets {
		set := element.SetID{Family: family, Table: table, Name: name}
		kind, err := a.setKind(set)
		if err != nil {
			return "", err
		}
		b = append(b, kind...)
		if !anonymous(name) {
			continue
		}
		elements, err := a.setElements(set)
		if err != nil {
			return "", err
		}
		b = append(b, elements...)
	}
	return string(b), nil
}

// setKind is what a set is for the rules that look into it, without its elements. Named sets are asked for once.
func (a *asker) setKind(set element.SetID) ([]byte, error) {
	if kind, known := a.kinds[set]; known {
		return kind, nil
	}
	ask, err := setAttrs(set)
	if err != nil {
		return nil, err
	}
	var b []byte
	err = a.ask(unix.NFT_MSG_GETSET, netlink.Acknowledge, familyNumber(set.Family), ask, func(_ element.Generation, msg []byte) error {
		b = keep(b, msg, unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_LEN, unix.NFTA_SET_DATA_LEN, unix.NFTA_SET_OBJ_TYPE)
		for kind, v := range attrs(msg) {
			if kind == unix.NFTA_SET_DESC {
				b = keep(b, v, setDescConcat)
			}
		}
		return nil
	})
	if err == nil && !anonymous(set.Name) {
		a.kinds[set] = b
	}
	return b, err
}

// setElements are the elements of a set, in an order of their own. Of what they do (count, limit) only that they do.
func (a *asker) setElements(set element.SetID) (string, error) {
	ask, err := setAttrs(set)
	if err != nil {
		return "", err
	}
	var elements []string
	err = a.ask(unix.NFT_MSG_GETSETELEM, netlink.Dump, familyNumber(set.Family), ask, func(_ element.Generation, msg []byte) error {
		eachElement(msg, func(one []byte) {
			b := keep(nil, one, unix.NFTA_SET_ELEM_KEY, setElemKeyEnd, unix.NFTA_SET_ELEM_DATA, unix.NFTA_SET_ELEM_FLAGS,
				unix.NFTA_SET_ELEM_TIMEOUT, setElemObject)
			for kind := range attrs(one) {
				if kind == unix.NFTA_SET_ELEM_EXPR || kind == setElemExprs {
					b = append(b, byte(kind))
				}
			}
			elements = append(elements, string(b))
		})
		return nil
	})
	slices.Sort(elements)
	return strings.Join(elements, ""), err
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
