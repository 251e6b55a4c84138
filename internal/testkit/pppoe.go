package testkit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"golang.org/x/sys/unix"
)

// Session is the far end of a PPPoE session (RFC 2516) whose near end is the kernel's, with a ppp device. Nothing is
// negotiated: both ends know the session's number, and PPP is taken to be up. So that frames look alike everywhere, those
// of a Session are Ethernet frames of IP packets, with the session's header behind the end instead of in front: that is
// where comparisons find its length field.
type Session struct {
	port *Port
	dev  Dev
}

// Of the session: its number, and the eight bytes in front of each packet, PPP's protocol field included.
const (
	sessionID        = 0x42
	sessionHeaderLen = 8
	etherTypeSession = 0x8864
	pppIPv4, pppIPv6 = 0x21, 0x57
)

// OpenSession makes a ppp device in the namespace of below, over that device, to the host at far. unit tells it from
// others of the namespace. It goes away with the test.
func OpenSession(t testing.TB, below, far Dev, name string, unit int) *Session {
	t.Helper()
	s := &Session{port: OpenPort(t, far, PortOptions{}), dev: Dev{NS: below.NS, Name: name}}
	fds, err := dialSession(below, far, unit)
	t.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	below.NS.ipBatch(fmt.Sprintf("link set ppp%d name %s mtu 1492 up", unit, name)) // eight bytes less than below
	if s.dev.Index, err = below.NS.Ifindex(name); err != nil {
		t.Fatal(err)
	}
	return s
}

// dialSession does the system calls of pppd (drivers/net/ppp/ppp_generic.c), and returns what keeps the device alive.
func dialSession(below, far Dev, unit int) (fds []int, err error) {
	err = below.NS.Do(func() error {
		sock, err := unix.Socket(unix.AF_PPPOX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open PPPoE socket: %w", err)
		}
		fds = append(fds, sock)
		if err := unix.Connect(sock, &unix.SockaddrPPPoE{SID: sessionID, Remote: far.MAC[:], Dev: below.Name}); err != nil {
			return fmt.Errorf("connect PPPoE session: %w", err)
		}
		index, err := unix.IoctlGetInt(sock, unix.PPPIOCGCHAN)
		if err != nil {
			return fmt.Errorf("ask for the session's channel: %w", err)
		}
		var ppp [2]int // the channel's and the device's
		for i := range ppp {
			if ppp[i], err = unix.Open("/dev/ppp", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
				return fmt.Errorf("open /dev/ppp: %w", err)
			}
			fds = append(fds, ppp[i])
		}
		for _, step := range []struct {
			what    string
			fd, arg int
			ioctl   uint
		}{
			{"attach to the channel", ppp[0], index, unix.PPPIOCATTCHAN},
			{"make the device", ppp[1], unit, unix.PPPIOCNEWUNIT},
			{"connect channel and device", ppp[0], unit, unix.PPPIOCCONNECT},
		} {
			if err := unix.IoctlSetPointerInt(step.fd, step.ioctl, step.arg); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
		return nil
	})
	if err != nil {
		return fds, fmt.Errorf("make PPPoE session on %s in %s: %w", below.Name, below.NS.Name, err)
	}
	return fds, nil
}

// Dev returns the ppp device.
func (s *Session) Dev() Dev { return s.dev }

// Send sends the frame with the session's header behind the Ethernet header.
func (s *Session) Send(frame []byte) error {
	body := frame[packet.EthernetLen:]
	b := binary.BigEndian.AppendUint16(bytes.Clone(frame[:packet.EthernetLen-2]), etherTypeSession)
	b = append(b, 0x11, 0) // version, type, code
	b = binary.BigEndian.AppendUint16(b, sessionID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)+2))
	b = binary.BigEndian.AppendUint16(b, pppProtocol(frame))
	return s.port.Send(append(b, body...))
}

func pppProtocol(frame []byte) uint16 {
	if binary.BigEndian.Uint16(frame[packet.EthernetLen-2:]) == packet.EtherTypeIPv6 {
		return pppIPv6
	}
	return pppIPv4
}

// Recv is [Port.Recv] for the session's IP packets; other frames are left out.
func (s *Session) Recv(timeout time.Duration, match func(Frame) bool) (Frame, error) {
	deadline := time.Now().Add(timeout)
	for {
		f, err := s.port.Recv(time.Until(deadline), nil)
		if err != nil {
			return Frame{}, err
		}
		var ok bool
		if f.Data, ok = headerLast(f.Data); ok && (match == nil || match(f)) {
			return f, nil
		}
	}
}

// Drain is [Port.Drain].
func (s *Session) Drain() (int, error) { return s.port.Drain() }

// headerLast moves the session's header to the end. It reports false for frames of no IP packet in a session.
func headerLast(b []byte) ([]byte, bool) {
	const body = packet.EthernetLen + sessionHeaderLen
	if len(b) < body || binary.BigEndian.Uint16(b[packet.EthernetLen-2:]) != etherTypeSession {
		return b, false
	}
	typ, ok := map[uint16]uint16{pppIPv4: packet.EtherTypeIPv4, pppIPv6: packet.EtherTypeIPv6}[binary.BigEndian.Uint16(b[body-2:])]
	if !ok {
		return b, false
	}
	out := binary.BigEndian.AppendUint16(bytes.Clone(b[:packet.EthernetLen-2]), typ)
	out = append(out, b[body:]...)
	return append(out, b[packet.EthernetLen:body]...), true
}
