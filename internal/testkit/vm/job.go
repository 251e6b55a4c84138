package vm

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// InVMEnv names the environment variable that is "1" in everything that runs inside a guest.
const InVMEnv = "NFT_OFFLOAD_IN_VM"

// Command is one thing to run inside the guest.
type Command struct {
	Name    string        // for logs
	Script  string        // for /bin/sh -e, as root
	Dir     string        // working directory, / by default; the host's paths are valid
	Timeout time.Duration // of host time, 2 minutes by default; ended with status 124
}

// Job is what one boot does: its commands one after the other. A command that fails does not stop the next.
type Job struct {
	Commands []Command
	Env      map[string]string // for every command
	Modules  []string          // loaded before the first command, as modprobe knows them
	Trees    []string          // directories of the host whose files the guest has at / too, where it has none
	MemoryMB int               // 2048 by default
	Log      io.Writer         // gets the guest's output as it arrives; may be nil
}

const (
	defaultTimeout  = 2 * time.Minute
	defaultMemoryMB = 2048
	bootTimeout     = time.Minute // ten times what a boot takes
	killAfter       = 5           // seconds between the guest's TERM and KILL to a command that is out of time
)

func (c Command) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// limit is the time a job's machine may run: each command's own time comes first, so that it can be reported.
func (j Job) limit() time.Duration {
	sum := bootTimeout
	for _, c := range j.Commands {
		sum += c.timeout() + killAfter*time.Second
	}
	return sum
}

// The frames around each command's output on the second serial line. A frame has a line of its own.
const (
	frameBegin = "@vm-begin" // INDEX
	frameEnd   = "@vm-end"   // INDEX STATUS
	frameDone  = "@vm-done"
)

// script is what runs as PID 1 once the root file system stands. It never returns: a missing frame says that it died.
func (j Job) script() string {
	var b strings.Builder
	b.WriteString(`# written by internal/testkit/vm
stty -F /dev/ttyS1 raw 115200
exec </dev/null >/dev/ttyS1 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
`)
	env := map[string]string{InVMEnv: "1"}
	maps.Copy(env, j.Env)
	for _, k := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "export %s=%s\n", k, quote(env[k]))
	}
	for _, tree := range j.Trees {
		fmt.Fprintf(&b, "tar -C %s -c . | tar -C / -x --skip-old-files --keep-directory-symlink\n", quote(tree))
	}
	b.WriteString("ip link set lo up\n")
	// nf_conntrack first and always: its kfuncs are found when a program loads, not when it runs.
	for _, m := range append([]string{"nf_conntrack"}, j.Modules...) {
		fmt.Fprintf(&b, "modprobe %s\n", quote(m))
	}
	for i, c := range j.Commands {
		dir := c.Dir
		if dir == "" {
			dir = "/"
		}
		fmt.Fprintf(&b, "printf '\\n%s %d\\n'\n", frameBegin, i)
		fmt.Fprintf(&b, "cd %s && timeout -k %d %g sh -e /vm-job/%s\n", quote(dir), killAfter, c.timeout().Seconds(), scriptName(i))
		fmt.Fprintf(&b, "printf '\\n%s %d %%d\\n' $?\n", frameEnd, i)
	}
	fmt.Fprintf(&b, "printf '\\n%s\\n'\n", frameDone)
	b.WriteString("busybox poweroff -f\n")
	return b.String()
}

func scriptName(i int) string { return fmt.Sprintf("command-%d.sh", i) }

// quote makes a word of the shell of any string.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
