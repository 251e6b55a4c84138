package bench

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testRun is union bpf_attr of BPF_PROG_TEST_RUN (include/uapi/linux/bpf.h).
type testRun struct {
	prog, retval      uint32
	sizeIn, sizeOut   uint32
	dataIn            unsafe.Pointer
	dataOut           uint64
	repeat, duration  uint32
	ctxIn, ctxOut     uint32
	ctxInAt, ctxOutAt uint64
	flags, cpu        uint32
	batch, _          uint32
}

// bpfProgTestRun is the command.
const bpfProgTestRun = 10

// timed sends n frames as send does, and returns what the kernel says that it took: the loop over batches, what veth and
// the receiver do of it on this core included. A call costs 20 ms besides, in which it waits for RCU (the kernel changes
// its XDP dispatcher before and after), so the wall clock says little about small portions.
func (g *generator) timed(n int) (sent int, took time.Duration, err error) {
	attr := testRun{
		prog: uint32(g.prog.FD()), sizeIn: uint32(len(g.data)), dataIn: unsafe.Pointer(&g.data[0]), repeat: uint32(n),
		flags: liveFrames,
	}
	before, err := g.sent()
	if err != nil {
		return 0, 0, err
	}
	err = g.out.ns.do(func() error {
		for {
			_, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgTestRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
			runtime.KeepAlive(g.data)
			if errno == 0 {
				return nil
			}
			if !errors.Is(errno, unix.EINTR) {
				return errno
			}
			// A signal, for instance of Go's runtime. What was sent so far is not measured.
			if before, err = g.sent(); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return 0, 0, fmt.Errorf("send frames: %w", err)
	}
	after, err := g.sent()
	return int(after - before), time.Duration(attr.duration) * time.Duration(n), err
}
