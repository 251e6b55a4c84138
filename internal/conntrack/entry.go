package conntrack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Entry is one connection as the kernel reported it.
type Entry struct {
	Orig, Reply packet.Tuple // ports are zero for protocols that have none
	ID          uint32       // changes when the same tuples are tracked anew
	Zone        uint16
	Status      Status
	// Timeout is the time left. The kernel does not report it while the entry is in a flowtable (Status.Offload);
	// HasTimeout is false then.
	Timeout    time.Duration
	HasTimeout bool
	// TCP is nil for other protocols, and for a TCP connection that is in a flowtable.
	TCP    *TCPInfo
	Mark   uint32
	Labels [2]uint64 // bit n of the first word is label n, of the second label 64+n
	Helper string    // "ftp", "sip", ...; empty for none
	// Packets and bytes, when net.netfilter.nf_conntrack_acct was on as the connection began.
	CountOrig, CountReply Counter
}

// Counter is what nf_conntrack_acct counted in one direction: packets and layer 3 bytes.
type Counter struct{ Packets, Bytes uint64 }

// TCPInfo is conntrack's state of a TCP connection.
type TCPInfo struct {
	State                   TCPState
	WScaleOrig, WScaleReply uint8 // shift counts
	FlagsOrig, FlagsReply   TCPFlags
}

// Liberal reports whether packets outside the window are accepted in both directions.
func (t *TCPInfo) Liberal() bool {
	return t != nil && t.FlagsOrig&t.FlagsReply&BeLiberal != 0
}

// Unacknowledged reports whether either direction has data that conntrack did not see acknowledged.
func (t *TCPInfo) Unacknowledged() bool {
	return t != nil && (t.FlagsOrig|t.FlagsReply)&DataUnacknowledged != 0
}

// HasLabel reports whether label n (0 to 127) is set.
func (e Entry) HasLabel(n uint) bool {
	return n < 128 && e.Labels[n/64]>>(n%64)&1 != 0
}

// NAT reports whether the reply is not simply the original turned round.
func (e Entry) NAT() bool { return e.Reply != e.Orig.Reverse() }

// String renders the entry on one line for messages and test failures.
func (e Entry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s | %s status=%s", e.Orig, e.Reply, e.Status)
	if e.HasTimeout {
		fmt.Fprintf(&b, " timeout=%s", e.Timeout)
	}
	if e.TCP != nil {
		fmt.Fprintf(&b, " %s flags=%s/%s wscale=%d/%d", e.TCP.State, e.TCP.FlagsOrig, e.TCP.FlagsReply, e.TCP.WScaleOrig, e.TCP.WScaleReply)
	}
	return b.String()
}

// decodeEntry reads the attributes of an IPCTNL_MSG_CT_NEW message, after struct nfgenmsg.
// Attributes it does not know are left out: newer kernels add some.
func decodeEntry(b []byte) (Entry, error) {
	var e Entry
	err := attrs(b, func(typ uint16, d []byte) error {
		switch typ {
		case ctaTupleOrig:
			return decodeTuple(d, &e.Orig)
		case ctaTupleReply:
			return decodeTuple(d, &e.Reply)
		case ctaStatus:
			return be32(d, (*uint32)(&e.Status))
		case ctaTimeout:
			var s uint32
			e.HasTimeout = true
			err := be32(d, &s)
			e.Timeout = time.Duration(s) * time.Second
			return err
		case ctaProtoInfo:
			return decodeProtoInfo(d, &e)
		case ctaMark:
			return be32(d, &e.Mark)
		case ctaID:
			return be32(d, &e.ID)
		case ctaZone:
			return be16(d, &e.Zone)
		case ctaLabels:
			decodeLabels(d, &e.Labels)
		case ctaHelp:
			return decodeHelp(d, &e.Helper)
		case ctaCountersOrig:
			return decodeCounter(d, &e.CountOrig)
		case ctaCountersReply:
			return decodeCounter(d, &e.CountReply)
		}
		return nil
	})
	if err != nil {
		return Entry{}, fmt.Errorf("decode conntrack entry: %w", err)
	}
	return e, nil
}

func decodeTuple(b []byte, t *packet.Tuple) error {
	var src, dst netip.Addr
	var sport, dport uint16
	err := attrs(b, func(typ uint16, d []byte) error {
		switch typ {
		case ctaTupleIP:
			return attrs(d, func(typ uint16, d []byte) error {
				a, ok := netip.AddrFromSlice(d)
				if !ok {
					return fmt.Errorf("address of %d bytes", len(d))
				}
				switch typ {
				case ctaIP4Src, ctaIP6Src:
					src = a
				case ctaIP4Dst, ctaIP6Dst:
					dst = a
				}
				return nil
			})
		case ctaTupleProto:
			return attrs(d, func(typ uint16, d []byte) error {
				switch typ {
				case ctaProtoNum:
					return be8(d, &t.Proto)
				case ctaProtoSrcPort:
					return be16(d, &sport)
				case ctaProtoDstPort:
					return be16(d, &dport)
				}
				return nil
			})
		}
		return nil
	})
	t.Src, t.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return err
}

func decodeProtoInfo(b []byte, e *Entry) error {
	return attrs(b, func(typ uint16, d []byte) error {
		if typ != ctaProtoInfoTCP {
			return nil
		}
		e.TCP = &TCPInfo{}
		return attrs(d, func(typ uint16, d []byte) error {
			switch typ {
			case ctaTCPState:
				return be8(d, (*uint8)(&e.TCP.State))
			case ctaTCPWScaleOrig:
				return be8(d, &e.TCP.WScaleOrig)
			case ctaTCPWScaleReply:
				return be8(d, &e.TCP.WScaleReply)
			case ctaTCPFlagsOrig: // struct nf_ct_tcp_flags { u8 flags, mask }
				return be8(d, (*uint8)(&e.TCP.FlagsOrig))
			case ctaTCPFlagsReply:
				return be8(d, (*uint8)(&e.TCP.FlagsReply))
			}
			return nil
		})
	})
}

// decodeLabels reads struct nf_conn_labels: unsigned long bits[], in the machine's byte order.
// A 32-bit big-endian machine would have the halves of each word exchanged.
func decodeLabels(d []byte, l *[2]uint64) {
	for i := range l {
		if len(d) >= 8*(i+1) {
			l[i] = binary.NativeEndian.Uint64(d[8*i:])
		}
	}
}

func decodeHelp(b []byte, name *string) error {
	return attrs(b, func(typ uint16, d []byte) error {
		if typ == ctaHelpName {
			*name = strings.TrimRight(string(d), "\x00")
		}
		return nil
	})
}

func decodeCounter(b []byte, c *Counter) error {
	return attrs(b, func(typ uint16, d []byte) error {
		switch typ {
		case ctaCounterPackets:
			return be64(d, &c.Packets)
		case ctaCounterBytes:
			return be64(d, &c.Bytes)
		}
		return nil
	})
}

func be8(d []byte, v *uint8) error {
	if len(d) < 1 {
		return errShort
	}
	*v = d[0]
	return nil
}

func be16(d []byte, v *uint16) error {
	if len(d) < 2 {
		return errShort
	}
	*v = binary.BigEndian.Uint16(d)
	return nil
}

func be32(d []byte, v *uint32) error {
	if len(d) < 4 {
		return errShort
	}
	*v = binary.BigEndian.Uint32(d)
	return nil
}

func be64(d []byte, v *uint64) error {
	if len(d) < 8 {
		return errShort
	}
	*v = binary.BigEndian.Uint64(d)
	return nil
}
