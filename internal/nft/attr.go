package nft

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// attrHeader is the length of struct nlattr: length and type, 16 bits each, in the machine's order.
const attrHeader = 4

// attrType is the type of an attribute without its flags (NLA_TYPE_MASK, include/uapi/linux/netlink.h).
const attrType = 0x3fff

// attrs are the attributes in b: their types without flags, and what is in them, in place. Half an attribute at the end
// is left out. Sets have a million elements of four attributes and more: this allocates nothing.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrHeader {
			n := int(binary.NativeEndian.Uint16(b))
			if n < attrHeader || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&attrType, b[attrHeader:n:n]) {
				return
			}
			b = b[min((n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
		}
	}
}

// text is a string attribute without the zero at its end.
func text(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 {
		return b[:n-1]
	}
	return b
}

// header is what matters of struct nlmsghdr.
type header struct {
	kind  uint16
	flags uint16
}

// messages are the netlink messages of a datagram: their headers and what is in them, in place.
func messages(b []byte) iter.Seq2[header, []byte] {
	return func(yield func(header, []byte) bool) {
		for len(b) >= unix.NLMSG_HDRLEN {
			n := int(binary.NativeEndian.Uint32(b))
			if n < unix.NLMSG_HDRLEN || n > len(b) {
				return
			}
			h := header{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])}
			if !yield(h, b[unix.NLMSG_HDRLEN:n:n]) {
				return
			}
			b = b[min((n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
		}
	}
}
