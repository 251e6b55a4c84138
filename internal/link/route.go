package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Route is where the kernel sends packets to an address now, from this machine and without a mark: rules that look at the
// source, the mark or the incoming device may send forwarded ones elsewhere.
type Route struct {
	Ifindex uint32     // 0: none
	Local   bool       // the address is this machine's
	Hop     netip.Addr // the next hop: the address itself where it is on the link; not valid where the kernel does not say
}

// Route asks the routing table.
func (h *Handle) Route(to netip.Addr) (Route, error) {
	family := uint8(unix.AF_INET6)
	if to.Is4() {
		family = unix.AF_INET
	}
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1] = family, uint8(to.BitLen())
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.RTA_DST, Data: to.AsSlice()}})
	if err != nil {
		return Route{}, fmt.Errorf("look up route to %s: %w", to, err)
	}
	msgs, err := h.rt.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data:   append(header, attrs...),
	})
	if err != nil {
		return Route{}, fmt.Errorf("look up route to %s: %w", to, err)
	}
	r := Route{Hop: to}
	for _, m := range msgs {
		h, ad, err := split(m, unix.SizeofRtMsg)
		if err != nil {
			return Route{}, fmt.Errorf("look up route to %s: %w", to, err)
		}
		r.Local = h[7] == unix.RTN_LOCAL
		for ad.Next() {
			switch b := ad.Bytes(); ad.Type() {
			case unix.RTA_OIF:
				if len(b) == 4 {
					r.Ifindex = binary.NativeEndian.Uint32(b)
				}
			case unix.RTA_GATEWAY:
				r.Hop, _ = netip.AddrFromSlice(b)
			case unix.RTA_VIA:
				r.Hop = netip.Addr{}
			}
		}
		if err := ad.Err(); err != nil {
			return Route{}, fmt.Errorf("look up route to %s: %w", to, err)
		}
	}
	return r, nil
}
