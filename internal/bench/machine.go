package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what the figures were measured on.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Core   int    `json:"core"` // the one that everything measured ran on
	// OthersBusy is the share of the time that the other cores worked meanwhile, 0 to 1: what shares caches or a
	// physical core with the measured one slows it.
	OthersBusy float64 `json:"others_busy"`
	// ConntrackBuckets and ConntrackMax are the kernel's, for all namespaces (net.netfilter.nf_conntrack_*).
	ConntrackBuckets int `json:"conntrack_buckets"`
	ConntrackMax     int `json:"conntrack_max"`
}

func machine(core int) (Machine, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Machine{}, fmt.Errorf("read kernel version: %w", err)
	}
	m := Machine{Kernel: unix.ByteSliceToString(u.Release[:]), Cores: runtime.NumCPU(), Core: core, CPU: cpuModel()}
	var errs [2]error
	m.ConntrackBuckets, errs[0] = readNumber("/proc/sys/net/netfilter/nf_conntrack_buckets")
	m.ConntrackMax, errs[1] = readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	return m, errors.Join(errs[:]...)
}

// cpuModel is the first model name of /proc/cpuinfo; some architectures have none.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read sysctl: %w", err)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("read sysctl %s: %w", file, err)
	}
	return n, nil
}

// load is time the other cores have worked and been idle, in ticks (proc(5), /proc/stat).
type load struct{ busy, idle uint64 }

func loadOfOthers(core int) (load, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return load{}, fmt.Errorf("read load: %w", err)
	}
	var l load
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		cpu, err := strconv.Atoi(strings.TrimPrefix(f[0], "cpu"))
		if err != nil || cpu == core {
			continue
		}
		const idle, iowait, last = 4, 5, 8 // guest time is in user time already
		for i := 1; i <= last && i < len(f); i++ {
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return load{}, fmt.Errorf("read load: %w", err)
			}
			if i == idle || i == iowait {
				l.idle += n
			} else {
				l.busy += n
			}
		}
	}
	return l, nil
}

// since is the busy share after an earlier reading.
func (l load) since(old load) float64 {
	busy, idle := l.busy-old.busy, l.idle-old.idle
	if busy+idle == 0 {
		return 0
	}
	return float64(busy) / float64(busy+idle)
}
