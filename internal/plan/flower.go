package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// filter is one filter of tc-flower(8).
type filter struct {
	protocol string
	keys     []string
	action   string
}

// mostFilters bounds the filters of one rule. NICs have room for a few thousand; beyond that a rule belongs to XDP, which
// looks sets up whole.
const mostFilters = 256

// lowerer writes the entries of one device as filters.
type lowerer struct {
	on    ability
	all   *abilities
	prefs prefs
}

// lower writes an entry as filters, or says why it cannot.
func (l *lowerer) lower(e *entry, start space.Scan) ([]filter, Finding) {
	act, f := l.action(e)
	if !f.None() {
		return nil, f
	}
	spaces, f := alternatives(e, start)
	if !f.None() {
		return nil, f
	}
	var out []filter
	for _, s := range spaces {
		fs, f := l.filters(s)
		if !f.None() {
			return nil, f
		}
		out = append(out, fs...)
		if len(out) > mostFilters {
			return nil, tooLarge()
		}
	}
	for i := range out {
		out[i].action = act
	}
	return out, Finding{}
}

func tooLarge() Finding {
	return Finding{Reason: reason.ExpansionTooLarge, Detail: fmt.Sprintf("more than %d filters", mostFilters)}
}

// action is what a filter does, in the words of tc.
func (l *lowerer) action(e *entry) (string, Finding) {
	p := l.on.profile
	refuse := func(what string) (string, Finding) {
		return "", Finding{Reason: reason.ActionNotSupported, Detail: p.Name + " takes no " + what}
	}
	switch e.effect.ending {
	case drops:
		if !p.Actions.Has(caps.ActDrop) {
			return refuse("drop")
		}
		return "action drop", Finding{}
	case accepts:
		if !p.Actions.Has(caps.ActAccept) || l.on.has(caps.AcceptIsEmpty) {
			return refuse("accept")
		}
		return "action pass", Finding{}
	case forwards:
		if !p.Actions.Has(caps.ActRedirect) {
			return refuse("redirect")
		}
		if l.on.has(caps.RedirectOwnSwitch) && !sameSwitch(l.on, l.all.of(e.effect.device)) {
			return "", Finding{Reason: reason.RedirectTargetNotSameSwitch, Detail: e.effect.device}
		}
		return "action mirred egress redirect dev " + e.effect.device, Finding{}
	case leaves:
		return "", Finding{Reason: reason.VerdictNotAcceptDrop, Detail: "return and goto"}
	case decides:
		return "", Finding{Reason: reason.SetDynamic, Detail: "map " + e.verdicts.Name}
	case goesOn, unknown:
	}
	return "", Finding{Reason: reason.NoTerminalAction}
}

// alternatives are the packets of an entry as spaces that have no others: one for each element of a set of
// concatenations.
func alternatives(e *entry, start space.Scan) ([]space.Space, Finding) {
	scans := []space.Scan{start}
	for _, step := range e.steps {
		for i := range scans {
			scans[i] = scans[i].NewRule()
		}
		for _, m := range step {
			var next []space.Scan
			for _, s := range scans {
				parts, ok := s.Split(m, mostFilters)
				if !ok || len(next)+len(parts) > mostFilters {
					return nil, tooLarge()
				}
				next = append(next, parts...)
			}
			scans = next
		}
	}
	out := make([]space.Space, 0, len(scans))
	for _, s := range scans {
		if s.Space.Empty() {
			continue
		}
		if !s.Space.Exact() {
			return nil, Finding{Reason: reason.KeyNotSupported, Detail: "a match that flower has no words for"}
		}
		out = append(out, s.Space)
	}
	return out, Finding{}
}

// filters writes a space as filters: the product of what each field may be.
func (l *lowerer) filters(s space.Space) ([]filter, Finding) {
	protos, f := protocols(s)
	if !f.None() {
		return nil, f
	}
	var out []filter
	for _, p := range protos {
		fs := []filter{{protocol: p.word}}
		for _, c := range s.Constraints() {
			k, f := l.key(c, p)
			if !f.None() {
				return nil, f
			}
			if len(k) == 0 {
				continue
			}
			if len(fs)*len(k) > mostFilters {
				return nil, tooLarge()
			}
			fs = product(fs, k)
		}
		if f := l.conditions(s, p); !f.None() {
			return nil, f
		}
		out = append(out, fs...)
	}
	return out, Finding{}
}

