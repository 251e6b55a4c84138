package conntrack

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const sysctlDir = "/proc/sys/net/netfilter/"

// sysctls are files of one network namespace. /proc/sys/net shows the namespace of whoever opens it, a file that is
// open keeps showing its own: so they are opened once, with the sockets.
type sysctls struct {
	liberal, established, unacknowledged, maxRetrans *os.File
}

func openSysctls() (s sysctls, err error) {
	for _, f := range []struct {
		file **os.File
		name string
	}{
		{&s.liberal, "nf_conntrack_tcp_be_liberal"},
		{&s.established, "nf_conntrack_tcp_timeout_established"},
		{&s.unacknowledged, "nf_conntrack_tcp_timeout_unacknowledged"},
		{&s.maxRetrans, "nf_conntrack_tcp_timeout_max_retrans"},
	} {
		if *f.file, err = os.Open(sysctlDir + f.name); err != nil {
			_ = s.close()
			return sysctls{}, err
		}
	}
	return s, nil
}

func (s sysctls) close() error {
	var errs []error
	for _, f := range []*os.File{s.liberal, s.established, s.unacknowledged, s.maxRetrans} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// BeLiberal reads nf_conntrack_tcp_be_liberal: whether the whole namespace accepts TCP packets out of the window.
func (c *Conn) BeLiberal() (bool, error) {
	v, err := readInt(c.sysctl.liberal)
	return v != 0, err
}

// EstablishedTimeout reads nf_conntrack_tcp_timeout_established, five days unless changed.
func (c *Conn) EstablishedTimeout() (time.Duration, error) { return readSeconds(c.sysctl.established) }

// UnacknowledgedTimeout reads nf_conntrack_tcp_timeout_unacknowledged, five minutes unless changed.
func (c *Conn) UnacknowledgedTimeout() (time.Duration, error) {
	return readSeconds(c.sysctl.unacknowledged)
}

func readSeconds(f *os.File) (time.Duration, error) {
	v, err := readInt(f)
	return time.Duration(v) * time.Second, err
}

func readInt(f *os.File) (int, error) {
	var b [32]byte
	n, err := f.ReadAt(b[:], 0)
	if n == 0 {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return v, nil
}
