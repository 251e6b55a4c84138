package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// core is the one core that everything measured runs on.
type core struct {
	cpu       int
	ksoftirqd string // its schedstat file, "" where /proc hides it
}

// pin binds the calling thread to the last core it may run on (interrupts tend to the first) and asks for all of it.
func pin() (core, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return core{}, fmt.Errorf("read affinity: %w", err)
	}
	c := core{cpu: -1}
	for cpu := range len(set) * strconv.IntSize {
		if set.IsSet(cpu) {
			c.cpu = cpu
		}
	}
	set.Zero()
	set.Set(c.cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return core{}, fmt.Errorf("pin to core %d: %w", c.cpu, err)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err != nil {
		return core{}, fmt.Errorf("raise priority: %w", err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return core{}, err
	}
	name := fmt.Sprintf("ksoftirqd/%d\n", c.cpu)
	for _, d := range dirs {
		if b, err := os.ReadFile(d); err == nil && string(b) == name {
			c.ksoftirqd = filepath.Join(filepath.Dir(d), "schedstat")
		}
	}
	return c, nil
}

// stamp is a point in time of the core's work.
type stamp struct {
	at              time.Time
	waited, helping time.Duration
}

// now reads the clocks. The calling thread must be the pinned one.
func (c core) now() (stamp, error) {
	s := stamp{at: time.Now()}
	_, waited, err := schedstat("/proc/thread-self/schedstat")
	if err != nil {
		return s, err
	}
	s.waited = waited
	if c.ksoftirqd != "" {
		s.helping, _, err = schedstat(c.ksoftirqd)
	}
	return s, err
}

// busy is the time the core has worked for us since an earlier stamp: the wall clock, without the time that the thread
// stood in the queue behind others, but with what ksoftirqd ran of it, which delivers packets when there are many.
func (s stamp) busy(since stamp) time.Duration {
	return s.at.Sub(since.at) - (s.waited - since.waited) + s.helping - since.helping
}

// schedstat reads time on the core and time in its queue (Documentation/scheduler/sched-stats.rst). A kernel without
// CONFIG_SCHED_INFO has no such file: then both are 0 and the wall clock is all.
func schedstat(file string) (run, wait time.Duration, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read scheduler statistics: %w", err)
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, 0, fmt.Errorf("read scheduler statistics: %s: %q", file, b)
	}
	var v [2]uint64
	for i := range v {
		if v[i], err = strconv.ParseUint(f[i], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("read scheduler statistics: %s: %w", file, err)
		}
	}
	return time.Duration(v[0]), time.Duration(v[1]), nil
}
