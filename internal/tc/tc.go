// Package tc speaks tc(8): commands in, its text back. It asks a driver whether it takes a rule; the datapath's own
// filters are not its business (package datapath speaks netlink for them).
package tc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ErrNotInstalled says that there is no tc(8).
var ErrNotInstalled = errors.New("tc(8) is not installed: install iproute2")

// Error is what tc said when it refused, in its own words: the kernel's answer and the driver's are in them.
type Error struct {
	Command string // "tc filter add ..."
	Text    string // one line
}

// Error renders the words.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Command, e.Text) }

// run runs tc and returns its standard output. The error is an *Error when tc ran and refused.
func run(ctx context.Context, args ...string) (string, error) {
	path, err := exec.LookPath("tc")
	if err != nil {
		return "", ErrNotInstalled
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		return "", &Error{Command: Command(args...), Text: oneLine(errs.String())}
	case err != nil:
		return "", fmt.Errorf("run %s: %w", Command(args...), errors.Join(ctx.Err(), err))
	}
	return out.String(), nil
}

// Command is the command line as people write it.
func Command(args ...string) string { return strings.Join(append([]string{"tc"}, args...), " ") }

// oneLine leaves out the line that only says that there was an error.
func oneLine(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "We have an error talking to the kernel") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "; ")
}
