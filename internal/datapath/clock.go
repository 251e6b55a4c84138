package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock is the programs' clock as the daemon can read it. They use the machine's monotonic one; a process in a time
// namespace (time_namespaces(7), Linux 5.6) sees another, by an offset that cannot change while it runs.
type clock struct {
	offset time.Duration
}

// newClock reads the offset.
func newClock() (clock, error) {
	text, err := os.ReadFile("/proc/self/timens_offsets")
	if errors.Is(err, fs.ErrNotExist) {
		return clock{}, nil // no time namespaces in this kernel
	}
	if err != nil {
		return clock{}, fmt.Errorf("read the clock's offset: %w", err)
	}
	offset, err := monotonicOffset(string(text))
	return clock{offset}, err
}

// monotonicOffset reads the line "monotonic SECONDS NANOSECONDS" of /proc/PID/timens_offsets. Seconds may be negative,
// nanoseconds are not.
func monotonicOffset(text string) (time.Duration, error) {
	for line := range strings.Lines(text) {
		var name string
		var s, ns int64
		if n, err := fmt.Sscan(line, &name, &s, &ns); n == 3 && err == nil && name == "monotonic" {
			return time.Duration(s)*time.Second + time.Duration(ns), nil
		}
	}
	return 0, fmt.Errorf("read the clock's offset: no line of the monotonic clock in %q", text)
}

// now is in nanoseconds. The programs' coarse clock is at most a tick behind, so what they stamp after this call may
// compare as before it: that makes a renewal more, never one less.
func (c clock) now() uint64 {
	var ts unix.Timespec
	// clock_gettime(2) of a clock that every kernel has cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano() - int64(c.offset))
}
