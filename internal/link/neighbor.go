package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nudValid are the states of a neighbor whose MAC address is known (NUD_VALID, include/net/neighbour.h).
const nudValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// Neighbor reports whether the MAC address of a next hop is known on a device.
func (h *Handle) Neighbor(ifindex uint32, hop netip.Addr) (bool, error) {
	header := make([]byte, unix.SizeofNdMsg)
	header[0] = unix.AF_INET6
	if hop.Is4() {
		header[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(header[4:], ifindex)
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NDA_DST, Data: hop.AsSlice()}})
	if err != nil {
		return false, fmt.Errorf("look up neighbor %s: %w", hop, err)
	}
	msgs, err := h.rt.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request},
		Data:   append(header, attrs...),
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up neighbor %s: %w", hop, err)
	}
	for _, m := range msgs {
		h, _, err := split(m, unix.SizeofNdMsg)
		if err != nil {
			return false, fmt.Errorf("look up neighbor %s: %w", hop, err)
		}
		if binary.NativeEndian.Uint16(h[8:])&nudValid != 0 {
			return true, nil
		}
	}
	return false, nil
}
