package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// standing is what is known of a device that stands on devices where packets are looked up.
type standing struct {
	meant     bool // a flowtable lists it, or one that it stands on
	free      bool // packets may be carried on at least one of those it stands on
	labels    handover.Labels
	flowtable bool
	no        Reason // what one of its ways to a free spot meets, or any where none is free
}

// stand looks at all ways from a device down to spots. The datapath knows that a packet came in by the device and that
// it was looked up at the end of a way, not which way it went: one that is not free rules out the device.
func (p *plan) stand(l *Link) standing {
	var s standing
	var shut Reason
	var stray *Link // the end of a way of which no device is listed
	for _, w := range p.stack.ways(l) {
		spot := p.spots[w.at]
		if spot == nil || !w.no.OK() {
			continue // nothing is looked up there
		}
		if spot.free {
			s.free = true
			s.no = cmp.Or(s.no, p.met(w))
		} else {
			shut = cmp.Or(shut, p.met(w))
		}
		meant := false
		for o := range w.devices() {
			if d := p.active(o); d != nil {
				meant = true
				s.labels = s.labels.Union(d.labels)
				s.flowtable = s.flowtable || d.Real
			}
		}
		s.meant = s.meant || meant
		if spot.free && !meant {
			stray = w.at
		}
	}
	switch {
	case !s.free:
		s.no = shut
	case s.meant && stray != nil && s.no.OK():
		s.no = Reason{reason.OffNotListed, fmt.Sprintf("packets of %s also come in by %s, which no flowtable lists", l.Name, stray.Name), fmt.Sprintf("list %s in the flowtable", l.Name)}
	}
	return s
}

// upperDevices are those above spots, lowest ifindex first.
func (p *plan) upperDevices() []*Link {
	out := p.stack.uppers(slices.Collect(maps.Keys(p.spots))...)
	slices.SortFunc(out, func(a, b *Link) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return out
}

// withhold finds listed devices that stay off because one of their ways is not free and ends where others are, and
// reports whether there was a new one.
func (p *plan) withhold() bool {
	found := false
	for _, u := range p.upperDevices() {
		if d := p.active(u); d == nil || d.Hook == Off {
			continue
		}
		if s := p.stand(u); !s.no.OK() {
			p.withheld[u] = s.no
			found = true
		}
	}
	return found
}

// aboves are the records of devices above spots, and what status has to say of those that have none.
func (p *plan) aboves(ids map[string]uint32) []Device {
	var out []Device
	for _, u := range p.upperDevices() {
		s := p.stand(u)
		if !s.meant {
			continue
		}
		if !s.no.OK() {
			p.tell(u, s.no)
			if !bypass(s.no) {
				continue
			}
		}
		out = append(out, Device{
			Ifindex: u.Ifindex, Name: u.Name, Hook: TC, Above: true, Labels: s.labels, Flowtable: s.flowtable,
			Stack: ids[u.Name], Refused: !s.no.OK(),
		})
	}
	return out
}

// tell adds a device to the decisions about those that it stands on. Its own decision, if it has one, says so already.
func (p *plan) tell(u *Link, r Reason) {
	if p.active(u) != nil {
		return
	}
	for _, b := range reach([]*Link{u}, p.stack.below) {
		if d := p.active(b); d != nil {
			d.Slow = append(d.Slow, SlowDevice{u.Name, r})
		}
	}
}
