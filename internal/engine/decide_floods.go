package engine

// Floods says whether packets that leave by a device may be one of several copies, as a bridge makes them for a
// destination that it does not know.
type Floods string

// The kinds.
const (
	FloodsNot    Floods = ""       // no bridge is above the device
	FloodsSeen   Floods = "seen"   // it is a port, and all other ports are watched as well
	FloodsUnseen Floods = "unseen" // copies may leave where nobody watches
)

// floods looks at the bridges above a spot. Only direct ports count as watched: a VLAN on the way may move the bytes by
// which copies are known.
func (p *plan) floods(l *Link) Floods {
	bridges := 0
	for _, u := range p.stack.uppers(l) {
		if u.Kind == kindBridge {
			bridges++
		}
	}
	switch {
	case bridges == 0:
		return FloodsNot
	case bridges > 1 || l.MasterKind != kindBridge:
		return FloodsUnseen
	}
	for _, port := range p.stack.ports[l.Master] {
		if s := p.spots[port]; s == nil || s.free && s.hook == Off {
			return FloodsUnseen
		}
	}
	return FloodsSeen
}
