package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"golang.org/x/sys/unix"
)

// Tun is the far end of a tun device: a device without Ethernet header. What is sent to the Tun the namespace receives
// from the device, and the other way round. So that frames look alike everywhere, those of a Tun begin with an Ethernet
// header too, of zeros and the EtherType; it exists in this process only.
type Tun struct {
	dev  Dev
	file *os.File
	buf  []byte
}

// OpenTun makes a tun device in the namespace and brings it up. It goes away with the test.
func OpenTun(t testing.TB, ns *NS, name string) *Tun {
	t.Helper()
	u := &Tun{dev: Dev{NS: ns, Name: name}, buf: make([]byte, portBuffer)}
	var err error
	if u.file, err = openTun(ns, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.file.Close() })
	ns.Run("ip", "link", "set", name, "up")
	if u.dev.Index, err = ns.Ifindex(name); err != nil {
		t.Fatal(err)
	}
	return u
}

func openTun(ns *NS, name string) (*os.File, error) {
	var fd int
	err := ns.Do(func() (err error) { // the device comes to the namespace of the thread that opens
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make tun device %s in %s: %w", name, ns.Name, err)
	}
	return os.NewFile(uintptr(fd), name), nil // after TUNSETIFF: nothing can wait for a descriptor without device
}

// Dev returns the device.
func (u *Tun) Dev() Dev { return u.dev }

// Send sends what stands behind the frame's Ethernet header. What is neither IPv4 nor IPv6 the kernel does not take,
// which is no error.
func (u *Tun) Send(frame []byte) error {
	_, err := u.file.Write(frame[packet.EthernetLen:])
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("send %d bytes on %s: %w", len(frame)-packet.EthernetLen, u.dev.Name, err)
	}
	return nil
}

// Recv is [Port.Recv].
func (u *Tun) Recv(timeout time.Duration, match func(Frame) bool) (Frame, error) {
	deadline := time.Now().Add(timeout)
	for {
		if err := u.file.SetReadDeadline(deadline); err != nil {
			return Frame{}, fmt.Errorf("receive on %s: %w", u.dev.Name, err)
		}
		n, err := u.file.Read(u.buf)
		if err != nil {
			return Frame{}, fmt.Errorf("receive on %s: %w", u.dev.Name, err)
		}
		if f := tunFrame(u.buf[:n]); match == nil || match(f) {
			return f, nil
		}
	}
}

// Drain is [Port.Drain].
func (u *Tun) Drain() (int, error) {
	raw, err := u.file.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("drain %s: %w", u.dev.Name, err)
	}
	return drain(raw, u.buf)
}

// drain reads what is there without waiting.
func drain(raw syscall.RawConn, buf []byte) (n int, err error) {
	cerr := raw.Control(func(fd uintptr) {
		for ; err == nil; n++ {
			if _, err = unix.Read(int(fd), buf); err != nil {
				return
			}
		}
	})
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return n, errors.Join(cerr, err)
}

// tunFrame puts an Ethernet header in front of an IP packet.
func tunFrame(b []byte) Frame {
	head := make([]byte, packet.EthernetLen, packet.EthernetLen+len(b))
	typ := packet.EtherTypeIPv4
	if len(b) > 0 && b[0]>>4 == 6 {
		typ = packet.EtherTypeIPv6
	}
	head[12], head[13] = byte(typ>>8), byte(typ)
	return Frame{Data: bytes.Clone(append(head, b...))}
}
