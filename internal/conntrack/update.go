package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Update changes one connection of zone 0. Nothing is written that it does not name: not the TCP state, not the
// window scales.
type Update struct {
	Orig packet.Tuple // either direction names the connection
	// Where Mask has a bit, both directions take it from Flags. TCP only. Zero leaves the flags alone.
	Flags, Mask TCPFlags
	// Timeout from now, in whole seconds. Zero leaves it alone.
	Timeout time.Duration
}

// LiberalFlags and LiberalMask are what SetLiberal writes: BE_LIBERAL on, and the two flags off that would freeze
// with it (see SetLiberal).
const (
	LiberalFlags = BeLiberal
	LiberalMask  = BeLiberal | DataUnacknowledged | MaxACKSet
)

// SetFlags sets, in both directions of a TCP connection, the flags that mask names to those in flags.
func (c *Conn) SetFlags(orig packet.Tuple, flags, mask TCPFlags) error {
	return c.one(Update{Orig: orig, Flags: flags, Mask: mask})
}

// SetTimeout sets the time a connection has left, in whole seconds. It does not look at the connection's state:
// use RestoreTimeout for TCP.
func (c *Conn) SetTimeout(orig packet.Tuple, left time.Duration) error {
	return c.one(Update{Orig: orig, Timeout: left})
}

func (c *Conn) one(u Update) error {
	if errs := c.Apply([]Update{u}); errs != nil {
		return errs[0]
	}
	return nil
}

// SetLiberal prepares TCP connections for the fast path and keeps them fit for it. The result is nil when all went
// well, else it has one element (nil for success) per tuple.
//
// BE_LIBERAL: conntrack sees a sample of the packets. Without it the first sample after a gap is INVALID
// (tcp_in_window). Out of the window and liberal, a packet is accepted and changes nothing: whatever the flags said
// stays. Hence the other two bits are cleared, as the kernel's flowtable does when it gives a flow back
// (flow_offload_fixup_tcp clears MAXACK_SET):
//   - DATA_UNACKNOWLEDGED, frozen, holds the timeout at five minutes instead of five days;
//   - MAXACK_SET, frozen, makes a RST INVALID whose sequence number is between 2 and 4 GiB past the frozen ACK.
//
// Until packets are really missing, those that conntrack still sees put both bits back. So it takes a second call
// once the connection is fast, and one for every GiB it moves: a sample can also fall into the old window by chance,
// once the sequence number has gone round.
func (c *Conn) SetLiberal(orig ...packet.Tuple) []error {
	us := make([]Update, len(orig))
	for i, t := range orig {
		us[i] = Update{Orig: t, Flags: LiberalFlags, Mask: LiberalMask}
	}
	return c.Apply(us)
}

// chunk is how many updates go to the kernel in one datagram. It bounds the error reports that wait in the receive
// buffer: about 1 KiB of kernel memory each, socketBuffer in all.
const chunk = 256

// Apply makes all updates, in order. Only the last message of a datagram asks to be acknowledged; the kernel reports
// failures unasked. The result is nil when all went well, else it has one element (nil for success) per update.
func (c *Conn) Apply(us []Update) []error {
	var errs []error
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(us))
		}
		errs[i] = fmt.Errorf("update connection %s: %w", us[i].Orig, typed(err))
	}
	for at := 0; at < len(us); at += chunk {
		c.apply(us[at:min(at+chunk, len(us))], func(i int, err error) { fail(at+i, err) })
	}
	return errs
}

// apply sends one datagram. The kernel has handled all of it when send returns.
func (c *Conn) apply(us []Update, fail func(int, error)) {
	s := c.cmd
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seq + 1
	s.out = s.out[:0]
	last := -1 // offset of the last message
	sent := make([]int, 0, len(us))
	for i, u := range us {
		if err := u.valid(); err != nil {
			fail(i, err)
			continue
		}
		s.seq++
		sent = append(sent, i)
		last = len(s.out)
		s.out = u.append(s.out, s.seq)
	}
	if last < 0 {
		return
	}
	flags := binary.NativeEndian.Uint16(s.out[last+6:])
	binary.NativeEndian.PutUint16(s.out[last+6:], flags|uint16(netlink.Acknowledge))
	if err := s.send(); err != nil {
		for _, i := range sent {
			fail(i, err)
		}
		return
	}
	answered := 0 // all before it are settled
	err := s.replies(first, func(r reply) (bool, error) {
		n := int(r.seq - first)
		if r.typ != unix.NLMSG_ERROR || n >= len(sent) {
			return false, nil
		}
		if err := r.errno(); err != nil {
			fail(sent[n], err)
		}
		answered = n + 1
		return answered == len(sent), nil
	})
	if err != nil { // what was not answered may or may not have happened
		for _, i := range sent[answered:] {
			fail(i, err)
		}
	}
}

func (u Update) valid() error {
	if err := valid(u.Orig); err != nil {
		return err
	}
	switch {
	case u.Mask != 0 && u.Orig.Proto != packet.TCP:
		return errors.New("only a tcp connection has flags")
	case u.Timeout < 0 || u.Timeout%time.Second != 0:
		return fmt.Errorf("timeout %s is not a number of seconds", u.Timeout)
	case u.Timeout/time.Second > 1<<31/1000: // __nf_ct_set_timeout clamps to INT_MAX jiffies; HZ is at most 1000
		return fmt.Errorf("timeout %s is longer than the kernel can keep", u.Timeout)
	}
	return nil
}

// append adds the message: CTA_TUPLE_ORIG, then only what changes.
func (u Update) append(b []byte, seq uint32) []byte {
	start := len(b)
	r := begin(b, msgNew, 0, family(u.Orig), seq)
	r.tuple(u.Orig)
	if u.Timeout != 0 {
		var v [4]byte
		binary.BigEndian.PutUint32(v[:], uint32(u.Timeout/time.Second))
		r.attr(ctaTimeout, v[:])
	}
	if u.Mask != 0 {
		v := []byte{byte(u.Flags), byte(u.Mask)} // struct nf_ct_tcp_flags
		info := r.nest(ctaProtoInfo)
		tcp := r.nest(ctaProtoInfoTCP)
		r.attr(ctaTCPFlagsOrig, v)
		r.attr(ctaTCPFlagsReply, v)
		r.close(tcp)
		r.close(info)
	}
	return r.end(start)
}
