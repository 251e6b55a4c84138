package link

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Whatever the kernel of the day sends, decoding returns.
func FuzzDecode(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWLINK), linkRequest())
	f.Add(uint16(unix.RTM_NEWNEIGH), make([]byte, unix.SizeofNdMsg))
	f.Add(uint16(unix.RTM_NEWROUTE), append([]byte{unix.AF_INET, 24, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0}, 8, 0, unix.RTA_DST, 0, 10, 0, 0, 0))
	f.Add(uint16(unix.RTM_NEWADDR), append([]byte{unix.AF_INET, 24, 0, 0, 2, 0, 0, 0}, 8, 0, unix.IFA_LOCAL, 0, 10, 0, 0, 1))
	f.Add(uint16(unix.RTM_NEWQDISC), tcRequest(2, tcRoot))
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		w := &watcher{links: map[uint32]linkMsg{}, neigh: newNeighbors()}
		m := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ)}, Data: data}
		if e, ok, err := w.event(m); ok && err == nil && e.String() == "" {
			t.Errorf("event without a text: %#v", e)
		}
	})
}
