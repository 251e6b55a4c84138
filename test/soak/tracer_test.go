package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// traceMain is the tracer's process.
func traceMain(text string) (status int) {
	var o traceOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return say(os.Stderr, err)
	}
	if err := seize(o.PID); err != nil {
		return say(os.Stderr, err)
	}
	say(os.Stdout, "traced")
	r, err := follow(o)
	if err != nil {
		r.Err = err.Error()
	}
	result, err := json.Marshal(r)
	if err != nil {
		return say(os.Stderr, err)
	}
	say(os.Stdout, string(result))
	return 0
}

func say(to io.Writer, what any) (failure int) {
	fmt.Fprintln(to, what)
	return 1
}

func ptrace(request, tid int, addr, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// traceOptions: stops of system calls are told from signals, and new threads are traced too.
const traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE

// seize stops every thread, also those that appear meanwhile: once one round finds no new thread there is none.
func seize(pid int) error {
	have := map[int]bool{}
	for {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("trace process %d: %w", pid, err)
		}
		found := false
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || have[tid] {
				continue
			}
			have[tid], found = true, true
			err = ptrace(unix.PTRACE_SEIZE, tid, 0, traceOptions)
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ESRCH) {
				continue // a new thread of a traced one is traced already; or it is gone
			}
			if err != nil {
				return fmt.Errorf("trace thread %d: %w", tid, err)
			}
			if err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("interrupt thread %d: %w", tid, err)
			}
		}
		if !found {
			return nil
		}
	}
}

// follow lets threads go on from stop to stop until the process is gone.
func follow(o traceOrder) (r traceResult, err error) {
	bpfCalls := 0
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return r, nil
		case err != nil:
			return r, fmt.Errorf("wait for process %d: %w", o.PID, err)
		case !ws.Stopped():
			continue
		}
		signal := uintptr(0)
		switch s := ws.StopSignal(); {
		case s == unix.SIGTRAP|0x80:
			c, ok, err := callOf(tid)
			if err != nil {
				return r, err
			}
			if !ok || !o.Call.counts(c, &bpfCalls) {
				break
			}
			if r.Seen++; r.Seen == o.At {
				r.Killed = true
				if err := unix.Kill(o.PID, unix.SIGKILL); err != nil {
					return r, fmt.Errorf("kill process %d: %w", o.PID, err)
				}
			}
		case ws>>16 != 0: // an event of ptrace: a new thread, or one that was stopped to begin with
		default:
			signal = uintptr(s)
		}
		if err := ptrace(unix.PTRACE_SYSCALL, tid, 0, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return r, fmt.Errorf("continue thread %d: %w", tid, err)
		}
	}
}

// systemCall is one that is about to be made.
type systemCall struct {
	number, argument uint64 // the first argument
}

// syscallInfo is struct ptrace_syscall_info (include/uapi/linux/ptrace.h) of a call that begins.
type syscallInfo struct {
	op        uint8
	_         [3]uint8
	_         uint32    // architecture
	_         [2]uint64 // instruction and stack pointers
	number    uint64
	arguments [6]uint64
	_         [2]uint64 // of other kinds of stops
}

const syscallEntry = 1 // PTRACE_SYSCALL_INFO_ENTRY

// callOf looks at a stopped thread; false: it is not at the beginning of a system call, or gone.
func callOf(tid int) (systemCall, bool, error) {
	var info syscallInfo
	err := ptrace(unix.PTRACE_GET_SYSCALL_INFO, tid, unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)))
	if errors.Is(err, unix.ESRCH) {
		return systemCall{}, false, nil
	}
	if err != nil {
		return systemCall{}, false, fmt.Errorf("look at thread %d: %w", tid, err)
	}
	return systemCall{info.number, info.arguments[0]}, info.op == syscallEntry, nil
}

func (f callFilter) counts(c systemCall, bpfCalls *int) bool {
	if slices.Contains(f.Numbers, c.number) {
		return true
	}
	if f.BPF == 0 || c.number != unix.SYS_BPF {
		return false
	}
	switch c.argument { // enum bpf_cmd of include/uapi/linux/bpf.h
	case unix.BPF_MAP_CREATE, unix.BPF_PROG_LOAD, unix.BPF_OBJ_PIN, unix.BPF_OBJ_GET, unix.BPF_LINK_CREATE,
		unix.BPF_LINK_UPDATE, unix.BPF_LINK_DETACH:
		return true
	}
	*bpfCalls++
	return *bpfCalls%f.BPF == 0
}
