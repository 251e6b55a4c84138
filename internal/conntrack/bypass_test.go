package conntrack

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	megabyte = 1 << 20
	both     = "meta l4proto tcp"
	upward   = "tcp dport 7000"
	downward = "tcp sport 7000"
)

func TestBypassedConnectionIsInvalidUnlessLiberal(t *testing.T) {
	for _, liberal := range []bool{false, true} {
		e := newEnv(t) // what is late of the other's packets would count as this one's
		c := e.connect("10.0.2.2", 7000)
		if liberal {
			if errs := e.ct.SetLiberal(c.orig); errs != nil {
				t.Fatal(errs)
			}
		}
		e.bypass(both)
		c.up(32 * megabyte)
		c.down(32 * megabyte)
		before := e.invalid()
		e.bypass()
		c.up(1)
		c.down(1)
		x := e.get(c.orig)
		switch n := e.invalid() - before; {
		case liberal && n != 0:
			t.Errorf("liberal: %d packets INVALID after the bypass: %s", n, x)
		case !liberal && n == 0:
			t.Errorf("not liberal: no packet INVALID after the bypass, so this test proves nothing: %s", x)
		}
		if x.TCP.State != TCPEstablished {
			t.Errorf("liberal %v: %s", liberal, x)
		}
	}
}

// frozen returns a liberal connection whose window conntrack has lost, with "unacknowledged" set for ever.
func frozen(e *env) *conn {
	e.t.Helper()
	c := e.connect("10.0.2.2", 7000)
	if errs := e.ct.SetLiberal(c.orig); errs != nil {
		e.t.Fatal(errs)
	}
	e.bypass(downward) // conntrack sees data, never its acknowledgement
	c.up(1000)
	e.bypass(both)
	c.up(32 * megabyte)
	c.down(32 * megabyte)
	e.bypass()
	c.up(1)
	c.down(1)
	return c
}

func TestRestoreTimeoutGivesAnIdleConnectionItsFiveDays(t *testing.T) {
	e := newEnv(t)
	c := frozen(e)
	x := e.get(c.orig)
	if !x.TCP.Unacknowledged() || x.Timeout > 300*time.Second {
		t.Fatalf("%s: the timeout is not shortened, so this test proves nothing", x)
	}
	// As if 20 seconds had gone by since.
	if err := e.ct.SetTimeout(c.orig, 280*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := e.ct.RestoreTimeout(c.orig, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	x = e.get(c.orig)
	if x.Timeout <= 400000*time.Second || x.Timeout > (432000-20)*time.Second || x.TCP.Unacknowledged() {
		t.Errorf("restored: %s", x)
	}
	// It stays so when the connection goes on on the slow path.
	c.up(1)
	c.down(1)
	if x = e.get(c.orig); x.Timeout <= 400000*time.Second {
		t.Errorf("after one more byte each way: %s", x)
	}
}

// The periodic SetLiberal has cleared the flags, and no packet came to lengthen the timeout again.
func TestRestoreTimeoutWithFlagsAlreadyCleared(t *testing.T) {
	e := newEnv(t)
	c := frozen(e)
	if errs := e.ct.SetLiberal(c.orig); errs != nil {
		t.Fatal(errs)
	}
	if x := e.get(c.orig); x.TCP.Unacknowledged() || x.Timeout > 300*time.Second {
		t.Fatalf("%s: unsuitable for this test", x)
	}
	if err := e.ct.RestoreTimeout(c.orig, 0); err != nil {
		t.Fatal(err)
	}
	if x := e.get(c.orig); x.Timeout <= 400000*time.Second {
		t.Errorf("restored: %s", x)
	}
}

func TestRestoreTimeoutLeavesAlone(t *testing.T) {
	e := newEnv(t)
	t.Run("a timeout the ruleset chose", func(t *testing.T) {
		c := frozen(e)
		for _, policy := range []time.Duration{60 * time.Second, 600 * time.Second} {
			// As nft's `ct timeout` with that value for established would leave it.
			if errs := e.ct.Apply([]Update{{Orig: c.orig, Timeout: policy, Flags: DataUnacknowledged, Mask: DataUnacknowledged}}); errs != nil {
				t.Fatal(errs)
			}
			if err := e.ct.RestoreTimeout(c.orig, 0); err != nil {
				t.Fatal(err)
			}
			if x := e.get(c.orig); x.Timeout > policy || x.TCP.Unacknowledged() {
				t.Errorf("%s, want at most %s and flags cleared", x, policy)
			}
		}
	})
	t.Run("a connection that is closing", func(t *testing.T) {
		c := e.connect("10.0.2.2", 7000)
		_ = c.client.CloseWrite()
		e.await(c.orig, "closing", func(x Entry) bool { return x.TCP.State != TCPEstablished })
		if err := e.ct.RestoreTimeout(c.orig, 0); !errors.Is(err, ErrClosing) {
			t.Errorf("restore: %v, want ErrClosing", err)
		}
		if x := e.get(c.orig); x.Timeout > 120*time.Second {
			t.Errorf("closing connection may live on: %s", x)
		}
	})
	t.Run("a connection that is gone", func(t *testing.T) {
		c := e.connect("10.0.2.2", 7000)
		if err := e.ct.Delete(c.orig); err != nil {
			t.Fatal(err)
		}
		if err := e.ct.RestoreTimeout(c.orig, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("restore: %v, want ErrNotFound", err)
		}
	})
}

// A RST three gigabytes on: behind the frozen ACK, by the arithmetic of sequence numbers.
func TestResetFarAheadClosesOnlyWithMaxACKCleared(t *testing.T) {
	e := newEnv(t)
	for _, cleared := range []bool{false, true} {
		c := frozen(e)
		flags := LiberalFlags
		if !cleared {
			flags |= MaxACKSet // as conntrack left it when the bypass began
		}
		if err := e.ct.SetFlags(c.orig, flags, LiberalMask); err != nil {
			t.Fatal(err)
		}
		before := e.invalid()
		e.reset(c, c.sequence()+3<<30)
		if cleared {
			e.await(c.orig, "closed by the RST", func(x Entry) bool { return x.TCP.State == TCPClose })
			if n := e.invalid() - before; n != 0 {
				t.Errorf("cleared: RST was INVALID")
			}
			continue
		}
		deadline := time.Now().Add(5 * time.Second)
		for e.invalid() == before {
			if time.Now().After(deadline) {
				t.Fatalf("not cleared: RST was not INVALID: %s", e.get(c.orig))
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// reset sends a RST of the client's with the given sequence number.
func (e *env) reset(c *conn, seq uint32) {
	e.t.Helper()
	b := make([]byte, 20) // struct tcphdr
	binary.BigEndian.PutUint16(b, c.orig.Src.Port())
	binary.BigEndian.PutUint16(b[2:], c.orig.Dst.Port())
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12], b[13] = 5<<4, 0x04 // five words, RST
	src, dst := c.orig.Src.Addr().As4(), c.orig.Dst.Addr().As4()
	sum := uint32(unix.IPPROTO_TCP + len(b))
	for _, s := range [][]byte{src[:], dst[:], b} {
		for i := 0; i < len(s); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(s[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	err := e.client.Do(func() error {
		s, err := net.ListenPacket("ip4:tcp", c.orig.Src.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		_, err = s.WriteTo(b, &net.IPAddr{IP: dst[:]})
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}
