package testkit

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Path says between which sockets traffic runs. Through NAT, Dial and Listen differ.
type Path struct {
	Client *NS
	Bind   netip.AddrPort // the client's own address; zero value: the kernel picks
	Dial   netip.AddrPort // where the client sends to
	Server *NS
	Listen netip.AddrPort // where the server listens; zero value: as Dial
}

// Path returns the way from the client to a port of the server.
func (r *Router) Path(six bool, port uint16) Path {
	return Path{Client: r.Client, Dial: netip.AddrPortFrom(r.S0.Addr(six), port), Server: r.Server}
}

// Forwarded returns the way from the server's side to a port of the router's r1, which a port forward (DNAT)
// leads to the client's port inner. The names Client and Server of the Path mean who connects and who listens.
func (r *Router) Forwarded(six bool, outer, inner uint16) Path {
	return Path{
		Client: r.Server, Dial: netip.AddrPortFrom(r.R1.Addr(six), outer),
		Server: r.Client, Listen: netip.AddrPortFrom(r.C0.Addr(six), inner),
	}
}

func (p Path) listen() netip.AddrPort {
	if p.Listen.IsValid() {
		return p.Listen
	}
	return p.Dial
}

// listenTCP opens a listening socket in the namespace.
func (n *NS) listenTCP(at netip.AddrPort, mss int) (*net.TCPListener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		c := net.ListenConfig{Control: maxSegment(mss)}
		c.SetMultipathTCP(false) // MPTCP sockets answer TCP_INFO and TCP_MAXSEG differently
		l, err = c.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.Name, err)
	}
	return l.(*net.TCPListener), nil
}

// dialTCP connects from inside the namespace.
func (n *NS) dialTCP(bind, to netip.AddrPort, mss int, timeout time.Duration) (*net.TCPConn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: timeout, Control: maxSegment(mss)}
		if bind.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(bind)
		}
		c, err = d.Dial("tcp", to.String()) // one literal address: the socket is made on this thread
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect in %s: %w", n.Name, err)
	}
	return c.(*net.TCPConn), nil
}

// maxSegment clamps the TCP segment size to mss payload bytes; 0 leaves it.
func maxSegment(mss int) func(string, string, syscall.RawConn) error {
	if mss == 0 {
		return nil
	}
	return func(_, _ string, raw syscall.RawConn) error {
		var serr error
		err := raw.Control(func(fd uintptr) {
			serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
		})
		if err == nil {
			err = serr
		}
		return err
	}
}
