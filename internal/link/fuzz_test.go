package link

import (
	"encoding/binary"
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
	f.Add(uint16(unix.RTM_NEWVLAN), []byte{unix.AF_BRIDGE, 0, 0, 0, 7, 0, 0, 0})
	f.Add(uint16(unix.RTM_NEWTFILTER), mirredFilter())
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		w := &watcher{links: map[uint32]linkMsg{}, neigh: newNeighbors()}
		m := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ)}, Data: data}
		if e, ok, err := w.event(m); ok && err == nil && e.String() == "" {
			t.Errorf("event without a text: %#v", e)
		}
		if f, err := decodeFilter(m); err == nil && f.String() == "" {
			t.Errorf("filter without a text: %#v", f)
		}
	})
}

// mirredFilter is a matchall filter that redirects to device 9.
func mirredFilter() []byte {
	parms := make([]byte, sizeofMirred)
	binary.NativeEndian.PutUint32(parms[mirredEaction:], 1)
	binary.NativeEndian.PutUint32(parms[mirredIfindex:], 9)
	e := netlink.NewAttributeEncoder()
	e.String(tcaKind, "matchall")
	e.Nested(tcaOptions, func(e *netlink.AttributeEncoder) error {
		e.Nested(actionsAttr("matchall"), func(e *netlink.AttributeEncoder) error {
			e.Nested(1, func(e *netlink.AttributeEncoder) error {
				e.String(tcaActKind, "mirred")
				e.Nested(tcaActOptions, func(e *netlink.AttributeEncoder) error {
					e.Bytes(tcaMirredParms, parms)
					return nil
				})
				return nil
			})
			return nil
		})
		return nil
	})
	b, err := e.Encode()
	if err != nil {
		return nil // decoding nothing fails the test below
	}
	return append(tcRequest(2, tcClsactIngress), b...)
}

func TestMirredActionIsRead(t *testing.T) {
	f, err := decodeFilter(netlink.Message{Data: mirredFilter()})
	if err != nil || f.Kind != "matchall" || f.Action != "redirect" || f.To != 9 {
		t.Errorf("%+v, %v", f, err)
	}
}
