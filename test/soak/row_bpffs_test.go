package soak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// bpffs is where the daemon pins.
const bpffs = "/sys/fs/bpf"

// unmounts takes the bpf file system away from under the daemon, which has one of its own in a mount namespace, and gives it
// back.
func unmounts() row {
	return row{
		name:   "bpf file system unmounted",
		plan:   plan{each: 3, launch: (*bed).launchAside},
		script: unmount,
		short:  form{times: 2, pairs: 1},
		full:   form{times: 10, pairs: 1},
		what:   "`umount` of the file system that holds the pins, under the running daemon or under what a killed one left.",
		lost:   "nothing, not a datagram",
		proves: "the daemon says what happened and ends; nothing of it is left; with the file system back it carries again",
	}
}

// mounts is a mount namespace.
type mounts struct{ handle *os.File }

// newMounts makes the calling thread's mount namespace one of its own, with an empty bpf file system.
func newMounts() (*mounts, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("make mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	// The machine's own, of which this is a copy, would be seen again when the new one goes.
	if err := unix.Unmount(bpffs, unix.MNT_DETACH); err != nil {
		return nil, fmt.Errorf("unmount %s: %w", bpffs, err)
	}
	if err := mountBPF(); err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/thread-self/ns/mnt")
	return &mounts{f}, err
}

func mountBPF() error {
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", bpffs, err)
	}
	return nil
}

// do runs f on a thread inside the namespace. What f starts is inside as well.
func (m *mounts) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Not unlocked on purpose: the runtime ends a thread whose goroutine exits while locked.
		runtime.LockOSThread()
		done <- errors.Join(m.enter(), f())
	}()
	return <-done
}

func (m *mounts) enter() error {
	// A thread that shares its root directory with others cannot change what is mounted there.
	err := unix.Unshare(unix.CLONE_FS)
	if err == nil {
		err = unix.Setns(int(m.handle.Fd()), unix.CLONE_NEWNS)
	}
	if err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	return nil
}

// launchAside starts the daemon with a bpf file system of its own.
func (b *bed) launchAside() (*daemon.Daemon, error) {
	return b.launch(func() (err error) {
		if b.mounts != nil {
			return b.mounts.enter()
		}
		b.mounts, err = newMounts()
		return err
	})
}

func unmount(b *bed, times int) {
	for i := range times {
		if b.d == nil {
			b.talkOn(2)
			continue
		}
		b.unmountOnce(i%2 == 1)
		b.talkOn(2)
		b.carried()
		b.unproblematic()
	}
	b.nothingMissing()
}

// unmountOnce unmounts under the daemon or, when it was killed before, under what it left.
func (b *bed) unmountOnce(killed bool) {
	b.t.Helper()
	b.tally()
	if killed {
		b.d.Kill9()
	}
	left := b.objects()
	if err := b.mounts.do(func() error { return unix.Unmount(bpffs, 0) }); err != nil {
		b.t.Fatalf("unmount %s: %v", bpffs, err)
	}
	if !killed {
		err := b.d.Wait(patience)
		if daemon.ExitCode(err) != 1 || !strings.Contains(b.d.Output(), "bpf file system unmounted") {
			b.t.Errorf("the daemon ended with %v and said: %s", err, b.d.Output())
		}
		b.nothingLeft(b.d.Pins(), left)
	}
	b.talkOn(2)
	err := b.mounts.do(func() error {
		out, err := exec.Command(daemon.Binary(b.t), "--netns", b.r.Router.Name, "withdraw").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "nothing to withdraw") {
			b.t.Errorf("withdraw: %v: %s", err, out)
		}
		return mountBPF()
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.nothingLeft(b.d.Pins(), left)
	b.take(b.launchAside())
}
