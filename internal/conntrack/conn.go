package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Conn is a connection to the conntrack table of one network namespace: the one the calling thread was in when Open
// was called. It may be used from any goroutine; a dump does not delay updates.
type Conn struct {
	cmd, dump *socket
	sysctl    sysctls
}

// ErrNotFound says that the kernel tracks no such connection, or is just removing it.
var ErrNotFound = errors.New("no such connection")

// Open connects to the conntrack table of the calling thread's network namespace. It needs CAP_NET_ADMIN there.
// The kernel loads nf_conntrack_netlink, and with it nf_conntrack, when it is a module.
func Open() (_ *Conn, err error) {
	c := &Conn{}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if c.cmd, err = dial(); err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	if c.dump, err = dial(); err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	// The first request loads the modules; their sysctls exist only afterwards.
	if _, err = c.Usage(); errors.Is(err, unix.EINVAL) { // nfnetlink_rcv_msg found no such subsystem
		return nil, fmt.Errorf("open conntrack: kernel lacks nf_conntrack_netlink (CONFIG_NF_CT_NETLINK): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	if c.sysctl, err = openSysctls(); err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return c, nil
}

// Close releases the sockets. Calls in progress fail.
func (c *Conn) Close() error {
	errs := []error{c.sysctl.close()}
	for _, s := range []*socket{c.cmd, c.dump} {
		if s != nil {
			errs = append(errs, s.conn.Close())
		}
	}
	return errors.Join(errs...)
}

// Usage is how full the table is. Max is the limit of the whole machine, Entries counts this namespace.
type Usage struct{ Entries, Max uint32 }

// Usage reads the number of tracked connections and nf_conntrack_max.
func (c *Conn) Usage() (Usage, error) {
	var u Usage
	err := c.query(c.cmd, msgStats, 0, unix.AF_UNSPEC, nil, func(b []byte) error {
		return attrs(b, func(typ uint16, d []byte) error {
			switch typ {
			case ctaStatsEntries:
				return be32(d, &u.Entries)
			case ctaStatsMax:
				return be32(d, &u.Max)
			}
			return nil
		})
	})
	if err != nil {
		return Usage{}, fmt.Errorf("read conntrack usage: %w", typed(err))
	}
	return u, nil
}

// Get reads one connection of zone 0, named by the tuple of either direction.
func (c *Conn) Get(t packet.Tuple) (Entry, error) {
	var e Entry
	err := valid(t)
	if err == nil {
		err = c.query(c.cmd, msgGet, 0, family(t), func(r *request) { r.tuple(t) }, func(b []byte) (err error) {
			e, err = decodeEntry(b)
			return err
		})
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read connection %s: %w", t, typed(err))
	}
	return e, nil
}

// Delete removes one connection of zone 0, named by the tuple of either direction. The kernel refuses with EBUSY
// while the connection is in a flowtable, on those versions that protect it.
func (c *Conn) Delete(t packet.Tuple) error {
	err := valid(t)
	if err == nil {
		err = c.query(c.cmd, msgDelete, netlink.Acknowledge, family(t), func(r *request) { r.tuple(t) }, nil)
	}
	if err != nil {
		return fmt.Errorf("delete connection %s: %w", t, typed(err))
	}
	return nil
}

// Filter narrows a dump; the kernel does the work. The zero value passes everything.
type Filter struct {
	Family           uint8 // AF_INET, AF_INET6 or zero
	Status           Status
	Mark, MarkMask   uint32 // compared when the mask is not zero
	OtherZones       bool   // also connections outside zone 0
	OtherL4Protocols bool   // also connections that are neither TCP nor UDP
}

// Dump yields the connections that pass the filter. Connections that come or go meanwhile may be missing or appear
// twice. An error ends the sequence. Leaving the loop early is allowed; the loop may call anything but Dump.
func (c *Conn) Dump(f Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stopped := false
		var bad error
		err := c.query(c.dump, msgGet, netlink.Dump, f.Family, f.append, func(b []byte) error {
			if stopped || bad != nil {
				return nil // drained: the kernel allows one dump at a time on a socket
			}
			e, err := decodeEntry(b)
			if err != nil {
				bad = err
				return nil
			}
			stopped = f.match(e) && !yield(e, nil)
			return nil
		})
		if err := errors.Join(err, bad); err != nil && !stopped {
			yield(Entry{}, fmt.Errorf("dump connections: %w", err))
		}
	}
}

func (f Filter) append(r *request) {
	var v [4]byte
	if f.Status != 0 { // since Linux 5.15; the mask defaults to the value
		binary.BigEndian.PutUint32(v[:], uint32(f.Status))
		r.attr(ctaStatus, v[:])
		r.attr(ctaStatusMask, v[:])
	}
	if f.MarkMask != 0 {
		binary.BigEndian.PutUint32(v[:], f.Mark)
		r.attr(ctaMark, v[:])
		binary.BigEndian.PutUint32(v[:], f.MarkMask)
		r.attr(ctaMarkMask, v[:])
	}
}

func (f Filter) match(e Entry) bool {
	if !f.OtherZones && e.Zone != 0 {
		return false
	}
	return f.OtherL4Protocols || e.Orig.Proto == packet.TCP || e.Orig.Proto == packet.UDP
}

// query sends one request and hands each answer, after struct nfgenmsg, to f.
func (c *Conn) query(s *socket, msg uint16, flags netlink.HeaderFlags, fam uint8, fill func(*request), f func([]byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	r := begin(s.out[:0], msg, flags, fam, s.seq)
	if fill != nil {
		fill(&r)
	}
	s.out = r.end(0)
	if err := s.send(); err != nil {
		return err
	}
	dump := flags&netlink.Dump == netlink.Dump
	return s.replies(s.seq, func(r reply) (bool, error) {
		switch r.typ {
		case unix.NLMSG_ERROR:
			return true, r.errno()
		case unix.NLMSG_DONE:
			return true, nil
		}
		if len(r.data) < nfHeaderLen {
			return true, errShort
		}
		return !dump, f(r.data[nfHeaderLen:])
	})
}

// typed gives the kernel's "not there" answers one name.
func typed(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ETIME) { // ETIME: __nf_ct_change_timeout on a dying entry
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: needs CAP_NET_ADMIN, or the connection's timeout is fixed", err)
	}
	return err
}
