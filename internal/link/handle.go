package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Handle sees the devices of one network namespace: the one the calling thread was in when Open was called.
// It may be used from any goroutine.
type Handle struct {
	netns  *os.File
	rt     *netlink.Conn
	inet   *os.File // a socket to send SIOCETHTOOL to: it fixes the namespace
	genl   *genetlink.Conn
	netdev genetlink.Family // zero before Linux 6.3
}

// Open returns a handle on the calling thread's network namespace.
func Open() (_ *Handle, err error) {
	h := &Handle{}
	defer func() {
		if err != nil {
			_ = h.Close()
			err = fmt.Errorf("open network devices: %w", err)
		}
	}()
	if h.netns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, err
	}
	if h.rt, err = netlink.Dial(unix.NETLINK_ROUTE, h.config()); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	h.inet = os.NewFile(uintptr(fd), "ethtool socket")
	if h.genl, err = genetlink.Dial(h.config()); err != nil {
		return nil, err
	}
	h.netdev, err = h.genl.GetFamily("netdev")
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// config makes a socket belong to the handle's namespace, whatever thread opens it.
func (h *Handle) config() *netlink.Config { return &netlink.Config{NetNS: int(h.netns.Fd())} }

// Close releases the handle. A Watch goes on until its context ends.
func (h *Handle) Close() error {
	var errs []error
	if h.rt != nil {
		errs = append(errs, h.rt.Close())
	}
	if h.genl != nil {
		errs = append(errs, h.genl.Close())
	}
	if h.inet != nil {
		errs = append(errs, h.inet.Close())
	}
	if h.netns != nil {
		errs = append(errs, h.netns.Close())
	}
	return errors.Join(errs...)
}

// inside runs f on a thread in the handle's namespace, for the calls that know no other way (bpf(2)).
func (h *Handle) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Not unlocked on purpose: the runtime ends a thread whose goroutine exits while locked.
		runtime.LockOSThread()
		if err := unix.Setns(int(h.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f()
	}()
	return <-done
}
