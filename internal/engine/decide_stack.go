package engine

import (
	"fmt"
	"iter"
	"slices"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// Kinds of devices that only stand on others: packets pass them on the way to and from a device where they can be
// looked up. (IFLA_INFO_KIND, include/net/rtnetlink.h: rtnl_link_ops.kind)
const (
	kindVLAN   = "vlan"
	kindBridge = "bridge"
	kindVRF    = "vrf"
)

// maxTags is the number of VLAN tags an entry can carry, as NF_FLOW_TABLE_ENCAP_MAX (include/net/netfilter/nf_flow_table.h).
const maxTags = 2

// Tag is a VLAN tag.
type Tag struct {
	Protocol string `json:"protocol"` // "802.1Q" or "802.1ad"
	ID       uint16 `json:"id"`
}

// stack is the devices of one reading and what stands on what.
type stack struct {
	links []Link // lowest ifindex first
	named map[string]*Link
	above map[string][]*Link // directly above the named one
	// passing are those of above that only pass packets on.
	passing map[string][]*Link
	ports   map[string][]*Link // of the named bridge, bond or VRF
	known   map[*Link][]way    // by ways
}

func newStack(links []Link) *stack {
	s := &stack{links: slices.Clone(links), named: map[string]*Link{}, above: map[string][]*Link{}, passing: map[string][]*Link{}, ports: map[string][]*Link{}, known: map[*Link][]way{}}
	slices.SortFunc(s.links, func(a, b Link) int { return int(a.Ifindex) - int(b.Ifindex) })
	for i := range s.links {
		s.named[s.links[i].Name] = &s.links[i]
	}
	for i := range s.links {
		l := &s.links[i]
		if l.Lower != "" {
			s.above[l.Lower] = append(s.above[l.Lower], l)
		}
		if m := s.named[l.Master]; m != nil {
			s.above[l.Name] = append(s.above[l.Name], m)
			s.ports[m.Name] = append(s.ports[m.Name], l)
		}
	}
	for name, above := range s.above {
		for _, u := range above {
			if passes(u) {
				s.passing[name] = append(s.passing[name], u)
			}
		}
	}
	return s
}

// below are the devices directly below one.
func (s *stack) below(l *Link) []*Link {
	if lower := s.named[l.Lower]; lower != nil {
		return append([]*Link{lower}, s.ports[l.Name]...)
	}
	return s.ports[l.Name]
}

// reach collects everything that next leads to from some devices, which are left out themselves.
func reach(from []*Link, next func(*Link) []*Link) []*Link {
	seen := map[*Link]bool{}
	for _, l := range from {
		seen[l] = true
	}
	var out []*Link
	for todo := slices.Clone(from); len(todo) > 0; todo = todo[1:] {
		for _, l := range next(todo[0]) {
			if !seen[l] {
				seen[l] = true
				out = append(out, l)
				todo = append(todo, l)
			}
		}
	}
	return out
}

// passes reports whether packets only pass the device on their way to one where they are looked up.
func passes(l *Link) bool { return l.Kind == kindVLAN || l.Kind == kindBridge || l.Kind == kindVRF }

// uppers are the devices above some whose packets are looked up on those: through VLANs, bridges and VRFs, of which
// each may stand on the next.
func (s *stack) uppers(of ...*Link) []*Link {
	return reach(of, func(l *Link) []*Link { return s.passing[l.Name] })
}

// ids numbers the devices that stand on one another: all of them have the smallest ifindex among them.
func (s *stack) ids() map[string]uint32 {
	ids := map[string]uint32{}
	for i := range s.links { // lowest ifindex first
		l := &s.links[i]
		if ids[l.Name] != 0 {
			continue
		}
		ids[l.Name] = l.Ifindex
		for _, o := range reach([]*Link{l}, func(l *Link) []*Link { return append(slices.Clone(s.below(l)), s.above[l.Name]...) }) {
			ids[o.Name] = l.Ifindex
		}
	}
	return ids
}

// way is one way from a device down to one where its packets can be looked up.
type way struct {
	at   *Link   // where it ends
	over []*Link // the devices above at that it passes, the topmost first; none for a device that is looked up on itself
	tags []Tag   // that packets carry at the end of it, the outermost first, as far as that is known
	no   Reason  // why it does not lead to a device where packets can be looked up
}

// devices are all devices on the way, from its end upward.
func (w way) devices() iter.Seq[*Link] {
	return func(yield func(*Link) bool) {
		if !yield(w.at) {
			return
		}
		for _, l := range slices.Backward(w.over) {
			if !yield(l) {
				return
			}
		}
	}
}

// ways are all the ways down from a device: one for each port of a bridge.
func (s *stack) ways(from *Link) []way {
	ws, known := s.known[from]
	if !known {
		ws = s.down(way{at: from}, 0)
		s.known[from] = ws
	}
	return ws
}

// down goes on from the end of a way; depth is the number of VLAN devices on it.
func (s *stack) down(w way, depth int) []way {
	l := w.at
	if !passes(l) {
		w.no = s.unfit(l)
		return []way{w}
	}
	if len(w.over) >= len(s.links) { // a circle: the reading is not of one moment
		w.no = Reason{reason.OffStacked, fmt.Sprintf("%s stands on itself", l.Name), ""}
		return []way{w}
	}
	if l.Kind == kindVLAN {
		depth++
	}
	switch below := s.below(l); {
	case l.Kind == kindVLAN && depth > maxTags:
		w.no = Reason{reason.OffTooManyTags, fmt.Sprintf("packets of %s carry more than %d VLAN tags below it", from(w), maxTags), "flows through it stay on the slow path"}
		return []way{w}
	case len(below) == 0 && l.Kind == kindVLAN:
		w.no = Reason{reason.OffLowerElsewhere, fmt.Sprintf("the device below %s is in another network namespace", l.Name), "flows through it stay on the slow path"}
		return []way{w}
	default:
		over, tags := append(slices.Clone(w.over), l), w.tags
		switch {
		case l.Kind == kindVLAN:
			tags = append([]Tag{{l.VLANProtocol, l.VLAN}}, tags...)
		case l.Filtering:
			tags = nil // each port has its own way with each tag
		}
		out := make([]way, 0, len(below))
		for _, b := range below {
			out = append(out, s.down(way{at: b, over: over, tags: tags}, depth)...)
		}
		return out
	}
}

// from names the device a way begins at.
func from(w way) string {
	if len(w.over) > 0 {
		return w.over[0].Name
	}
	return w.at.Name
}
