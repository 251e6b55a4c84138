package soak

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

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
