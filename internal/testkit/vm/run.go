package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Result is what a job left behind.
type Result struct {
	Release  string          // the guest's kernel, as `uname -r` prints it
	Commands []CommandResult // one for each command of the job, in order
	Prepared string          // what the preparation said before the first command; it says nothing when all is well
	Console  string          // the kernel's messages of level warning and above
	Elapsed  time.Duration   // from QEMU's start to its end, of host time
}

// Complaints returns the lines in which the kernel reported a bug in itself: an oops, a BUG, a WARNING.
// A lockup or a stall is not one: an emulated CPU stalls easily.
func (r *Result) Complaints() []string {
	bug := regexp.MustCompile(`BUG: |WARNING: |Oops|general protection fault|Kernel panic`)
	var found []string
	for line := range strings.Lines(r.Console) {
		if bug.MatchString(line) && !strings.Contains(line, "soft lockup") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// Run boots the kernel, runs the job and returns when the machine is off. Only one machine of a kernel and user runs at a
// time: each keeps a CPU of the host busy. The error is about the machine; what became of the commands is in the result, which is
// returned with as much as there is beside an error too.
func Run(ctx context.Context, k Kernel, job Job) (*Result, error) {
	img, err := Fetch(ctx, k)
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir("kernels")
	if err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", k, err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, "boot-"+k.Name+".lock"))
	if err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", k, err)
	}
	defer unlock()
	// One directory for all machines of the kernel: under the lock there is one, and what a killed one left is removed here.
	dir := filepath.Join(cache, "machine-"+k.Name)
	defer func() { _ = os.RemoveAll(dir) }()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", k, err)
	}
	res, err := boot(ctx, img, job, dir)
	if err != nil {
		return res, fmt.Errorf("boot kernel %s: %w", k, err)
	}
	return res, nil
}

// boot is Run with everything at hand; its files go to dir.
func boot(ctx context.Context, img *Image, job Job, dir string) (*Result, error) {
	share := filepath.Join(dir, "job")
	if err := writeJob(job, share); err != nil {
		return nil, err
	}
	initrd, err := buildInitramfs(ctx, img, dir)
	if err != nil {
		return nil, err
	}
	console := filepath.Join(dir, "console")
	limit := job.limit()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()

	begun := time.Now()
	rd := &reader{job: job}
	runErr := qemu(ctx, img, initrd, share, console, job, rd.read)
	res := &Result{Release: img.Release, Commands: rd.results, Prepared: strings.TrimSpace(rd.before.String()), Elapsed: time.Since(begun)}
	messages, err := os.ReadFile(console)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return res, err
	}
	res.Console = strings.ReplaceAll(string(messages), "\r", "")
	switch {
	case ctx.Err() != nil:
		runErr = context.Cause(ctx)
	case runErr == nil && !rd.done:
		runErr = errors.New("the guest ended before its job did")
	}
	if runErr != nil {
		return res, fmt.Errorf("%w\n%s\nlast messages of the kernel:\n%s", runErr, res.Prepared, tail(res.Console, 40))
	}
	return res, nil
}

func writeJob(job Job, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	files := map[string]string{"run.sh": job.script()}
	for i, c := range job.Commands {
		files[scriptName(i)] = c.Script
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// qemu runs one machine with one CPU to its end and lets read take the second serial line meanwhile. It ends the process it started
// when the context ends, and the kernel does when this process dies. With two CPUs, each emulated by a thread, QEMU before
// 8.1 may run code that the guest has just patched as it was before (jump labels): the guest dies of an int3 now and then.
func qemu(ctx context.Context, img *Image, initrd, share, console string, job Job, read func(io.Reader) error) error {
	memory := job.MemoryMB
	if memory == 0 {
		memory = defaultMemoryMB
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(memory),
		"-kernel", img.vmlinuz(), "-initrd", initrd,
		// loglevel=5: warnings reach the console, where Complaints finds them.
		"-append", "console=ttyS0 loglevel=5 panic=-1 mitigations=off nokaslr",
		"-serial", "file:"+console, "-serial", "stdio",
		"-virtfs", virtfs("/", "host"),
		"-virtfs", virtfs(img.modules(), "modules"),
		"-virtfs", virtfs(share, "job"),
	)
	var errb strings.Builder
	cmd.Stderr = &errb
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// Pdeathsig is sent when the thread that started the process ends; this one stays until the process has.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start qemu: %w", err)
	}
	readErr := read(out)
	if readErr != nil {
		_ = cmd.Process.Kill()
	}
	if err := cmd.Wait(); err != nil && readErr == nil {
		return fmt.Errorf("run qemu: %w: %s", err, strings.TrimSpace(errb.String()))
	}
	return readErr
}

// virtfs shares a directory of the host read-only.
func virtfs(path, tag string) string {
	return "local,path=" + strings.ReplaceAll(path, ",", ",,") + ",mount_tag=" + tag + ",security_model=none,readonly=on,multidevs=remap"
}

// tail returns the last n lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
