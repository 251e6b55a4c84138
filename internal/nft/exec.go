package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stdinName is how nft names standard input in its messages.
const stdinName = "/dev/stdin"

// run runs nft with standard input in a directory ("" for the present one) and returns its standard output.
// The error is an *Error when nft ran and refused.
func run(ctx context.Context, op, dir, stdin string, args ...string) ([]byte, error) {
	if err := ready(); err != nil {
		return nil, fmt.Errorf("%s ruleset: %w", op, err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(stdin), &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// An nft that outlives this process could load what was just rolled back. The signal comes with the end of the
	// thread (PR_SET_PDEATHSIG(2const)), so that must not end before.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		text := strings.TrimSpace(errs.String())
		if text == "" {
			text = "nft: " + exit.String()
		}
		status, _ := exit.Sys().(syscall.WaitStatus)
		return nil, &Error{Op: op, Text: text, Crashed: status.Signaled()}
	case err != nil:
		return nil, fmt.Errorf("run nft to %s ruleset: %w", op, errors.Join(ctx.Err(), err))
	}
	return out.Bytes(), nil
}

// ready says what is missing to use nft at all.
func ready() error {
	if _, err := exec.LookPath("nft"); err != nil {
		return ErrNotInstalled
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return ErrPermission
	}
	return nil
}

// place maps a line of the text given to nft back to the user's file.
type place func(line int) (file string, original int)

// relocate rewrites the places in nft's text ("/dev/stdin:7:3-9: Error: ...") and fills in File and Line.
func (e *Error) relocate(where place) {
	loc := regexp.MustCompile(`(?m)^([^\s:][^:\n]*):(\d+):(\d+)-(\d+): `)
	e.Text = loc.ReplaceAllStringFunc(e.Text, func(m string) string {
		p := loc.FindStringSubmatch(m)
		file := p[1]
		line, err := strconv.Atoi(p[2])
		if err != nil {
			return m
		}
		if file == stdinName || line == 0 { // for JSON, nft says "internal:0"
			file, line = where(line)
		}
		if e.File == "" {
			e.File, e.Line = file, line
		}
		if line == 0 {
			return file + ": "
		}
		return fmt.Sprintf("%s:%d:%s-%s: ", file, line, p[3], p[4])
	})
}
