package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// ctaLabels is CTA_LABELS (include/uapi/linux/netfilter/nfnetlink_conntrack.h): the bits as the kernel keeps them,
// an array of unsigned long in host byte order.
const ctaLabels = 22

// ipctnlGet is IPCTNL_MSG_CT_GET of the same header.
const ipctnlGet = 1

// dumpBuffer holds one datagram of a netlink dump; the kernel makes them at most this long when it may
// (net/netlink/af_netlink.c, netlink_dump).
const dumpBuffer = 32 << 10

// connectionLabels returns the label bits that connections of this network namespace carry already. Such a bit must
// not be given to a flowtable: a label outlives the ruleset that set it, and would make a connection that the new
// rules never saw look taken.
//
// It reads datagram by datagram: the table may have hundreds of thousands of entries.
func connectionLabels() (handover.Labels, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return handover.Labels{}, fmt.Errorf("open ctnetlink socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := netlink.Message{
		Header: netlink.Header{
			Length: unix.NLMSG_HDRLEN + nfgenLen,
			Type:   netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ipctnlGet),
			Flags:  netlink.Request | netlink.Dump,
		},
		Data: make([]byte, nfgenLen), // family 0: all
	}.MarshalBinary()
	if err != nil {
		return handover.Labels{}, fmt.Errorf("build ctnetlink request: %w", err)
	}
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return handover.Labels{}, fmt.Errorf("ask for connections: %w", err)
	}
	var used handover.Labels
	buf := make([]byte, dumpBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return handover.Labels{}, fmt.Errorf("read connections: %w", err)
		}
		done, err := labelsIn(buf[:n], &used)
		if err != nil {
			return handover.Labels{}, fmt.Errorf("read connections: %w", err)
		}
		if done {
			return used, nil
		}
	}
}

// labelsIn adds the labels of one datagram of the dump and reports whether it ends the dump.
func labelsIn(b []byte, used *handover.Labels) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false, errors.New("truncated netlink message")
		}
		body := b[unix.NLMSG_HDRLEN:size]
		b = b[min(len(b), (size+3)&^3):]
		switch kind {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
					return false, unix.Errno(-code)
				}
			}
			continue
		}
		if len(body) < nfgenLen {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(body[nfgenLen:])
		if err != nil {
			return false, err
		}
		for ad.Next() {
			if ad.Type() == ctaLabels {
				addLabels(ad.Bytes(), used)
			}
		}
		if err := ad.Err(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// addLabels adds the bits of an array of unsigned long.
func addLabels(b []byte, used *handover.Labels) {
	const long = strconv.IntSize / 8
	for i := 0; i+long <= len(b); i += long {
		word := uint64(binary.NativeEndian.Uint32(b[i:]))
		if long == 8 {
			word = binary.NativeEndian.Uint64(b[i:])
		}
		for bit := range strconv.IntSize {
			if word&(1<<bit) != 0 {
				used.Add(i*8 + bit)
			}
		}
	}
}

// namedLabels returns the labels that have a name in connlabel.conf: somebody means to use them, and nft prints
// their names instead of numbers. The places are those of nft and of libxtables.
func namedLabels() handover.Labels {
	var used handover.Labels
	for _, file := range []string{"/etc/connlabel.conf", "/etc/xtables/connlabel.conf"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it usually does not exist, and nft itself goes on without it
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) >= 2 {
				if n, err := strconv.ParseInt(f[0], 0, 32); err == nil {
					used.Add(int(n))
				}
			}
		}
	}
	return used
}
