package conntrack

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// env is client - router - server. The router tracks connections; what the chain `bypass` marks notrack passes it
// unseen, as fast packets do.
type env struct {
	t                      testing.TB
	client, router, server *testkit.NS
	ct                     *Conn
}

const ruleset = `
table inet t {
	chain bypass {
		type filter hook prerouting priority raw
	}
	chain forward {
		type filter hook forward priority filter; policy accept
		ct state invalid counter name "invalid"
		ct state new tcp dport 7021 ct helper set "ftp-std"
		ct state new ct mark set 0x77 ct label set 5
	}
	counter invalid { }
	ct helper ftp-std { type "ftp" protocol tcp; }
}`

func newEnv(t testing.TB) *env {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	e := &env{t: t, client: testkit.NewNS(t, "client"), router: testkit.NewNS(t, "router"), server: testkit.NewNS(t, "server")}
	for _, ns := range []*testkit.NS{e.client, e.router, e.server} {
		ns.Sysctl("net/ipv6/conf/default/accept_dad", "0") // link-local addresses at once
	}
	testkit.Veth(t, e.client, "c0", e.router, "r0")
	testkit.Veth(t, e.server, "s0", e.router, "r1")
	for _, x := range []struct {
		ns       *testkit.NS
		dev, net string
	}{{e.client, "c0", "1"}, {e.server, "s0", "2"}} {
		x.ns.Script(fmt.Sprintf(`
			ip addr add 10.0.%[2]s.2/24 dev %[1]s
			ip addr add fd00:%[2]s::2/64 dev %[1]s nodad
			ip route add default via 10.0.%[2]s.1
			ip -6 route add default via fd00:%[2]s::1`, x.dev, x.net))
	}
	e.router.Script(`
		ip addr add 10.0.1.1/24 dev r0
		ip addr add 10.0.2.1/24 dev r1
		ip addr add fd00:1::1/64 dev r0 nodad
		ip addr add fd00:2::1/64 dev r1 nodad`)
	e.router.Sysctl("net/ipv4/ip_forward", "1")
	e.router.Sysctl("net/ipv6/conf/all/forwarding", "1")
	e.router.NFTables(ruleset)
	e.ct = e.open()
	return e
}

func (e *env) open() *Conn {
	e.t.Helper()
	var c *Conn
	err := e.router.Do(func() (err error) { c, err = Open(); return err })
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			e.t.Errorf("close: %v", err)
		}
	})
	return c
}

// conn is a TCP connection through the router, both ends in hand.
type conn struct {
	t              testing.TB
	client, server *net.TCPConn
	orig           packet.Tuple
}

// connect opens a connection and waits until conntrack calls it assured.
func (e *env) connect(host string, port uint16) *conn {
	e.t.Helper()
	var l *net.TCPListener
	addr := netip.AddrPortFrom(netip.MustParseAddr(host), port)
	err := e.server.Do(func() (err error) { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)); return err })
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := &conn{t: e.t}
	err = e.client.Do(func() error {
		d, err := net.DialTimeout("tcp", addr.String(), 5*time.Second)
		if err == nil {
			c.client = d.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	if c.server, err = l.AcceptTCP(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.client.Close(); _ = c.server.Close() })
	local, _ := netip.ParseAddrPort(c.client.LocalAddr().String())
	c.orig = packet.Tuple{Src: local, Dst: addr, Proto: packet.TCP}
	c.up(1)
	c.down(1)
	return c
}

// up and down move n bytes to the server and to the client, and return when they have arrived.
func (c *conn) up(n int64)   { c.t.Helper(); c.move(c.client, c.server, n) }
func (c *conn) down(n int64) { c.t.Helper(); c.move(c.server, c.client, n) }

func (c *conn) move(from, to net.Conn, n int64) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	_ = from.SetDeadline(deadline)
	_ = to.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(from, zeros{}, n)
		done <- err
	}()
	if _, err := io.CopyN(io.Discard, to, n); err != nil {
		c.t.Fatalf("receive %d bytes: %v", n, err)
	}
	if err := <-done; err != nil {
		c.t.Fatalf("send %d bytes: %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// sequence returns the next sequence number the client sends.
func (c *conn) sequence() uint32 {
	c.t.Helper()
	raw, err := c.client.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	var seq int
	var serr error
	const sendQueue = 2 // TCP_SEND_QUEUE
	err = raw.Control(func(fd uintptr) {
		for _, o := range [][2]int{{unix.TCP_REPAIR, 1}, {unix.TCP_REPAIR_QUEUE, sendQueue}} {
			if serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, o[0], o[1]); serr != nil {
				return
			}
		}
		if seq, serr = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ); serr != nil {
			return
		}
		// -1: TCP_REPAIR_OFF_NO_WP, no window probe
		serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, -1)
	})
	if err != nil || serr != nil {
		c.t.Fatalf("read sequence number: %v %v", err, serr)
	}
	return uint32(seq)
}

// bypass makes packets that match pass the router untracked; an empty match ends it.
func (e *env) bypass(matches ...string) {
	e.t.Helper()
	var b strings.Builder
	b.WriteString("flush chain inet t bypass\n")
	for _, m := range matches {
		fmt.Fprintf(&b, "add rule inet t bypass %s notrack\n", m)
	}
	e.router.NFTables(b.String())
}

// invalid returns how many packets conntrack called INVALID.
func (e *env) invalid() (n int) {
	e.t.Helper()
	out := e.router.Run("nft", "list", "counter", "inet", "t", "invalid")
	_, rest, _ := strings.Cut(out, "packets ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		e.t.Fatalf("counter in %q: %v", out, err)
	}
	return n
}

func (e *env) get(t packet.Tuple) Entry {
	e.t.Helper()
	x, err := e.ct.Get(t)
	if err != nil {
		e.t.Fatal(err)
	}
	return x
}

// await reads the entry until ok holds; an end that has its data may not yet have been acknowledged.
func (e *env) await(t packet.Tuple, what string, ok func(Entry) bool) Entry {
	e.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		x := e.get(t)
		if ok(x) {
			return x
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("%s: never %s", x, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
