package soak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/conntrack"
)

// A filler makes conntrack entries, hundreds of thousands a second: many requests in one system call, no answers.
type filler struct {
	fd      int
	message []byte // one request, as it goes out
	numbers []int  // where the number of the entry belongs in it: both tuples have it
	next    uint32
}

// batch is how many requests go out at once: what fits a socket's default send buffer by far.
const batch = 256

// openFiller opens one for the calling thread's network namespace.
func openFiller() (*filler, error) {
	message, err := fillerMessage()
	if err != nil {
		return nil, fmt.Errorf("encode conntrack entry: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open ctnetlink: %w", err)
	}
	f := &filler{fd: fd, message: message}
	for at := 0; ; {
		i := bytes.Index(message[at:], numberMark())
		if i < 0 {
			break
		}
		f.numbers = append(f.numbers, at+i)
		at += i + len(numberMark())
	}
	if len(f.numbers) != 2 {
		f.close()
		return nil, errors.New("encode conntrack entry: its two tuples are not found")
	}
	return f, nil
}

func (f *filler) close() { _ = unix.Close(f.fd) }

// make asks for n entries. Which of them came about, the kernel's count says.
func (f *filler) make(n uint32) error {
	out := make([]byte, 0, batch*len(f.message))
	for n > 0 {
		out = out[:0]
		for range min(n, batch) {
			at := len(out)
			out = append(out, f.message...)
			for _, i := range f.numbers {
				binary.BigEndian.PutUint32(out[at+i:], 10<<24|f.next) // 10.0.0.0/8
			}
			f.next++
			n--
		}
		if err := unix.Sendto(f.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("send to ctnetlink: %w", err)
		}
	}
	return nil
}

// numberMark is the address that stands for the number of an entry.
func numberMark() []byte { return []byte{10, 0xa5, 0x5a, 0xa5} }

// Attributes of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h), which x/sys has not.
const (
	ctaTupleOrig, ctaTupleReply              = 1, 2
	ctaStatus, ctaTimeout, ctaMark           = 3, 7, 8
	ctaTupleIP, ctaTupleProto                = 1, 2
	ctaIPv4Src, ctaIPv4Dst                   = 1, 2
	ctaProtoNum, ctaProtoSource, ctaProtoDst = 1, 2, 3
	ipctnlNew                                = 0 // IPCTNL_MSG_CT_NEW
)

// fillerMessage is a request for an assured UDP entry that nothing removes for ten minutes.
func fillerMessage() ([]byte, error) {
	server := []byte{192, 0, 2, 1}
	status := make([]byte, 4)
	binary.BigEndian.PutUint32(status, uint32(conntrack.Confirmed|conntrack.SeenReply|conntrack.Assured))
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(ctaTupleOrig, tuple(numberMark(), server))
	e.Nested(ctaTupleReply, tuple(server, numberMark()))
	e.Bytes(ctaStatus, status)
	e.Uint32(ctaTimeout, 600)
	e.Uint32(ctaMark, fillers)
	attributes, err := e.Encode()
	if err != nil {
		return nil, err
	}
	m := netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_CTNETLINK<<8 | ipctnlNew,
			Flags: netlink.Request | netlink.Create | netlink.Excl,
		},
		Data: append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, attributes...),
	}
	m.Header.Length = uint32(unix.NLMSG_HDRLEN + len(m.Data))
	return m.MarshalBinary()
}

func tuple(source, destination []byte) func(*netlink.AttributeEncoder) error {
	return func(e *netlink.AttributeEncoder) error {
		e.ByteOrder = binary.BigEndian
		e.Nested(ctaTupleIP, func(e *netlink.AttributeEncoder) error {
			e.Bytes(ctaIPv4Src, source)
			e.Bytes(ctaIPv4Dst, destination)
			return nil
		})
		e.Nested(ctaTupleProto, func(e *netlink.AttributeEncoder) error {
			e.ByteOrder = binary.BigEndian
			e.Uint8(ctaProtoNum, unix.IPPROTO_UDP)
			e.Uint16(ctaProtoSource, 1)
			e.Uint16(ctaProtoDst, 2)
			return nil
		})
		return nil
	}
}
