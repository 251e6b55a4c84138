package soak

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// A tracer stops a process at each of its system calls, with ptrace(2), and kills it at the one that was chosen: a point
// of its life that is the same whenever the same calls are made, however fast the machine is.
//
// It is a process of its own, this test binary started anew: were it this one, the traced process's parent, its wait for
// the end would be told of stops as well (wait_consider_task, kernel/exit.c).
type tracer struct {
	cmd    *exec.Cmd
	output *bufio.Reader
}

// traceOrder is what a tracer is told, in the environment.
type traceOrder struct {
	PID  int
	At   int // the call to kill at, from 1
	Call callFilter
}

// callFilter says which system calls count.
type callFilter struct {
	Numbers []uint64 // each of them
	// BPF counts the commands of bpf(2) that make, name, put on or take off something, and of those that read and write
	// maps one in so many. 0: none of either.
	BPF int
}

// traceResult is what a tracer says in the end.
type traceResult struct {
	Seen   int    // calls that counted
	Killed bool   // at the chosen one
	Err    string // empty: none
}

const traceEnv = "NFT_OFFLOAD_SOAK_TRACE"

func TestMain(m *testing.M) {
	if order := os.Getenv(traceEnv); order != "" {
		runtime.LockOSThread() // ptrace(2) belongs to a thread
		os.Exit(traceMain(order))
	}
	os.Exit(m.Run())
}

// trace takes hold of all threads of a process. When it returns, no call that counts is missed any more; the process goes on
// until the chosen call, or until somebody else ends it.
func trace(o traceOrder) (*tracer, error) {
	order, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), traceEnv+"="+string(order))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tracer: %w", err)
	}
	tr := &tracer{cmd: cmd, output: bufio.NewReader(out)}
	if _, err := tr.output.ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("trace process %d: %w", o.PID, err), cmd.Wait())
	}
	return tr, nil
}

// result waits until the traced process is gone.
func (tr *tracer) result() (traceResult, error) {
	var r traceResult
	err := json.NewDecoder(tr.output).Decode(&r)
	if err := errors.Join(err, tr.cmd.Wait()); err != nil {
		return r, fmt.Errorf("end of tracer: %w", err)
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

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

// changes counts the calls by which the daemon changes something outside itself.
func changes(bpf int) callFilter {
	return callFilter{BPF: bpf, Numbers: []uint64{
		unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_FLOCK, unix.SYS_FTRUNCATE, unix.SYS_BIND, unix.SYS_SENDTO, unix.SYS_SENDMSG,
	}}
}

func TestTracerKillsAtTheChosenCall(t *testing.T) {
	testkit.Need(t, testkit.Root)
	file := filepath.Join(t.TempDir(), "file")
	cmd := exec.Command("dd", "bs=1", "status=none", "of="+file)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	testkit.MustAwait(t, patience, func() error { _, err := os.Stat(file); return err }) // then it waits for input
	const at = 10
	tr, err := trace(traceOrder{PID: cmd.Process.Pid, At: at, Call: callFilter{Numbers: []uint64{unix.SYS_WRITE}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := input.Write(make([]byte, 10*at)); err != nil {
		t.Fatal(err)
	}
	r, err := tr.result()
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(written) != at-1 || r.Seen != at || !r.Killed {
		t.Errorf("%d bytes were written before the kill: %+v", len(written), r)
	}
}
