package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Hold says which flows to keep slow. It means a flow when either direction, as it arrives or as it leaves, has a
// source in Src and a destination in Dst and the port at one of its ends.
type Hold struct {
	Src, Dst netip.Prefix  // the zero Prefix: any
	Port     uint16        // 0: any
	Proto    uint8         // 0: any
	Left     time.Duration // until it ends by itself
}

// ErrHoldsFull says that no more holds fit.
var ErrHoldsFull = errors.New("as many holds as fit are in force")

// holdRoom is how many holds fit.
func (d *Datapath) holdRoom() int { return int(d.maps.Holds.MaxEntries()) }

// holdSlot is one element of the map holds.
type holdSlot struct {
	index uint32
	raw   nfoHold
}

// slotsInForce reads the holds that have not ended.
func (d *Datapath) slotsInForce() ([]holdSlot, error) {
	now := d.clock.now()
	var out []holdSlot
	for i := range uint32(d.holdRoom()) {
		s := holdSlot{index: i}
		if err := d.maps.Holds.Lookup(i, &s.raw); err != nil {
			return nil, fmt.Errorf("read holds: %w", err)
		}
		if s.raw.Until > now {
			out = append(out, s)
		}
	}
	return out, nil
}

// Holds lists the holds in force.
func (d *Datapath) Holds() ([]Hold, error) {
	slots, err := d.slotsInForce()
	if err != nil {
		return nil, err
	}
	now := d.clock.now()
	out := make([]Hold, 0, len(slots))
	for _, s := range slots {
		out = append(out, s.hold(now))
	}
	return out, nil
}

// Hold keeps flows slow for h.Left from now on: the observer learns nothing of them. Those that are fast already are
// the caller's to Flush, afterwards. The same conditions again begin anew. It ends by itself, with no daemon too.
func (d *Datapath) Hold(h Hold) error {
	now := d.clock.now()
	raw, err := h.raw(now)
	if err != nil {
		return err
	}
	used, err := d.slotsInForce()
	if err != nil {
		return err
	}
	taken := map[uint32]bool{}
	at, found := uint32(0), false
	for _, s := range used {
		taken[s.index] = true
		if same := s.raw; !found {
			same.Until = raw.Until
			if same == raw {
				at, found = s.index, true
			}
		}
	}
	for i := uint32(0); !found && i < uint32(d.holdRoom()); i++ {
		if !taken[i] {
			at, found = i, true
		}
	}
	if !found {
		return ErrHoldsFull
	}
	if err := d.maps.Holds.Put(at, &raw); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return d.countHolds()
}

// Release ends the holds that match accepts, and returns how many.
func (d *Datapath) Release(match func(Hold) bool) (int, error) {
	slots, err := d.slotsInForce()
	if err != nil {
		return 0, err
	}
	n, now := 0, d.clock.now()
	for _, s := range slots {
		if !match(s.hold(now)) {
			continue
		}
		if err := d.maps.Holds.Put(s.index, &nfoHold{}); err != nil {
			return n, fmt.Errorf("release hold: %w", err)
		}
		n++
	}
	return n, d.countHolds()
}

// TrimHolds takes the holds that have ended out of the programs' way.
func (d *Datapath) TrimHolds() error {
	d.mu.Lock()
	n := d.settings.Holds
	d.mu.Unlock()
	if n == 0 {
		return nil
	}
	return d.countHolds()
}

// countHolds tells the programs how many slots to look at: none costs them nothing.
func (d *Datapath) countHolds() error {
	slots, err := d.slotsInForce()
	if err != nil {
		return err
	}
	n := uint32(0)
	for _, s := range slots {
		n = max(n, s.index+1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settings.Holds == n {
		return nil
	}
	d.settings.Holds = n
	return d.writeSettings()
}

// raw encodes a hold that begins now.
func (h Hold) raw(now uint64) (nfoHold, error) {
	if h.Left <= 0 {
		return nfoHold{}, fmt.Errorf("hold for %s: not a time ahead", h.Left)
	}
	r := nfoHold{Until: now + uint64(h.Left), Proto: h.Proto, Port: swap16(h.Port)}
	for _, p := range []struct {
		prefix netip.Prefix
		words  *[4]uint32
		bits   *uint8
	}{{h.Src, &r.Saddr, &r.Sbits}, {h.Dst, &r.Daddr, &r.Dbits}} {
		if !p.prefix.IsValid() {
			continue
		}
		family := uint8(6)
		if p.prefix.Addr().Is4() {
			family = 4
		}
		if r.Family != 0 && r.Family != family {
			return nfoHold{}, fmt.Errorf("hold from %s to %s: one is IPv4 and the other IPv6", h.Src, h.Dst)
		}
		r.Family, *p.bits = family, uint8(p.prefix.Bits())
		*p.words = addrWords(p.prefix.Masked().Addr())
	}
	return r, nil
}

func (s holdSlot) hold(now uint64) Hold {
	r := s.raw
	h := Hold{Port: swap16(r.Port), Proto: r.Proto, Left: time.Duration(r.Until - min(now, r.Until))}
	if r.Family == 0 {
		return h
	}
	// Which of the two was not given is not kept: one of length 0 means any address all the same.
	if r.Sbits > 0 || r.Dbits == 0 {
		h.Src = prefixOf(r.Family, r.Saddr, r.Sbits)
	}
	if r.Dbits > 0 {
		h.Dst = prefixOf(r.Family, r.Daddr, r.Dbits)
	}
	return h
}

// addrWords is an address as the maps hold it: network byte order in memory, IPv4 in the first word.
func addrWords(a netip.Addr) [4]uint32 {
	var w [4]uint32
	for i, b := 0, a.AsSlice(); len(b) >= 4; i, b = i+1, b[4:] {
		w[i] = binary.NativeEndian.Uint32(b)
	}
	return w
}

// wordsAddr is the opposite of addrWords.
func wordsAddr(family uint8, w [4]uint32) netip.Addr {
	if family == 4 {
		return addrPort4(w[0], 0).Addr()
	}
	return addrPort6(w, 0).Addr()
}

func prefixOf(family uint8, w [4]uint32, bits uint8) netip.Prefix {
	return netip.PrefixFrom(wordsAddr(family, w), int(bits))
}
