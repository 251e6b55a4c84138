package nft

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// attribute is struct nlattr with what is in it.
func attribute(kind uint16, data ...[]byte) []byte {
	all := slices.Concat(data...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(all)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), all...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// notification is a message of nf_tables.
func notification(msg uint16, attrs ...[]byte) []byte {
	body := append([]byte{unix.NFPROTO_NETDEV, 0, 0, 7}, slices.Concat(attrs...)...)
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_NFTABLES<<8|msg)
	return append(append(b, make([]byte, 10)...), body...)
}

// Whatever a datagram has, what is made of it is whole: keys of one length, in as many commits as there are ends.
func FuzzGather(f *testing.F) {
	set := slices.Concat(attribute(attrTable, []byte("t\x00")), attribute(attrSet, []byte("s\x00")))
	key := attribute(unix.NFTA_SET_ELEM_KEY, attribute(unix.NFTA_DATA_VALUE, []byte{1, 2, 3, 4}))
	one := attribute(unix.NFTA_SET_ELEM_LIST_ELEMENTS, attribute(1, key, attribute(unix.NFTA_SET_ELEM_FLAGS, []byte{0, 0, 0, 1})))
	gen := notification(unix.NFT_MSG_NEWGEN, attribute(unix.NFTA_GEN_ID, []byte{0, 0, 0, 7}))
	f.Add(slices.Concat(notification(unix.NFT_MSG_NEWSETELEM, set, one), notification(unix.NFT_MSG_DELSETELEM, set, one), gen))
	f.Add(slices.Concat(notification(unix.NFT_MSG_NEWSET, set), notification(unix.NFT_MSG_NEWRULE, set), gen, gen))
	f.Add([]byte{20, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		g := newGathered(func(element.SetID) bool { return true }, func() uint64 { return 0 })
		for _, c := range g.datagram(b, time.Unix(1, 0)) {
			for _, x := range c.Changes {
				for _, l := range []*element.List{&x.Deleted, &x.Added, x.Added.Join()} {
					size, n := -1, 0
					for e := range l.All() {
						n++
						if e.CatchAll() {
							continue
						}
						if size < 0 {
							size = len(e.First)
						}
						if len(e.First) != size || e.Last != nil && len(e.Last) != size {
							t.Errorf("keys of %d and %d bytes, not %d", len(e.First), len(e.Last), size)
						}
					}
					if n != l.Len() {
						t.Errorf("%d elements, not %d", n, l.Len())
					}
				}
			}
		}
	})
}