func product(fs []filter, keys []string) []filter {
	out := make([]filter, 0, len(fs)*len(keys))
	for _, f := range fs {
		for _, k := range keys {
			if slices.Contains(f.keys, k) {
				out = append(out, f) // ip protocol and meta l4proto
				continue
			}
			out = append(out, filter{protocol: f.protocol, keys: append(slices.Clip(f.keys), k)})
		}
	}
	return out
}

// key is what a field may be, in the words of tc; empty where the protocol says it already.
func (l *lowerer) key(c space.Constraint, p protocol) ([]string, Finding) {
	name, ok := flowerKey(c.Field, p)
	if !ok {
		return nil, Finding{Reason: reason.KeyNotSupported, Detail: fieldName(c.Field, p) + " is no key of flower"}
	}
	if name.write == nil {
		return nil, Finding{}
	}
	if !l.on.profile.Keys.Has(name.key) {
		return nil, Finding{Reason: reason.KeyNotSupported, Detail: fmt.Sprintf("%s does not match on %s", l.on.profile.Name, fieldName(c.Field, p))}
	}
	masks, f := l.masks(c, name)
	if !f.None() {
		return nil, f
	}
	out := make([]string, 0, len(masks))
	for _, m := range masks {
		if !m.Whole(c.Field.Len) && (name.whole || l.on.has(caps.FullMasks) || name.key == caps.KeyEth && l.on.has(caps.NoPartialMAC)) {
			return nil, Finding{Reason: reason.PartialMaskNotSupported, Detail: fieldName(c.Field, p)}
		}
		out = append(out, name.write(m))
	}
	return out, Finding{}
}

// masks are the values of a field as flower matches them: whole, or with a mask each.
func (l *lowerer) masks(c space.Constraint, name flowerWord) ([]space.Mask, Finding) {
	if len(c.Masks) > 1 {
		return nil, Finding{Reason: reason.FieldMatchedTwice, Detail: name.name}
	}
	if len(c.Masks) == 1 {
		return c.Masks, Finding{}
	}
	whole := name.whole || l.on.has(caps.FullMasks)
	masks, ok := c.In.Masks(c.Field.Len, mostFilters, whole)
	if !ok {
		return nil, tooLarge()
	}
	return masks, Finding{}
}

// fieldName names a field for people.
func fieldName(f space.Field, p protocol) string {
	if k, ok := flowerKey(f, p); ok && k.name != "" {
		return k.name
	}
	return f.String()
}

// conditions is what the driver asks of a rule besides keys.
func (l *lowerer) conditions(s space.Space, p protocol) Finding {
	var keys caps.Keys
	for _, c := range s.Constraints() {
		if k, ok := flowerKey(c.Field, p); ok {
			keys |= k.key
		}
	}
	addresses := keys&(caps.KeyIPv4|caps.KeyIPv6) != 0
	switch {
	case !l.on.profile.Keys.Has(caps.KeyBasic) && p.word != "all":
		return Finding{Reason: reason.KeyNotSupported, Detail: l.on.profile.Name + " does not match on protocols"}
	case l.on.has(caps.NeedsControl) && !addresses:
		return Finding{Reason: reason.NeedsControlKey}
	case (l.on.has(caps.NeedsEthertype) || l.on.has(caps.NeedsBasic)) && p.word == "all":
		return Finding{Reason: reason.NeedsEthertype}
	case l.on.has(caps.MACAlone) && keys.Has(caps.KeyEth) && keys&^(caps.KeyEth|caps.KeyBasic) != 0:
		return Finding{Reason: reason.KeyNotSupported, Detail: "MAC addresses only in rules that match nothing else"}
	case l.on.has(caps.AddressesOrPorts) && addresses && keys.Has(caps.KeyPorts):
		return Finding{Reason: reason.KeyNotSupported, Detail: "addresses or ports, not both"}
	case l.on.has(caps.NoARP) && p.word == "arp":
		return Finding{Reason: reason.KeyNotSupported, Detail: "ARP"}
	case l.on.has(caps.TOSOnIPv4) && keys.Has(caps.KeyIP) && p.word != "ip":
		return Finding{Reason: reason.KeyNotSupported, Detail: "TOS on IPv4 only"}
	}
	return l.more(s, p)
}

func (l *lowerer) more(s space.Space, p protocol) Finding {
	for _, c := range s.Constraints() {
		k, _ := flowerKey(c.Field, p)
		word := strings.TrimSpace(k.name)
		switch {
		case word == "src_mac" && l.on.has(caps.DestinationMAC), word == "ip_ttl" && l.on.has(caps.NoTTL):
			return Finding{Reason: reason.KeyNotSupported, Detail: l.on.profile.Name + " does not match on " + word}
		}
	}
	return Finding{}
}
